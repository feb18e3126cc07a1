"""Which music a model has met: told by content where that can be compared, else by name."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.training.provenance import count_seen, describe_provenance
from pipeline.training.training_set import TrainingSet
from schemas.evaluation import Seen
from schemas.features import FeatureSpec
from schemas.model import ModelInfo

GENRES = ("jazz", "rock")


def music(names: list[str], seed: int, *, from_audio: bool = True) -> TrainingSet:
    """Two segments of noise for each track."""
    rng = np.random.default_rng(seed)
    log_mel = rng.integers(0, 255, (2 * len(names), 16, 20)).astype(np.uint8)
    tracks = np.repeat(np.array(names, np.str_), 2)
    return TrainingSet(
        log_mel, np.zeros(len(tracks), np.intp), tracks, GENRES, features=FeatureSpec(n_mels=16),
        from_audio=from_audio,
    )  # fmt: skip


def model(train_set: TrainingSet, calibration: TrainingSet, start: ModelInfo | None = None) -> ModelInfo:
    return ModelInfo(
        name="m", genres=GENRES, features=FeatureSpec(n_mels=16), n_frames=20, temperature=1.0,
        training={"seed": 0, **describe_provenance(train_set, calibration, start)},
    )  # fmt: skip


def seen(info: ModelInfo, data: TrainingSet) -> Seen:
    return count_seen(info, data.tracks.tolist(), data)


CALIBRATION = music(["jazz/a", "rock/b"], 9)


@pytest.mark.parametrize("names", [["rock/01 Intro", "rock/02"], ["jazz/01 Intro", "x"]])
def test_two_tracks_of_one_name_are_two(names: list[str]) -> None:
    """Every second album has a '01 Intro': a false alarm makes a researcher throw good figures away."""
    info = model(music(["rock/01 Intro", "rock/other"], 1), CALIBRATION)
    assert seen(info, music(names, 2)) == Seen(known=True, same_name=1)


def test_a_renamed_copy_is_found() -> None:
    """A copy in another folder under another name leaks all the same, and nobody would see it by eye."""
    train_set = music(["rock/01 Intro", "rock/02 Song"], 1)
    copy = replace(train_set, tracks=np.repeat(np.array(["x/kept", "y/best of"], np.str_), 2))
    assert seen(model(train_set, CALIBRATION), copy) == Seen(known=True, trained_on=2)
    # One of its segments is enough: the rest of the track may have been left out.
    assert seen(model(train_set, CALIBRATION), copy.take(np.array([1, 2]))).trained_on == 2
    assert seen(model(music(["a"], 5), train_set), copy).calibrated_on == 2


def test_names_decide_where_content_cannot_be_compared() -> None:
    """Features that came as an array, or were made in another way, differ for the same music."""
    names = ["blues.00001", "blues.00002"]
    tested = music([f"blues/{name}" for name in names], 2)
    assert seen(model(music(names, 1, from_audio=False), CALIBRATION), tested).trained_on == 2
    assert seen(model(music(names, 1), CALIBRATION), replace(tested, from_audio=False)).trained_on == 2
    otherwise = replace(tested, features=FeatureSpec(n_mels=16, segment_s=10))
    assert seen(model(music(names, 1), CALIBRATION), otherwise).trained_on == 2


def test_a_model_of_an_older_version_is_still_asked_by_name() -> None:
    """Models outlive versions: one that knows names alone must not be taken for one that has met nothing."""
    info = model(music(["jazz/a", "jazz/b"], 1), CALIBRATION)
    old = {key: value for key, value in info.training.items() if key in {"trained_on", "calibrated_on"}}
    assert seen(info.model_copy(update={"training": old}), music(["x/a", "x/c"], 2)).trained_on == 1


def test_what_the_start_has_met_is_met() -> None:
    """Content of the model that a training started from, or its names where it knows no more."""
    first = music(["rock/first"], 1)
    renamed = replace(first, tracks=np.repeat(np.array(["copy"], np.str_), 2))
    ours = music(["rock/second"], 2)
    assert seen(model(ours, CALIBRATION, model(first, CALIBRATION)), renamed).trained_on == 1
    by_name = model(ours, CALIBRATION, model(replace(first, from_audio=False), CALIBRATION))
    assert seen(by_name, renamed).trained_on == 0
    assert seen(by_name, music(["x/first", "x/second"], 7)) == Seen(known=True, trained_on=1, same_name=1)
