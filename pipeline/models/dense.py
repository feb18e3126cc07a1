"""Networks over the 57 descriptors: the dense one of the article, and one that hears the log-mel too."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.cnn import embed

WIDTHS = (512, 256, 128, 64)
JOINED_WIDTH = 64
_SMALLEST_SPREAD = 1e-12


def build_dense(descriptors: NDArray[np.float64], n_genres: int, *, dropout: float = 0.2) -> Any:
    """Build the untrained network of dense layers (512, 256, 128 and 64, ReLU, dropout after each).

    The architecture is that of the article this project is built after: a standard scaler, dense layers,
    softmax (which is left to `pipeline.models.bundle.Classifier`, so that a temperature can come before it).

    Parameters
    ----------
    descriptors : ndarray of float64, shape (n, 57)
        Those that are trained on: the network's first layer scales by their mean and deviation.
    n_genres : int
    dropout : float

    Returns
    -------
    keras.Model
        Takes descriptors, float32 (batch, 57); gives logits (batch, n_genres).
    """
    import keras
    from keras import layers

    described = layers.Input((descriptors.shape[1],))
    x = _scaler(descriptors)(described)
    for width in WIDTHS:
        x = layers.Dropout(dropout)(layers.Dense(width, activation="relu")(x))
    return keras.Model(described, layers.Dense(n_genres)(x))


def build_both(
    n_mels: int, n_frames: int, descriptors: NDArray[np.float64], n_genres: int, *, dropout: float = 0.3
) -> Any:
    """Build the untrained network that joins the CNN's embedding of the log-mel with the descriptors.

    Parameters
    ----------
    n_mels, n_frames, n_genres, dropout
        As `pipeline.models.cnn.build_cnn`.
    descriptors
        As `build_dense`.

    Returns
    -------
    keras.Model
        Takes levels (batch, n_mels, n_frames, 1) and descriptors (batch, 57); gives logits (batch, n_genres).
    """
    import keras
    from keras import layers

    levels = layers.Input((n_mels, n_frames, 1))
    described = layers.Input((descriptors.shape[1],))
    beside = layers.Dense(JOINED_WIDTH, activation="relu")(_scaler(descriptors)(described))
    x = layers.Concatenate()([embed(levels), beside])
    return keras.Model([levels, described], layers.Dense(n_genres)(layers.Dropout(dropout)(x)))


def _scaler(descriptors: NDArray[np.float64]) -> Any:
    """The standard scaler as a layer: its statistics are part of the network, no pickle of their own."""
    from keras import layers

    mean, variance = descriptors.mean(axis=0), descriptors.var(axis=0)
    # As scikit-learn has it: what does not vary in training is not blown up in use.
    variance[variance <= _SMALLEST_SPREAD * mean**2] = 1.0
    return layers.Normalization(mean=mean.tolist(), variance=variance.tolist())
