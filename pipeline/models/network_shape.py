"""The inputs of a network, and a check of them and the outputs against ``model.json``, without TensorFlow."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.formatting import size_text
from pipeline.models.model_cache import how_to_mend
from schemas.errors import MisuseError
from schemas.model import ModelInfo
from schemas.tracks import SegmentFeatures

_Shape = tuple[int | None, ...]
_MOST_EXPANSION = 16
"""Keras stores what a file holds as it is, and weights hardly compress if somebody packs them again."""


def input_shapes(info: ModelInfo) -> list[tuple[int, ...]]:
    """Return the shape of one segment in each input of the network: log-mel first, then descriptors."""
    shapes: list[tuple[int, ...]] = []
    if info.n_frames is not None:
        shapes.append((info.features.n_mels, info.n_frames, 1))
    if info.features.descriptors:
        shapes.append((len(DESCRIPTOR_NAMES),))
    return shapes


def network_inputs(
    segments: Sequence[SegmentFeatures],
) -> tuple[list[NDArray[np.uint8]] | None, NDArray[np.float64] | None]:
    """Return log-mels and descriptors of segments as a `Classifier` takes them; None if there are none."""
    log_mels = [segment.log_mel for segment in segments if segment.log_mel is not None]
    descriptors = [segment.descriptors for segment in segments if segment.descriptors is not None]
    return log_mels or None, np.stack(descriptors) if descriptors else None


def check_network(weights: bytes, info: ModelInfo, folder: str, file: str) -> None:
    """Check that the inputs and outputs of a ``.keras`` file match its ``model.json``.

    Raises
    ------
    MisuseError
        If they do not, or the file is not a network. The message names it by its folder and its name.
    """
    path = f"{folder}/{file}"
    try:
        with zipfile.ZipFile(io.BytesIO(weights)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > _MOST_EXPANSION * len(weights):
                raise MisuseError(
                    f"{path} would unpack to {size_text(unpacked)}, {unpacked // len(weights)} times its "
                    "size, as no network does; get the model from somebody whom you trust"
                )
            config = json.loads(archive.read("config.json"))["config"]
            archive.getinfo("model.weights.h5")
        shapes, n_outputs = _read_shapes(config)
    except (zipfile.BadZipFile, KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
        raise MisuseError(f"{path} is not a network that Earmark can read; {how_to_mend(folder)}") from error
    found, expected = (_format_shapes(each) for each in ([shape[1:] for shape in shapes], input_shapes(info)))
    if found != expected:
        raise MisuseError(
            f"{path} takes arrays of shape {found}, but model.json says {expected}; {how_to_mend(folder)}"
        )
    if n_outputs != info.n_outputs:
        named = "genres" if info.taxonomy is None else "classes"
        raise MisuseError(
            f"{path} has {n_outputs} outputs, but model.json names {info.n_outputs} {named}; "
            f"{how_to_mend(folder)}"
        )


def _format_shapes(shapes: list[Any]) -> str:
    return " and ".join(str(tuple(shape)) for shape in shapes) or "none"


def _read_shapes(config: Mapping[str, Any]) -> tuple[list[_Shape], int]:
    """Return the input shapes (batch first) and the width of the last layer of a functional Keras model."""
    layers = {layer["config"]["name"]: layer["config"] for layer in config["layers"]}
    inputs = [layers[name] for name in _layer_names(config["input_layers"])]
    (output,) = (layers[name] for name in _layer_names(config["output_layers"]))
    return [tuple(layer["batch_shape"]) for layer in inputs], int(output["units"])


def _layer_names(references: list[Any]) -> list[str]:
    """Return the names of referenced layers. Keras writes one as ``[name, 0, 0]``, several as a list."""
    if isinstance(references[0], str):
        return [references[0]]
    return [reference[0] for reference in references]
