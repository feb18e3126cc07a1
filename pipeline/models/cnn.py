"""A small CNN over a log-mel, out of built-in Keras layers alone, which Keras loads in safe mode."""

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

    Five 3 x 3 convolutions of `width`, 2, 4, 6 and 8 times `width` channels (Simonyan and Zisserman
    2015), a maximum over 2 x 2 after all but the last, then a mean over time and bands. No weight depends
    on `n_frames`: what is trained on crops serves whole segments.

    Parameters
    ----------
    n_mels, n_frames : int
        Shape of a log-mel, at least 16 x 16.
    n_genres : int
    width : int
        Channels of the first convolution.
    dropout : float
    keep_bands : bool
        As `embed`.

    Returns
    -------
    keras.Model
        Takes levels of 0 … 255, float32 (batch, n_mels, n_frames, 1); gives logits (batch, n_genres).
    """
    import keras
    from keras import layers

    levels = layers.Input((n_mels, n_frames, 1))
    # In this order: layers draw their seeds as they are made, and recorded trainings shall come out alike.
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
        As `build_cnn`.
    keep_bands : bool
        Take the mean over time alone: what lies low and what lies high in the spectrum stay apart. It knows a
        recording again by its sound, and new music less well.

    Returns
    -------
    keras.KerasTensor
        Shape (batch, 8 * width), or (batch, n_mels // 16 * 8 * width).
    """
    from keras import layers

    x = layers.Rescaling(1 / SPREAD, offset=-CENTER / SPREAD)(levels)
    # Each mel band by its own mean and spread over the training data.
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
    # Pooled first, so that the rest runs over a quarter of the values: a third less time for training.
    if pool > 1:
        x = layers.MaxPooling2D(pool)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))
