"""`earmark train --from MODEL`: start a training from the weights of a model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from jobs.training.train import TrainRequest, train_job
from pipeline.models.bundle import ModelBundle, load_network
from pipeline.training.checkpoints import Checkpoint
from pipeline.training.provenance import count_seen
from pipeline.training.splits import split_by_track
from pipeline.training.train_model import TrainingOptions, train
from pipeline.training.training_set import TrainingSet
from pipeline.training.training_settings import TrainingSettings
from schemas.errors import MisuseError
from schemas.features import FeatureSpec
from tests.log_mels import log_mel_of

pytestmark = pytest.mark.slow

GENRES = ("high", "low", "pulse")


def make_set(genres: tuple[str, ...] = GENRES, n_mels: int = 32) -> TrainingSet:
    """Return noise whose level depends on the genre."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(genres)), 8)
    log_mel = rng.integers(0, 60, (len(labels), n_mels, 20)) + 60 * labels[:, None, None]
    tracks = np.array([f"{genres[label]}.{i:03d}" for i, label in enumerate(labels)])
    return TrainingSet(log_mel.astype(np.uint8), labels, tracks, genres, features=FeatureSpec(n_mels=n_mels))


def fit(data: TrainingSet, start: ModelBundle | None = None, **changes: Any) -> ModelBundle:
    settings = replace(TrainingSettings(epochs=2, batch_size=8, threads=1), **changes)
    sets = split_by_track(data, seed=0)
    return train(*sets, TrainingOptions("m", "track", "d", settings, start=start))


def weights(bundle: ModelBundle) -> list[NDArray[Any]]:
    return [np.array(weight.numpy()) for weight in load_network(bundle).weights]


def write_npz(data: TrainingSet, folder: Path) -> str:
    names = np.array(data.genres)[data.labels]
    np.savez(folder / "x.npz", log_mel=log_mel_of(data), track=data.tracks, genre=names)
    return str(folder / "x.npz")


@pytest.fixture(scope="module")
def start() -> ModelBundle:
    return fit(make_set())


def far_apart(one: ModelBundle, other: ModelBundle) -> list[float]:
    """Return the relative change of each array of weights."""
    pairs = zip(weights(one), weights(other), strict=True)
    return [float(np.linalg.norm(a - b) / np.linalg.norm(a)) for a, b in pairs]


@pytest.mark.thorough
def test_a_training_begins_at_the_weights_of_the_model(start: ModelBundle) -> None:
    """The training silently starts from random weights, and a small collection gains nothing."""
    still: dict[str, Any] = {"epochs": 1, "learning_rate": 1e-9, "weight_decay": 0.0, "seed": 5}
    kernels = [i for i, array in enumerate(weights(start)) if array.ndim > 1]
    moved = far_apart(start, fit(make_set(), start, **still))
    assert max(moved[i] for i in kernels) < 1e-3
    assert min(far_apart(start, fit(make_set(), **still))[i] for i in kernels) > 0.1


@pytest.mark.thorough
def test_other_genres_get_a_last_layer_of_their_own(start: ModelBundle) -> None:
    """A curator's own genres inherit the outputs of GTZAN's genres."""
    still: dict[str, Any] = {"epochs": 1, "learning_rate": 1e-9, "weight_decay": 0.0, "seed": 5}
    genres = ("calm", "loud", "odd")
    ours = fit(make_set(genres), start, **still)
    assert ours.info.genres == genres
    theirs, mine = weights(start), weights(ours)
    np.testing.assert_allclose(mine[4], theirs[4], rtol=1e-3, atol=1e-3)
    assert np.abs(mine[-2] - theirs[-2]).max() > 0.05
    more = fit(make_set(("a", "b", "c", "d")), start, **still)
    assert weights(more)[-1].shape == (4,)


@pytest.mark.thorough
def test_the_start_is_recorded_and_reproducible(start: ModelBundle) -> None:
    """The recorded command trains a different model."""
    one, other = (fit(make_set(), start) for _ in range(2))
    assert one.model == other.model != fit(make_set()).model
    assert one.info.training["start"] == start.model
    assert "start" not in start.info.training


def test_a_checkpoint_belongs_to_its_start(start: ModelBundle, tmp_path: Path) -> None:
    """A training resumes from one that started from another model."""
    sets = split_by_track(make_set(), seed=0)
    places = {Checkpoint(str(tmp_path), *sets, TrainingSettings(), each).location for each in (None, start)}
    assert len(places) == 2


def test_a_start_that_does_not_fit_is_refused(start: ModelBundle, tmp_path: Path) -> None:
    """Weights of other shapes or features fail with an error of Keras, or not at all."""
    with pytest.raises(MisuseError, match=r"have other settings \(n_mels\)"):
        fit(make_set(n_mels=16), start)
    with pytest.raises(MisuseError, match="its layers have other sizes"):
        fit(make_set(), start, keep_bands=True, crop=16, n_frames=20)
    start.save(tmp_path / "start")
    request = TrainRequest(
        "nowhere.csv",
        tmp_path / "out",
        settings=TrainingSettings.for_arch("dense"),
        start=str(tmp_path / "start"),
    )
    with pytest.raises(MisuseError, match=r"m-[0-9a-f]{8}: it has --arch cnn, but this training has dense"):
        train_job(request)
    with pytest.raises(MisuseError, match="no model 'nothing'"):
        train_job(replace(request, start="nothing"))


@pytest.mark.thorough
def test_the_model_has_seen_what_its_start_has_seen(start: ModelBundle, tmp_path: Path) -> None:
    """A figure on music that the start was trained on counts as one on new music."""
    apart = make_set(("calm", "loud", "odd"))
    ours, alone = fit(apart, start), fit(apart)
    train, valid = split_by_track(make_set(), seed=0)
    assert count_seen(ours.info, train.tracks.tolist(), train).trained_on == len(train)
    assert count_seen(ours.info, valid.tracks.tolist(), valid).calibrated_on == len(valid)
    for part in (train, valid):
        assert not count_seen(alone.info, part.tracks.tolist(), part).seen
    start.save(tmp_path / "start")
    said: list[str] = []
    train_job(
        TrainRequest(
            write_npz(make_set(), tmp_path),
            tmp_path / "out",
            settings=TrainingSettings(epochs=1, batch_size=8, threads=1),
            start=str(tmp_path / "start"),
        ),
        say=said.append,
    )
    assert [sentence[:40] for sentence in said] == ["LEAKS: 6 of the 6 held-out tracks were u"]


def test_the_recorded_command_names_the_start_without_its_folder(start: ModelBundle, tmp_path: Path) -> None:
    """The recorded command contains a path of one machine."""
    start.save(tmp_path / "start")
    request = TrainRequest(
        write_npz(make_set(), tmp_path),
        tmp_path / "out",
        settings=TrainingSettings(epochs=1, batch_size=8, threads=1),
        start=f"{tmp_path}/start/",
    )
    command = str(train_job(request).bundle.info.training["command"])
    assert " --from start " in command
    assert str(tmp_path) not in command
