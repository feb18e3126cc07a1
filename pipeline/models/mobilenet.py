"""MobileNetV3 over log-mels, as audio tagging uses it, out of built-in Keras layers alone.

References
----------
Howard et al., "Searching for MobileNetV3", ICCV 2019: table 1 has the blocks.
Schmid, Koutini and Widmer, "Efficient large-scale audio tagging via transformer-to-CNN knowledge
distillation", ICASSP 2023: the log-mel, the width, and an excitation whose sigmoid is not hard.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = Mapping[str, NDArray[Any]]
"""Arrays by the names and in the layouts of PyTorch's MobileNetV3."""

EPSILON = 1e-3
"""Added to variances by the batch normalization."""

EMBEDDING = "embedding"
"""Name of the layer whose output, the mean over time and bands, describes a segment."""


@dataclass(frozen=True, slots=True)
class Block:
    """An inverted residual: kernel, channels inside and out (of width 1), excitation, hard-swish, stride."""

    kernel: int
    expanded: int
    out: int
    excited: bool
    swish: bool
    stride: int


STEM, LAST_EXPANDED = 16, 960
"""Channels of width 1 of the first convolution and of the last."""
BLOCKS = (
    Block(3, 16, 16, False, False, 1),
    Block(3, 64, 24, False, False, 2),
    Block(3, 72, 24, False, False, 1),
    Block(5, 72, 40, True, False, 2),
    Block(5, 120, 40, True, False, 1),
    Block(5, 120, 40, True, False, 1),
    Block(3, 240, 80, False, True, 2),
    Block(3, 200, 80, False, True, 1),
    Block(3, 184, 80, False, True, 1),
    Block(3, 184, 80, False, True, 1),
    Block(3, 480, 112, True, True, 1),
    Block(3, 672, 112, True, True, 1),
    Block(5, 672, 160, True, True, 2),
    Block(5, 960, 160, True, True, 1),
    Block(5, 960, 160, True, True, 1),
)


def channels(of_width_1: int, width: float) -> int:
    """Return a number of channels scaled by a width: a multiple of 8 that is not below 0.9 of it."""
    wanted = of_width_1 * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


