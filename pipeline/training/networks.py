"""The architectures: which network is built for a training set, and what it is fed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.bundle import fit_frames
from pipeline.models.cnn import build_cnn
from pipeline.models.dense import build_both, build_dense
from pipeline.training.training_set import TrainingSet
from pipeline.training.training_settings import TrainingSettings
from schemas.errors import MisuseError
from schemas.model import Arch, feature_kinds

FEWEST_FRAMES = 16
_WORDS = {"log_mel": "log-mels", "descriptors": "descriptors"}


def check_data(data: TrainingSet, arch: Arch) -> None:
    """Check that the data has what networks of an architecture take.

    Raises
    ------
    MisuseError
        If it has not.
    """
    lacking = [kind for kind, wanted in feature_kinds(arch).items() if wanted and getattr(data, kind) is None]
    if lacking:
        raise MisuseError(
            f"the data has no {_WORDS[lacking[0]]}, which --arch {arch} takes: choose another architecture, "
            "or train on audio, of which both are computed"
        )


def build_network(data: TrainingSet, settings: TrainingSettings, n_frames: int | None) -> Any:
    """Build the untrained network for log-mels of `n_frames`, or for descriptors alone."""
    n_genres, dropout = len(data.genres), settings.dropout
    if data.log_mel is None or n_frames is None:
        return build_dense(_described(data), n_genres, dropout=dropout)
    n_mels = data.log_mel.shape[1]
    if settings.arch == "both":
        return build_both(n_mels, n_frames, _described(data), n_genres, dropout=dropout)
    return build_cnn(n_mels, n_frames, n_genres, dropout=dropout, keep_bands=settings.keep_bands)


def _described(data: TrainingSet) -> NDArray[np.float64]:
    check_data(data, "dense")
    return np.asarray(data.descriptors)


def fitting_frames(data: TrainingSet, settings: TrainingSettings, most: int) -> int | None:
    """Return as many frames as the network shall take, at most those of the segments; None for descriptors.

    Raises
    ------
    MisuseError
        If the segments are too short.
    """
    if not feature_kinds(settings.arch)["log_mel"] or data.log_mel is None:
        return None
    n_frames = min(most, int(data.log_mel.shape[2]))
    if n_frames < FEWEST_FRAMES:
        raise MisuseError(
            f"segments of {n_frames} frames are too short to train on: {FEWEST_FRAMES} are needed"
        )
    return n_frames


def whole_segments(data: TrainingSet, arch: Arch, n_frames: int | None) -> list[NDArray[Any]]:
    """Return what a network takes of whole segments, an array an input."""
    inputs: list[NDArray[Any]] = []
    if data.log_mel is not None and n_frames is not None:
        inputs.append(np.stack([fit_frames(log_mel, n_frames) for log_mel in data.log_mel])[..., None])
    if data.descriptors is not None and feature_kinds(arch)["descriptors"]:
        inputs.append(data.descriptors)
    return inputs


def as_input(inputs: Any) -> Any:
    """Return a network's inputs as Keras wants them: one as it is, several as a list."""
    return list(inputs) if len(inputs) > 1 else inputs[0]
