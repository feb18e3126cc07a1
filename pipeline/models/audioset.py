"""The model ``audioset``: EfficientAT's ``mn04_as`` as a bundle, with AudioSet's music classes as genres.

The weights come as their authors published them; the network around them, the mapping of classes to genres
(``audioset_classes.json``) and the calibration (``audioset_calibration.json``, ``audioset_head.npz``) are
ours.
"""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.models.bundle import ModelBundle, network_bytes
from pipeline.models.mobilenet import Head, Weights, add_mobilenet
from pipeline.models.tensorflow_setup import set_up_tensorflow
from pipeline.models.torch_file import NotWeightsError, read_weights
from schemas.features import FeatureSpec
from schemas.model import ModelInfo

NAME = "audioset"
WIDTH = 0.4
N_FRAMES = 1000
FEATURES = FeatureSpec(
    sample_rate=32000,
    segment_s=10.0,
    max_segments=3,
    n_fft=1024,
    win_length=800,
    window="hann-symmetric",
    preemphasis=0.97,
    mel_hop=320,
    n_mels=128,
    mel_scale="htk-kaldi",
    f_max=15000.0,
    top_db=127.5,
    max_db=45.0,
    n_levels=52,
)
"""The network's own log-mel, at levels 2.5 dB apart: finer ones change no label and take more space."""
FLOOR_DB = (FEATURES.max_db or 0.0) - FEATURES.top_db
"""Power of level 0."""
STEP_DB = FEATURES.top_db / 255
"""Between the 256 numbers, of which every fifth is a level."""

_LOUD_DB = 20.0
"""A quieter segment is raised until its loudest value is this one, as it is in most recordings."""

_OFFSET = 1e-5
"""Added to powers before the logarithm."""

_MEAN, _SPREAD = -4.5, 5.0
"""What the network's log-mels are centered and scaled by."""

_NEPERS = math.log(10) / 10
"""Natural logarithms of power per dB."""

_TOLERANCE = 0.02
"""Tolerance for differences from the recorded outputs: other CPUs add in another order."""


def audioset_info() -> ModelInfo:
    """Return the bundle's ``model.json``, except the source of the weights."""
    calibration = _data("calibration")
    taxonomy = {**_data("classes"), **calibration["taxonomy"]}
    return ModelInfo.model_validate(
        {
            "name": NAME,
            "genres": sorted({each["genre"] for each in taxonomy["classes"]}),
            "features": FEATURES,
            "n_frames": N_FRAMES,
            "taxonomy": taxonomy,
            **{key: calibration[key] for key in ("temperature", "figures", "counts", "training")},
        }
    )


def build_audioset(data: bytes, **facts: str) -> ModelBundle:
    """Convert the published weights to a bundle.

    Parameters
    ----------
    data : bytes
        The file ``mn04_as_mAP_432.pt``, whose checksum the caller has compared.
    **facts : str
        ``source``, ``license`` and ``weights_sha256`` for ``model.json``.

    Raises
    ------
    NotWeightsError
        If it is another file, or the network built from it does not reproduce the published outputs.
    """
    try:
        network = build_network(read_weights(data), own_head())
    except (KeyError, ValueError) as error:
        if isinstance(error, NotWeightsError):
            raise
        raise NotWeightsError("the file contains the weights of another network") from error
    _check(network)
    return ModelBundle(audioset_info().model_copy(update=facts), network_bytes(network))


def own_head() -> Head:
    """Return the head that was fitted to train clips; see ``infra/audioset/``."""
    with np.load(Path(__file__).with_name(f"{NAME}_head.npz")) as arrays:
        return Head(arrays["weights"], arrays["bias"])


def build_network(weights: Weights, head: Head | None = None) -> Any:
    """Return the network.

    Parameters
    ----------
    weights : mapping of str to ndarray
        The published weights.
    head : Head, optional
        Our own head.

    Returns
    -------
    keras.Model
        Takes levels of 0 … 255, float32 (batch, 128, 1000, 1); gives logits (batch, 527), and behind
        them the head's outputs.

    Raises
    ------
    KeyError, ValueError
        If the weights are not those of this network.
    """
    set_up_tensorflow(threads=1)
    import keras
    from keras import layers

    levels = layers.Input((FEATURES.n_mels, N_FRAMES, 1), name="levels")
    x = layers.Rescaling(STEP_DB * _NEPERS, FLOOR_DB * _NEPERS, name="power")(levels)
    x = layers.Add(name="raised")([x, _gain(x)])
    # The logarithm of a power and an offset: log(e^x + c) = log c + softplus(x - log c).
    x = layers.Rescaling(1.0, -math.log(_OFFSET), name="above_offset")(x)
    x = layers.Activation("softplus", name="with_offset")(x)
    x = layers.Rescaling(1 / _SPREAD, (math.log(_OFFSET) - _MEAN) / _SPREAD, name="scaled")(x)
    return keras.Model(levels, add_mobilenet(x, weights, width=WIDTH, head=head), name=NAME)


def _gain(x: Any) -> Any:
    """Return by how much to raise quiet segments: one number per segment, 0 for most."""
    from keras import layers

    loudest = layers.GlobalMaxPooling2D(name="loudest")(x)
    gain = layers.Rescaling(-1.0, _LOUD_DB * _NEPERS, name="below_loud")(loudest)
    return layers.Reshape((1, 1, 1), name="gain")(layers.ReLU(name="raise")(gain))


def check_outputs(network: Any) -> list[float]:
    """Return the network's outputs for fixed noise, to compare with the recorded ones."""
    shape = (1, FEATURES.n_mels, N_FRAMES, 1)
    noise = np.random.default_rng(0).integers(60, 160, shape).astype(np.float32)
    return [round(float(each), 4) for each in np.asarray(network(noise, training=False))[0, :527:31]]


def _check(network: Any) -> None:
    recorded, found = np.array(_data("calibration")["check"]), np.array(check_outputs(network))
    if recorded.shape != found.shape or np.abs(recorded - found).max() > _TOLERANCE:
        raise NotWeightsError("the network built from the file does not reproduce the published outputs")


@cache
def _data(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(Path(__file__).with_name(f"{NAME}_{name}.json").read_text("utf-8"))
    return data