@dataclass(frozen=True, slots=True)
class Head:
    """A linear layer of our own, beside the network's last.

    Attributes
    ----------
    weights : ndarray of float32, shape (n_embedding, n)
        What it takes of each number of the embedding.
    bias : ndarray of float32, shape (n,)
        What it adds.
    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]


def add_mobilenet(x: Any, weights: Weights, *, width: float, head: Head | None) -> Any:
    """Apply the network to a log-mel.

    Parameters
    ----------
    x : keras.KerasTensor
        Shape (batch, n_mels, n_frames, 1), as the network wants it scaled.
    weights : mapping of str to ndarray
        The trained weights.
    width : float
        Scale of all channels.
    head : Head or None
        A layer over the embedding whose outputs follow those of the network.

    Returns
    -------
    keras.KerasTensor
        Logits, shape (batch, n_classes), and behind them the outputs of the head.

    Raises
    ------
    KeyError, ValueError
        If a weight is missing, or of another shape.
    """
    from keras import layers

    x = _convolve(x, weights, "features.0", stride=2, activation="hard_silu")
    for number, block in enumerate(BLOCKS, start=1):
        x = _residual(x, weights, f"features.{number}.block", block, width)
    x = _convolve(x, weights, f"features.{len(BLOCKS) + 1}", activation="hard_silu")
    embedding = layers.GlobalAveragePooling2D(name=EMBEDDING)(x)
    x = _dense(embedding, weights, "classifier.2", activation="hard_silu")
    if head is None:
        return _dense(x, weights, "classifier.5", activation=None)
    last = _beside(weights["classifier.5.weight"], weights["classifier.5.bias"], head)
    x = layers.Concatenate(name="both")([x, embedding])
    return _dense(x, last, "classifier.5", activation=None)


def _beside(kernel: NDArray[Any], bias: NDArray[Any], head: Head) -> Weights:
    """Return the weights of one layer that computes the last layer and the head side by side."""
    (n_out, n_in), (n_embedding, n_head) = kernel.shape, head.weights.shape
    both = np.zeros((n_out + n_head, n_in + n_embedding), np.float32)
    both[:n_out, :n_in], both[n_out:, n_in:] = kernel, head.weights.T
    return {"classifier.5.weight": both, "classifier.5.bias": np.concatenate([bias, head.bias])}


def _residual(x: Any, weights: Weights, name: str, block: Block, width: float) -> Any:
    from keras import layers

    activation = "hard_silu" if block.swish else "relu"
    entry, n_in, part = x, x.shape[-1], 0
    expanded, out = channels(block.expanded, width), channels(block.out, width)
    if expanded != n_in:
        x = _convolve(x, weights, f"{name}.{part}", activation=activation)
        part += 1
    x = _convolve(x, weights, f"{name}.{part}", stride=block.stride, activation=activation, depthwise=True)
    part += 1
    if block.excited:
        x = _excite(x, weights, f"{name}.{part}.conc_se_layers.0")
        part += 1
    x = _convolve(x, weights, f"{name}.{part}", activation=None)
    if x.shape[-1] != out:
        raise ValueError(f"{name} has {x.shape[-1]} channels instead of {out}")
    return layers.Add(name=_layer(name, "add"))([x, entry]) if block.stride == 1 and n_in == out else x


def _convolve(
    x: Any,
    weights: Weights,
    name: str,
    *,
    stride: int = 1,
    activation: str | None,
    depthwise: bool = False,
) -> Any:
    """Convolve, with the batch normalization that follows folded into the kernel, which it only scales."""
    from keras import layers

    kernel = weights[f"{name}.0.weight"].astype(np.float64)
    scale = weights[f"{name}.1.weight"] / np.sqrt(
        weights[f"{name}.1.running_var"].astype(np.float64) + EPSILON
    )
    bias = weights[f"{name}.1.bias"] - weights[f"{name}.1.running_mean"] * scale
    kernel = (kernel * scale[:, np.newaxis, np.newaxis, np.newaxis]).transpose(2, 3, 1, 0)
    size = kernel.shape[0]
    if size > 1:
        # As PyTorch pads: the same on both sides, also where a stride leaves one of them out.
        x = layers.ZeroPadding2D(size // 2, name=_layer(name, "pad"))(x)
    options = {"strides": stride, "activation": activation, "name": _layer(name)}
    if depthwise:
        layer = layers.DepthwiseConv2D(size, **options)
        kernel = kernel.transpose(0, 1, 3, 2)
    else:
        layer = layers.Conv2D(kernel.shape[3], size, **options)
    x = layer(x)
    layer.set_weights([kernel.astype(np.float32), bias.astype(np.float32)])
    return x


def _excite(x: Any, weights: Weights, name: str) -> Any:
    """Apply squeeze-and-excitation: gate each channel by the means of all (Hu, Shen and Sun 2018)."""
    from keras import layers

    n_channels = x.shape[-1]
    scale = layers.GlobalAveragePooling2D(name=_layer(name, "squeeze"))(x)
    scale = _dense(scale, weights, f"{name}.fc1", activation="relu")
    scale = _dense(scale, weights, f"{name}.fc2", activation="sigmoid")
    scale = layers.Reshape((1, 1, n_channels), name=_layer(name, "reshape"))(scale)
    return layers.Multiply(name=_layer(name, "scale"))([x, scale])


def _dense(x: Any, weights: Weights, name: str, *, activation: str | None) -> Any:
    from keras import layers

    kernel = weights[f"{name}.weight"]
    layer = layers.Dense(kernel.shape[0], activation=activation, name=_layer(name))
    x = layer(x)
    layer.set_weights([np.ascontiguousarray(kernel.T), weights[f"{name}.bias"]])
    return x


def _layer(name: str, role: str = "") -> str:
    """Return a layer's name. Keras' own names depend on earlier layers, and the hash on the names."""
    return "_".join([*name.split("."), *([role] if role else [])])
