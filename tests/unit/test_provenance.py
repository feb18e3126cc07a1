"""Which music a model has seen: by content if it can be compared, otherwise by name."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.training.provenance import count_seen, describe_provenance, hash_segments
from pipeline.training.training_set import TrainingSet
from schemas.evaluation import TrainingOverlap
from schemas.features import FeatureSpec
from schemas.model import ModelInfo

GENRES = ("jazz", "rock")


def music(names: list[str], seed: int, *, from_audio: bool = True) -> TrainingSet:
    """Return two segments of noise for each track."""
    rng = np.random.default_rng(seed)
    log_mel = rng.integers(0, 255, (2 * len(names), 16, 20)).astype(np.uint8)
    tracks = np.repeat(np.array(names, np.str_), 2)
    data = TrainingSet(
        log_mel, np.zeros(len(tracks), np.intp), tracks, GENRES, features=FeatureSpec(n_mels=16)
    )
    return replace(data, content=hash_segments(data)) if from_audio else data


def model(train_set: TrainingSet, calibration: TrainingSet, start: ModelInfo | None = None) -> ModelInfo:
    return ModelInfo(
        name="m", genres=GENRES, features=FeatureSpec(n_mels=16), n_frames=20, temperature=1.0,
        training={"seed": 0, **describe_provenance(train_set, calibration, start)},
    )  # fmt: skip


def seen(info: ModelInfo, data: TrainingSet) -> TrainingOverlap:
    return count_seen(info, data.tracks.tolist(), data)


CALIBRATION = music(["jazz/a", "rock/b"], 9)


@pytest.mark.parametrize("names", [["rock/01 Intro", "rock/02"], ["jazz/01 Intro", "x"]])
def test_two_tracks_with_the_same_name_are_different(names: list[str]) -> None:
    """Every second album has a '01 Intro', and false alarms make researchers discard good figures."""
    info = model(music(["rock/01 Intro", "rock/other"], 1), CALIBRATION)
    assert seen(info, music(names, 2)) == TrainingOverlap(known=True, same_name=1)


def test_a_renamed_copy_is_found() -> None:
    """A copy with another folder and name leaks, and nobody notices."""
    train_set = music(["rock/01 Intro", "rock/02 Song"], 1)
    copy = replace(train_set, tracks=np.repeat(np.array(["x/kept", "y/best of"], np.str_), 2))
    assert seen(model(train_set, CALIBRATION), copy) == TrainingOverlap(known=True, trained_on=2, seen=2)
    # One of its segments is enough: the rest of the track may have been left out.
    assert seen(model(train_set, CALIBRATION), copy.take(np.array([1, 2]))).trained_on == 2
    assert seen(model(music(["a"], 5), train_set), copy).calibrated_on == 2


def test_names_are_compared_if_content_cannot_be() -> None:
    """Features from an array, or with other settings, differ for the same music and hide a leak."""
    names = ["blues.00001", "blues.00002"]
    tested = music([f"blues/{name}" for name in names], 2)
    assert seen(model(music(names, 1, from_audio=False), CALIBRATION), tested).trained_on == 2
    assert seen(model(music(names, 1), CALIBRATION), replace(tested, content=None)).trained_on == 2
    otherwise = replace(tested, features=FeatureSpec(n_mels=16, segment_s=10))
    assert seen(model(music(names, 1), CALIBRATION), otherwise).trained_on == 2


def test_a_dot_in_a_name_begins_no_extension() -> None:
    """All tracks named "01. …" counted as one, so that an album leaked as soon as another was trained on."""
    info = model(music(["rock/01. Intro", "rock/Mr. Blue"], 1, from_audio=False), CALIBRATION)
    others = music(["jazz/01. Outro", "jazz/Mr. Green", "x/Mr. Blue"], 2)
    assert seen(info, others).trained_on == 1


def test_a_model_of_an_older_version_is_compared_by_name() -> None:
    """A model of an older version, which records only names, looks as if it had seen nothing."""
    info = model(music(["jazz/a", "jazz/b"], 1), CALIBRATION)
    old = {key: value for key, value in info.training.items() if key in {"trained_on", "calibrated_on"}}
    assert seen(info.model_copy(update={"training": old}), music(["x/a", "x/c"], 2)).trained_on == 1


def test_what_the_start_model_has_seen_counts_as_seen() -> None:
    """Tracks of the model that a training started from are forgotten."""
    first = music(["rock/first"], 1)
    renamed = replace(first, tracks=np.repeat(np.array(["copy"], np.str_), 2))
    ours = music(["rock/second"], 2)
    assert seen(model(ours, CALIBRATION, model(first, CALIBRATION)), renamed).trained_on == 1
    by_name = model(ours, CALIBRATION, model(replace(first, content=None), CALIBRATION))
    assert seen(by_name, renamed).trained_on == 0
    assert seen(by_name, music(["x/first", "x/second"], 7)) == TrainingOverlap(
        known=True, trained_on=1, seen=1, same_name=1
    )
    # What only calibrated the start is not what ours was trained on, and nothing counts twice.
    both = music(["rock/first", "rock/third"], 1)
    found = seen(model(ours, CALIBRATION, model(first, both)), both)
    assert (found.trained_on, found.calibrated_on, found.seen) == (1, 2, 2)
