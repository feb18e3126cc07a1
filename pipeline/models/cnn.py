"""A small CNN over log-mels, made only of built-in Keras layers, so that Keras loads it in safe mode."""

from typing import Any

CENTER, SPREAD = 118.0, 64.0
DROPOUT = 0.3


def build_cnn(
    n_mels: int,
    n_frames: int,
    n_genres: int,
    *,
    width: int = 24,
    dropout: float = DROPOUT,
    keep_bands: bool = False,
) -> Any:
    """Build the untrained network.

    Five 3 x 3 convolutions with 1, 2, 4, 6 and 8 times `width` channels (Simonyan and Zisserman 2015), 2 x 2
    max pooling after all but the last, then a mean over time and bands. No weight depends on `n_frames`, so a
    network trained on crops runs on whole segments.

    Parameters
    ----------
    n_mels, n_frames : int
        Shape of a log-mel, at least 16 x 16.
    n_genres : int
    width : int
        Channels of the first convolution.
    dropout : float
    keep_bands : bool
        See `embed`.

    Returns
    -------
    keras.Model
        Maps levels of 0 … 255, float32 (batch, n_mels, n_frames, 1), to logits (batch, n_genres).
    """
    import keras
    from keras import layers

    levels = layers.Input((n_mels, n_frames, 1))
    # Keep this order: layers draw their seeds when they are created, and the same training must give the same
    # weights.
    x = embed(levels, width, keep_bands=keep_bands)
    x = layers.Dropout(dropout)(x)
    return keras.Model(levels, layers.Dense(n_genres)(x))


def embed(levels: Any, width: int = 24, *, keep_bands: bool = False) -> Any:
    """Apply the convolutions and the mean over time and bands.

    Parameters
    ----------
    levels : keras.KerasTensor
        Levels of 0 … 255, shape (batch, n_mels, n_frames, 1).
    width : int
        Channels of the first convolution.
    keep_bands : bool
        Take the mean over time only, which keeps low and high bands apart. This recognizes known recordings
        better and new music worse.

    Returns
    -------
    keras.KerasTensor
        Shape (batch, 8 * width), or (batch, n_mels // 16 * 8 * width).
    """
    from keras import layers

    x = layers.Rescaling(1 / SPREAD, offset=-CENTER / SPREAD)(levels)
    # Normalizes each mel band by its mean and variance over the training data.
    x = layers.BatchNormalization(axis=1, center=False, scale=False)(x)
    for multiple in (1, 2, 4, 6):
        x = _convolve(x, multiple * width, pool=2)
    x = _convolve(x, 8 * width, pool=1)
    if keep_bands:
        return layers.Flatten()(layers.AveragePooling2D((1, x.shape[2]))(x))
    return layers.GlobalAveragePooling2D()(x)


def _convolve(x: Any, channels: int, *, pool: int) -> Any:
    from keras import layers

    x = layers.Conv2D(channels, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    # Pooling first leaves a quarter of the values for the layers below: training takes a third less time.
    if pool > 1:
        x = layers.MaxPooling2D(pool)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))
