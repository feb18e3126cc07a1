"""The architectures: the network that is built for a training set, and its inputs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.classifier import fit_frames
from pipeline.models.cnn import build_cnn
from pipeline.models.dense import build_both, build_dense
from pipeline.training.training_set import TrainingSet
from pipeline.training.training_settings import MIN_FRAMES, TrainingSettings
from schemas.errors import MisuseError
from schemas.model import Arch, feature_kinds

_KIND_NAMES = {"log_mel": "log-mels", "descriptors": "descriptors"}


def check_data(data: TrainingSet, arch: Arch) -> None:
    """Check that a network of an architecture can be trained on the data.

    Raises
    ------
    MisuseError
        If the data lacks features that the network reads, or has only one genre.
    """
    check_genres(data.genres)
    lacking = [kind for kind, wanted in feature_kinds(arch).items() if wanted and getattr(data, kind) is None]
    if lacking:
        raise MisuseError(
            f"the data has no {_KIND_NAMES[lacking[0]]}, which --arch {arch} reads: choose another "
            "architecture, or train on audio, from which both are computed"
        )


def check_genres(genres: Sequence[str]) -> None:
    """Check that there is more than one genre to train on.

    Raises
    ------
    MisuseError
        If there is not.
    """
    if len(genres) < 2:
        raise MisuseError(f"the data has only the genre {genres[0]}: a model needs two or more to tell apart")


def build_network(data: TrainingSet, settings: TrainingSettings, n_frames: int | None) -> Any:
    """Build the untrained network for log-mels of `n_frames`, or for descriptors alone."""
    n_genres, dropout = len(data.genres), settings.dropout
    if data.log_mel is None or n_frames is None:
        return build_dense(_require_descriptors(data), n_genres, dropout=dropout)
    n_mels = data.log_mel.shape[1]
    if settings.arch == "both":
        return build_both(n_mels, n_frames, _require_descriptors(data), n_genres, dropout=dropout)
    return build_cnn(n_mels, n_frames, n_genres, dropout=dropout, keep_bands=settings.keep_bands)


def _require_descriptors(data: TrainingSet) -> NDArray[np.float64]:
    check_data(data, "dense")
    return np.asarray(data.descriptors)


def choose_n_frames(data: TrainingSet, settings: TrainingSettings, max_frames: int) -> int | None:
    """Return the number of frames that the network takes, at most that of the segments; None for descriptors.

    Raises
    ------
    MisuseError
        If the segments are too short.
    """
    if not feature_kinds(settings.arch)["log_mel"] or data.log_mel is None:
        return None
    n_frames = min(max_frames, int(data.log_mel.shape[2]))
    if n_frames < MIN_FRAMES:
        raise MisuseError(f"segments of {n_frames} frames are too short to train on: {MIN_FRAMES} are needed")
    return n_frames


def prepare_inputs(data: TrainingSet, arch: Arch, n_frames: int | None) -> list[NDArray[Any]]:
    """Return whole segments as the inputs of a network, one array for each input."""
    inputs: list[NDArray[Any]] = []
    if data.log_mel is not None and n_frames is not None:
        inputs.append(np.stack([fit_frames(log_mel, n_frames) for log_mel in data.log_mel])[..., None])
    if data.descriptors is not None and feature_kinds(arch)["descriptors"]:
        inputs.append(data.descriptors)
    return inputs


def pack_inputs(inputs: Any) -> Any:
    """Return inputs as Keras expects them: one as an array, several as a list."""
    return list(inputs) if len(inputs) > 1 else inputs[0]
