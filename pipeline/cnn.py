"""The network: a small residual CNN over a log-mel, out of built-in Keras layers alone (safe mode)."""

from typing import Any

CENTRE, SPREAD = 118.0, 64.0
DROPOUT = 0.3


def build_cnn(n_mels: int, n_frames: int, n_genres: int, *, width: int = 24) -> Any:
    """Build the untrained network.

    Residual blocks (He et al. 2016) of `width`, 2, 4 and 6 times `width` channels, each at half the
    resolution of the one before, and a mean over time and bands: the weights do not depend on `n_frames`.

    Parameters
    ----------
    n_mels, n_frames : int
        Shape of a log-mel.
    n_genres : int
    width : int
        Channels of the first block.

    Returns
    -------
    keras.Model
        Takes levels of 0 … 255, float32 (batch, n_mels, n_frames, 1); gives logits (batch, n_genres).
    """
    import keras
    from keras import layers

    levels = layers.Input((n_mels, n_frames, 1))
    x = layers.Rescaling(1 / SPREAD, offset=-CENTRE / SPREAD)(levels)
    # Each mel band by its own mean and spread over the training data.
    x = layers.BatchNormalization(axis=1, center=False, scale=False)(x)
    x = _convolve(x, width, size=5, stride=2)
    for multiple, stride in ((1, 1), (2, 2), (4, 2), (6, 2)):
        x = _residual_block(x, multiple * width, stride)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(DROPOUT)(x)
    return keras.Model(levels, layers.Dense(n_genres)(x))


def _convolve(x: Any, channels: int, *, size: int = 3, stride: int = 1, activate: bool = True) -> Any:
    from keras import layers

    x = layers.Conv2D(
        channels, size, strides=stride, padding="same", use_bias=False, kernel_initializer="he_normal"
    )(x)
    x = layers.BatchNormalization()(x)
    return layers.ReLU()(x) if activate else x


def _residual_block(x: Any, channels: int, stride: int) -> Any:
    from keras import layers

    branch = _convolve(_convolve(x, channels, stride=stride), channels, activate=False)
    if stride > 1:
        x = layers.AveragePooling2D(stride, padding="same")(x)
    if x.shape[-1] != channels:
        x = _convolve(x, channels, size=1, activate=False)
    return layers.ReLU()(layers.Add()([x, branch]))
