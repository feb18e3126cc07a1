"""Offset: a constant or slowly drifting voltage beneath the music, inaudible but not to the features."""

import numpy as np
from numpy.typing import NDArray

MAX_SHARE = 0.1
"""An offset stays if its power is less than this fraction of the music's.

In 88 clips of GTZAN, the largest constant offset has 0.011, and drifts have up to 0.002.
"""

CUTOFF_HZ = 20.0
_BLOCK_S = 0.1
"""A drift is what the means of blocks of this length show; of a tone at 30 Hz they keep a hundredth."""


def without_offset(y: NDArray[np.float32], sr: int) -> NDArray[np.float32]:
    """Return an excerpt without its offset if that is strong; else `y` itself, unchanged.

    Parameters
    ----------
    y : ndarray of float32, shape (n,)
        Mono audio.
    sr : int
        Sample rate, Hz.

    Returns
    -------
    ndarray of float32, shape (n,)
        The mean is subtracted; if what remains still drifts, it is high-pass filtered too.
    """
    width = max(min(round(_BLOCK_S * sr), len(y)), 1)
    means = y[: len(y) // width * width].reshape(-1, width).mean(axis=1, dtype=np.float64)
    if not means.any():
        return y
    offset = float(means.mean())
    if offset**2 > MAX_SHARE * (_power(y) - offset**2):
        offset = float(y.mean(dtype=np.float64))
        y, means = y - np.float32(offset), means - offset
    drift, level = float(means.var()), float(means.mean()) ** 2
    drifts = drift > MAX_SHARE * (_power(y) - level - drift)
    return _high_pass(y, sr) if drifts and sr > 4 * CUTOFF_HZ else y


def _power(y: NDArray[np.float32]) -> float:
    return float(np.dot(y, y)) / len(y)


def _high_pass(y: NDArray[np.float32], sr: int) -> NDArray[np.float32]:
    import scipy.signal  # imports scipy.stats and more, which takes a second; hardly any file needs it

    sos = scipy.signal.butter(2, CUTOFF_HZ, "highpass", output="sos", fs=sr)
    filtered: NDArray[np.float64] = scipy.signal.sosfiltfilt(sos, y, padlen=min(len(y) - 1, sr // 10))
    return filtered.astype(np.float32)
