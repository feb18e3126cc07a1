"""Protocols: how tested music is separated from training music, and what a model has seen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluation.protocols import drop_folders, plan_splits, split_folds, unit_of
from pipeline.training.provenance import count_seen, describe_provenance
from pipeline.training.splits import split_by_track
from pipeline.training.training_set import TrainingSet
from schemas.errors import MisuseError
from schemas.features import FeatureSpec
from schemas.model import ModelInfo
from tests.log_mels import log_mel_of

GENRES = ("jazz", "rock")


def make_set(n_tracks: int = 20, n_segments: int = 2) -> TrainingSet:
    """Return tracks of two genres; each segment has its own level, which identifies it."""
    n = n_tracks * n_segments
    labels = np.repeat(np.arange(n_tracks) % 2, n_segments)
    tracks = np.repeat([f"{GENRES[i % 2]}/{GENRES[i % 2]}.{i:05d}" for i in range(n_tracks)], n_segments)
    log_mel = np.arange(n, dtype=np.uint8)[:, None, None] * np.ones((1, 16, 40), np.uint8)
    return TrainingSet(log_mel, labels, tracks, GENRES)


def levels(data: TrainingSet) -> list[int]:
    assert data.log_mel is not None
    return [int(level) for level in data.log_mel[:, 0, 0]]


@pytest.mark.parametrize("by_track", [True, False])
def test_folds_test_every_segment_once(by_track: bool) -> None:
    """A segment counts twice or not at all in the pooled figure."""
    data = make_set()
    parts = list(split_folds(data, 5, by_track=by_track, seed=0))
    assert sorted(level for _, test in parts for level in levels(test)) == levels(data)
    for train, test in parts:
        assert sorted(levels(train) + levels(test)) == levels(data)
        shared = set(train.tracks) & set(test.tracks)
        assert not shared if by_track else shared
        assert abs(np.bincount(test.labels)[0] - np.bincount(test.labels)[1]) <= 2


def test_copies_of_a_track_are_on_the_same_side() -> None:
    """A song that lies on a shelf twice would be recognized, not labeled: an SVM had 1.00 instead of 0.79."""
    data = make_set()
    assert data.log_mel is not None
    copies = [np.char.add(data.tracks, ending) for ending in ("", " (copy)")]
    twice = replace(
        data,
        log_mel=np.concatenate([data.log_mel] * 2),
        labels=np.concatenate([data.labels] * 2),
        tracks=np.concatenate(copies),
    )
    splits = [*split_folds(twice, 5, by_track=True, seed=0), split_by_track(twice, 0)]
    for train, test in splits:
        assert not set(levels(train)) & set(levels(test))
        assert len(train) + len(test) == len(twice)


def test_folds_follow_the_seed() -> None:
    """A figure cannot be reproduced."""
    data = make_set()

    def tested(seed: int) -> list[list[int]]:
        return [levels(test) for _, test in split_folds(data, 4, by_track=True, seed=seed)]

    assert tested(0) == tested(0)
    assert tested(0) != tested(1)


def test_folds_that_do_not_fit_are_refused() -> None:
    """A fold lacks a genre and has no figure for it."""
    with pytest.raises(MisuseError, match=r"--folds 11 does not fit the data: choose 2 to 10, .* 'jazz'"):
        list(split_folds(make_set(), 11, by_track=True, seed=0))
    with pytest.raises(MisuseError, match="'rock' has only one track, or copies of it; add others"):
        list(split_folds(make_set(3), 2, by_track=True, seed=0))


def test_copies_in_another_genre_leave_something_to_train_on() -> None:
    """A fold trains a network of fewer genres, and the figures of the folds cannot be put together."""
    data = make_set()
    jazz = data.take(np.flatnonzero(data.tracks == "jazz/jazz.00000"))
    assert data.log_mel is not None
    assert jazz.log_mel is not None
    both = replace(
        data,
        log_mel=np.concatenate([data.log_mel, jazz.log_mel]),
        labels=np.append(data.labels, [2, 2]),
        tracks=np.append(data.tracks, ["swing/swing.00000"] * 2),
        genres=(*GENRES, "swing"),
    )
    with pytest.raises(MisuseError, match="no track of 'swing' to train on, since its tracks are copies"):
        list(split_folds(both, 2, by_track=True, seed=0))


def test_each_split_has_its_protocol(tmp_path: Path) -> None:
    """A figure is printed with a protocol that was not followed."""
    data = make_set()
    (tmp_path / "a.txt").write_text("jazz/jazz.00000.wav\nrock/rock.00001.wav\n")
    (tmp_path / "b.txt").write_text("jazz/jazz.00002.wav\nrock/rock.00003.wav\n")
    protocol, splits = plan_splits(data, None)
    (split,) = splits
    assert (protocol, split.train_set, len(split.test_set)) == ("as given", None, 40)
    protocol, splits = plan_splits(data, f"file:{tmp_path}/a.txt,{tmp_path}/b.txt", n_pieces=4)
    (split,) = splits
    assert (protocol, len(split.test_set), log_mel_of(split.test_set).shape) == ("file", 16, (16, 16, 10))
    protocol, splits = plan_splits(data, "track")
    (split,) = splits
    assert protocol == "track"
    assert split.train_set is not None
    assert not set(split.train_set.tracks) & set(split.test_set.tracks)
    protocol, splits = plan_splits(data, "segment")
    (split,) = splits
    assert protocol == "segment"
    assert len(split.test_set) == 80
    assert split.train_set is not None
    assert set(split.train_set.tracks) & set(split.test_set.tracks)
    assert [unit_of(name) for name in ("segment", "track", "file", "as given")] == ["piece"] + 3 * ["track"]
    for split_name in ("tracks", "track:5", "file", "file:a.txt", "file:a,b,c", ""):
        with pytest.raises(MisuseError, match="cannot split by"):
            plan_splits(data, split_name)


def test_names_of_lists_lose_their_folders() -> None:
    """A published figure contains the paths of one machine."""
    assert drop_folders("file:/home/me/a.txt,../b.txt") == "file:a.txt,b.txt"
    assert drop_folders("track") == "track"


def test_a_model_records_what_it_has_seen() -> None:
    """Nobody notices that a model is tested on its training tracks."""
    data = make_set()
    train, calibration = data.take(np.arange(10)), data.take(np.arange(10, 16))
    info = ModelInfo(
        name="m", genres=GENRES, features=FeatureSpec(), n_frames=40, temperature=1.0,
        training={"seed": 0, **describe_provenance(train, calibration)},
    )  # fmt: skip
    # By name alone: the array file knows no folders, a folder of audio has other extensions.
    tested = ["jazz.00000", "other/rock.00001", "jazz.00010", "jazz.00099"]
    seen = count_seen(info, tested, data)
    assert (seen.known, seen.trained_on, seen.calibrated_on) == (True, 2, 0)
    assert count_seen(info, data.tracks.tolist(), data).calibrated_on == 3
    assert "jazz" not in str(info.training), "names of a private catalog do not travel with the model"
    silent = info.model_copy(update={"training": {}})
    assert not count_seen(silent, tested, data).known
