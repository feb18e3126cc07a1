"""Starting from a model: weights that a training takes over, instead of random ones.

What a network learned of one collection helps where another is small (transfer learning: Yosinski et al.
2014), also when the genres are others: then all but the last layer is taken over.
"""

from collections.abc import Sequence
from typing import Any

from pipeline.models.bundle import ModelBundle, load_network
from pipeline.training.training_set import TrainingSet
from schemas.errors import MisuseError
from schemas.model import Arch

_OF_A_LOG_MEL = {"sample_rate", "n_fft", "n_mels", "mel_hop", "top_db"}


def check_arch(start: ModelBundle, arch: Arch) -> None:
    """Check that a training of an architecture can start from a model.

    Raises
    ------
    MisuseError
        If the model is of another, or its outputs are classes that a taxonomy makes genres of.
    """
    if start.info.taxonomy is not None:
        raise MisuseError(
            f"cannot start from {start.model}: others trained it, for other classes than genres"
        )
    if start.info.arch != arch:
        raise MisuseError(
            f"cannot start from {start.model}: it is of --arch {start.info.arch}, and this training of {arch}"
        )


def take_over(networks: Sequence[Any], start: ModelBundle, data: TrainingSet, arch: Arch) -> None:
    """Set the weights of networks to those of a model; the last layer's only where the genres are the same.

    Parameters
    ----------
    networks : sequence of keras.Model
        With the same layers. Where the genres are others they all get the last layer of the first.
    start : ModelBundle
    data : TrainingSet
        What the networks are trained on.
    arch : str
        Of the networks.

    Raises
    ------
    MisuseError
        If the model is of another architecture, takes features made in another way, or has layers of other
        sizes.
    """
    check_arch(start, arch)
    made, wanted = (spec.model_dump(include=_OF_A_LOG_MEL) for spec in (data.features, start.info.features))
    differing = ", ".join(name for name in made if made[name] != wanted[name])
    if start.info.features.log_mel and differing:
        raise MisuseError(
            f"cannot start from {start.model}: the log-mels of this data were made otherwise ({differing})"
        )
    theirs = load_network(start).weights
    if start.info.genres != data.genres:
        # The kernel and the bias of the last layer.
        theirs = [*theirs[:-2], *networks[0].weights[-2:]]
    for network in networks:
        if [tuple(weight.shape) for weight in theirs] != [tuple(weight.shape) for weight in network.weights]:
            raise MisuseError(f"cannot start from {start.model}: its layers are of other sizes")
        for weight, own in zip(theirs, network.weights, strict=True):
            own.assign(weight)
