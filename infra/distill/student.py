"""The student's network: convolutions over pooled levels, out of built-in Keras layers alone."""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

from pipeline.models.audioset import FEATURES, FLOOR_DB, N_FRAMES, STEP_DB
from pipeline.models.mobilenet import EMBEDDING

POOL = 2
"""Bands and frames that are averaged at the input."""
N_BANDS, N_POOLED = FEATURES.n_mels // POOL, N_FRAMES // POOL
N_EMBEDDING = 384

_LOUD_DB = 20.0
"""A quieter segment is raised until its loudest value is this one, as in `pipeline.models.audioset`."""
_CENTER_DB, _SPREAD_DB = -10.0, 18.0
_STAGES = ((24, False), (48, False), (96, True), (160, True))
"""Channels of each halving of the resolution, and whether a residual convolution follows it."""


def build_network(
    n_outputs: int, n_frames: int = N_FRAMES, adapt: Callable[[Any], Any] = lambda pooled: pooled
) -> Any:
    """Return the untrained network that ships.

    Parameters
    ----------
    n_outputs, n_frames : int
        Its size.
    adapt : callable
        Applies layers to the pooled levels, as those of `infra.distill.bandwidth`.

    Returns
    -------
    keras.Model
        Takes levels of 0 … 255, float32 (batch, 128, n_frames, 1); gives (batch, n_outputs).
    """
    import keras
    from keras import layers

    levels = layers.Input((FEATURES.n_mels, n_frames, 1), name="levels")
    pooled = layers.AveragePooling2D(POOL, name="pooled")(levels)
    outputs = layers.Dense(n_outputs, name="outputs", dtype="float32")(embed(adapt(pooled)))
    return keras.Model(levels, outputs, name="student")


def build_training_network(n_outputs: Sequence[int], n_pooled: int) -> Any:
    """Return the network as it is trained: over levels that are pooled already, with several heads.

    Returns
    -------
    keras.Model
        Takes float32 (batch, 64, n_pooled, 1); gives (batch, sum of n_outputs). The layers have the names of
        those that ship.
    """
    import keras
    from keras import layers

    pooled = layers.Input((N_BANDS, n_pooled, 1), name="pooled_levels")
    embedding = embed(pooled)
    heads = [
        layers.Dense(n, name="outputs" if place == 0 else f"outputs_{place}", dtype="float32")(embedding)
        for place, n in enumerate(n_outputs)
    ]
    return keras.Model(pooled, layers.Concatenate(name="heads", dtype="float32")(heads))


def copy_weights(origin: Any, network: Any, but: Collection[str]) -> None:
    """Give the layers of a network, but for some, the weights that those of another have by their names."""
    for layer in network.layers:
        if layer.weights and layer.name not in but:
            layer.set_weights(origin.get_layer(layer.name).get_weights())


def embed(pooled: Any) -> Any:
    """Apply the convolutions and the mean over time to pooled levels."""
    from keras import layers

    x = layers.Rescaling(STEP_DB, FLOOR_DB, name="power_db")(pooled)
    loudest = layers.GlobalMaxPooling2D(name="loudest")(x)
    gain = layers.ReLU(name="raise")(layers.Rescaling(-1.0, _LOUD_DB, name="below_loud")(loudest))
    # Subtracted, not added: Keras would take the gains of 64 segments for a bias of the 64 bands.
    lowered_by = layers.Rescaling(-1.0, name="lower")(gain)
    # The floor stays where it is: nothing was heard there, at any level.
    heard = layers.ReLU(max_value=1.0, name="heard")(pooled)
    by_band = layers.Multiply(name="gains")([heard, layers.Reshape((1, 1, 1), name="gain")(lowered_by)])
    x = layers.Subtract(name="raised")([x, by_band])
    x = layers.Rescaling(1 / _SPREAD_DB, -_CENTER_DB / _SPREAD_DB, name="scaled")(x)
    x = layers.BatchNormalization(axis=1, center=False, scale=False, name="bands")(x)
    for stage, (channels, residual) in enumerate(_STAGES):
        x = _convolve(x, channels, f"stage{stage}", stride=2)
        if residual:
            x = layers.Add(name=f"stage{stage}_sum")([x, _convolve(x, channels, f"stage{stage}_residual")])
    # One kernel as high as what is left of the bands: low and high ones stay apart.
    x = layers.Conv2D(N_EMBEDDING, (x.shape[1], 1), use_bias=False, name="across")(x)
    x = layers.ReLU(name="across_relu")(layers.BatchNormalization(name="across_norm")(x))
    return layers.GlobalAveragePooling2D(name=EMBEDDING)(x)


def _convolve(x: Any, channels: int, name: str, *, stride: int = 1) -> Any:
    from keras import layers

    x = layers.Conv2D(
        channels, 3, strides=stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=name
    )(x)
    return layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_norm")(x))


def learning_rate(step: int, n_steps: int, highest: float) -> float:
    """Return the learning rate: a short rise, then half a cosine."""
    rise = max(1, n_steps // 20)
    if step < rise:
        return highest * (step + 1) / rise
    return highest * 0.5 * (1 + math.cos(math.pi * (step - rise) / (n_steps - rise)))
