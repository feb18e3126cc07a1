"""Start a training from the weights of a model instead of random ones.

What a network learned from one collection helps on another, smaller one (transfer learning: Yosinski et al.
2014), even if its genres differ: then all layers but the last are transferred.
"""

from collections.abc import Sequence
from typing import Any

from pipeline.models.bundle import ModelBundle, load_network
from pipeline.training.training_set import TrainingSet
from schemas.errors import MisuseError
from schemas.model import Arch

_LOG_MEL_SETTINGS = (
    "sample_rate", "n_fft", "n_mels", "mel_hop", "top_db", "window", "win_length", "preemphasis", "mel_scale",
    "f_max", "max_db", "n_levels",
)  # fmt: skip


def check_arch(start: ModelBundle, arch: Arch) -> None:
    """Check that a training of an architecture can start from a model.

    Raises
    ------
    MisuseError
        If the model has another architecture, or a taxonomy: its outputs are classes, not genres.
    """
    if start.info.taxonomy is not None:
        raise MisuseError(
            f"cannot start from {start.model}: its outputs are sound classes, not genres; use "
            f"--from gtzan, or train a head on the embeddings of {start.model} with --on embeddings"
        )
    if start.info.arch != arch:
        raise MisuseError(
            f"cannot start from {start.model}: it has --arch {start.info.arch}, but this training has {arch}"
        )


def transfer_weights(networks: Sequence[Any], start: ModelBundle, data: TrainingSet, arch: Arch) -> None:
    """Set the weights of networks to those of a model; of the last layer only if the genres match.

    Parameters
    ----------
    networks : sequence of keras.Model
        Networks with the same layers. If the genres differ, all get the last layer of the first network.
    start : ModelBundle
    data : TrainingSet
        The data that the networks are trained on.
    arch : str
        The architecture of the networks.

    Raises
    ------
    MisuseError
        If the model has another architecture, reads features computed with other settings, or has layers of
        other sizes.
    """
    check_arch(start, arch)
    made, wanted = data.features, start.info.features
    differing = ", ".join(name for name in _LOG_MEL_SETTINGS if getattr(made, name) != getattr(wanted, name))
    if start.info.features.log_mel and differing:
        raise MisuseError(
            f"cannot start from {start.model}: the log-mels of this data have other settings ({differing})"
        )
    weights = load_network(start).weights
    if start.info.genres != data.genres:
        # The last two are the kernel and the bias of the last layer.
        weights = [*weights[:-2], *networks[0].weights[-2:]]
    for network in networks:
        if [tuple(each.shape) for each in weights] != [tuple(each.shape) for each in network.weights]:
            raise MisuseError(f"cannot start from {start.model}: its layers have other sizes")
        for source, target in zip(weights, network.weights, strict=True):
            target.assign(source)
