"""Whether a network's inputs and outputs are those that ``model.json`` names, read without TensorFlow."""

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from schemas.errors import MisuseError
from schemas.model import ModelInfo

_Shape = tuple[int | None, ...]


def input_shapes(info: ModelInfo) -> list[tuple[int, ...]]:
    """Return the shape of one segment in each of the network's inputs: log-mel first, then descriptors."""
    shapes: list[tuple[int, ...]] = []
    if info.n_frames is not None:
        shapes.append((info.features.n_mels, info.n_frames, 1))
    if info.features.descriptors:
        shapes.append((len(DESCRIPTOR_NAMES),))
    return shapes


def check_network(weights: bytes, info: ModelInfo, path: str) -> None:
    """Check that a ``.keras`` file takes and gives what its ``model.json`` says.

    Raises
    ------
    MisuseError
        If it does not, or is no network; `path` is what the message calls it.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(weights)) as archive:
            config = json.loads(archive.read("config.json"))["config"]
            archive.getinfo("model.weights.h5")
        shapes, n_outputs = _ends(config)
    except (zipfile.BadZipFile, KeyError, IndexError, TypeError, ValueError) as error:
        raise MisuseError(f"{path} is not a network that Earmark can read") from error
    found, expected = (_in_words(each) for each in ([shape[1:] for shape in shapes], input_shapes(info)))
    if found != expected:
        raise MisuseError(f"{path} takes arrays of shape {found}, but model.json says {expected}")
    if n_outputs != info.n_outputs:
        named = "genres" if info.taxonomy is None else "classes"
        raise MisuseError(f"{path} has {n_outputs} outputs, but model.json names {info.n_outputs} {named}")


def _in_words(shapes: list[Any]) -> str:
    return " and ".join(str(tuple(shape)) for shape in shapes) or "none"


def _ends(config: Mapping[str, Any]) -> tuple[list[_Shape], int]:
    """Return the input shapes (batch first) and the width of the last layer of a functional Keras model."""
    layers = {layer["config"]["name"]: layer["config"] for layer in config["layers"]}
    inputs = [layers[name] for name in _names(config["input_layers"])]
    (output,) = (layers[name] for name in _names(config["output_layers"]))
    return [tuple(layer["batch_shape"]) for layer in inputs], int(output["units"])


def _names(ends: list[Any]) -> list[str]:
    """Keras writes one end as ``[name, 0, 0]``, several as a list of these."""
    return [ends[0]] if isinstance(ends[0], str) else [end[0] for end in ends]
