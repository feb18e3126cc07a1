"""The embedding of a segment: the numbers from which the last layer of a network computes its outputs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.mobilenet import EMBEDDING
from schemas.errors import MisuseError

_LARGEST = float(np.finfo(np.float16).max)


def find_embedding(network: Any) -> Any:
    """Return the tensor of a network that is the embedding of a segment.

    It is the output of the layer named ``embedding``, or else what the last layer reads, without the dropout
    before it: for the CNN of `pipeline.models.cnn` the mean over time and bands.

    Parameters
    ----------
    network : keras.Model
        A functional model with one output.

    Returns
    -------
    keras.KerasTensor
        Shape (batch, n_numbers).

    Raises
    ------
    MisuseError
        If the network has no such tensor of one number after the other.
    """
    names = {layer.name for layer in network.layers}
    if EMBEDDING in names:
        tensor = network.get_layer(EMBEDDING).output
    else:
        producer = {id(layer.output): layer for layer in network.layers}
        tensor = producer[id(network.outputs[0])].input
        while not isinstance(tensor, list) and type(producer[id(tensor)]).__name__ == "Dropout":
            tensor = producer[id(tensor)].input
    if isinstance(tensor, list) or len(tensor.shape) != 2:
        raise MisuseError(
            f"the network {network.name} has no embedding: its last layer does not read one vector for each "
            "segment"
        )
    return tensor


def with_embedding(network: Any) -> Any:
    """Return the same network with a second output, the embedding, computed in the same pass."""
    import keras

    return keras.Model(network.input, [network.outputs[0], find_embedding(network)])


def to_float16(vectors: NDArray[np.float32]) -> NDArray[np.float16]:
    """Round vectors to float16 as the tables store them; values beyond its range become the largest."""
    return np.clip(vectors, -_LARGEST, _LARGEST).astype(np.float16)
