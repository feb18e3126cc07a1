"""Networks over the 57 descriptors: a dense one, and one that reads the log-mel too."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.cnn import embed

WIDTHS = (512, 256, 128, 64)
BRANCH_WIDTH = 64
_MIN_RELATIVE_VARIANCE = 1e-12


def build_dense(descriptors: NDArray[np.float64], n_genres: int, *, dropout: float = 0.2) -> Any:
    """Build the untrained dense network: layers of 512, 256, 128 and 64 units with ReLU and dropout.

    The architecture is that of the article this project started from: standard scaler, dense layers, softmax.
    `pipeline.models.classifier.Classifier` applies the softmax, after the temperature.

    Parameters
    ----------
    descriptors : ndarray of float64, shape (n, 57)
        The training data: the first layer scales by its mean and standard deviation.
    n_genres : int
    dropout : float

    Returns
    -------
    keras.Model
        Maps descriptors, float32 (batch, 57), to logits (batch, n_genres).
    """
    import keras
    from keras import layers

    values = layers.Input((descriptors.shape[1],))
    x = _build_scaler(descriptors)(values)
    for width in WIDTHS:
        x = layers.Dropout(dropout)(layers.Dense(width, activation="relu")(x))
    return keras.Model(values, layers.Dense(n_genres)(x))


def build_both(
    n_mels: int, n_frames: int, descriptors: NDArray[np.float64], n_genres: int, *, dropout: float
) -> Any:
    """Build the untrained network that joins the CNN's embedding of the log-mel with the descriptors.

    Parameters
    ----------
    n_mels, n_frames, n_genres, dropout
        See `pipeline.models.cnn.build_cnn`.
    descriptors
        See `build_dense`.

    Returns
    -------
    keras.Model
        Maps levels (batch, n_mels, n_frames, 1) and descriptors (batch, 57) to logits (batch, n_genres).
    """
    import keras
    from keras import layers

    levels = layers.Input((n_mels, n_frames, 1))
    values = layers.Input((descriptors.shape[1],))
    branch = layers.Dense(BRANCH_WIDTH, activation="relu")(_build_scaler(descriptors)(values))
    x = layers.Concatenate()([embed(levels), branch])
    return keras.Model([levels, values], layers.Dense(n_genres)(layers.Dropout(dropout)(x)))


def _build_scaler(descriptors: NDArray[np.float64]) -> Any:
    """Return a standard scaler as a layer: its statistics are saved with the network, without a pickle."""
    from keras import layers

    mean, variance = descriptors.mean(axis=0), descriptors.var(axis=0)
    # As in scikit-learn: a constant column is not scaled, which would amplify rounding errors.
    variance[variance <= _MIN_RELATIVE_VARIANCE * mean**2] = 1.0
    return layers.Normalization(mean=mean.tolist(), variance=variance.tolist())
