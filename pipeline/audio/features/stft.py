"""The short-time Fourier transform that all descriptors share, and its inverse."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pipeline.audio.features.compilation import kernel

N_FFT = 2048
"""Window length in samples."""

HOP_LENGTH = 512
"""Samples between frames."""

N_BINS = 1 + N_FFT // 2
"""Frequency bins of a frame."""

FRAMES_AT_ONCE = 16
"""Frames transformed together: their samples in double precision fit a core's second-level cache."""

HOPS = N_FFT // HOP_LENGTH
"""Frames that contain a given sample."""

_WINDOW_POWER = 1.5
"""Sum of the squared Hann windows at a sample that all four frames cover."""


def pad_reflected(y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pad the signal with half a window of its mirror image at both ends, so that frames are centered.

    Parameters
    ----------
    y : ndarray of float32, shape (n,)
        At least one sample.
    """
    return np.pad(y, N_FFT // 2, mode="reflect")


def fft_frequencies(sr: float) -> NDArray[np.float64]:
    """Return the frequency of each bin, Hz, shape (1025,)."""
    return np.fft.rfftfreq(n=N_FFT, d=1.0 / sr).astype(np.float64)


def n_frames(n_samples: int) -> int:
    """Return the number of centered frames of a signal."""
    return 1 + n_samples // HOP_LENGTH


def stft_blocks(y: NDArray[np.float32], block: int) -> Iterator[tuple[int, NDArray[np.complex64]]]:
    """Yield the STFT of a signal, some frames at a time.

    The values are those of ``librosa.stft(y, n_fft=2048, hop_length=512, pad_mode="reflect")``: the transform
    is computed in double precision and then rounded.

    Parameters
    ----------
    y : ndarray of float32, shape (n,)
        At least one sample.
    block : int
        Frames per block.

    Yields
    ------
    first : int
        Number of the block's first frame.
    D : ndarray of complex64, shape (at most block, 1025)
        Frames in rows; the caller may modify it.
    """
    frames = sliding_window_view(pad_reflected(y), N_FFT)[::HOP_LENGTH]
    for first in range(0, len(frames), block):
        D = np.empty((min(block, len(frames) - first), N_BINS), np.complex64)
        for i in range(0, len(D), FRAMES_AT_ONCE):
            part = frames[first + i : min(first + i + FRAMES_AT_ONCE, first + len(D))]
            D[i : i + FRAMES_AT_ONCE] = scipy.fft.rfft(part * _hann(), overwrite_x=True)
        yield first, D


def overlap_add(D: NDArray[np.complex64], first: int, y: NDArray[np.float32]) -> None:
    """Add the inverse transform of some frames to an output signal.

    After all frames are added, `unpad` turns it into the result of ``librosa.istft``.

    Parameters
    ----------
    D : ndarray of complex64, shape (n, 1025)
        Frames in rows.
    first : int
        Number of the first of them.
    y : ndarray of float32, shape (n_frames + 3, 512)
        The signal with half a window of padding at either end, one hop per row; initially zeros.
    """
    for i in range(0, len(D), FRAMES_AT_ONCE):
        frames = scipy.fft.irfft(D[i : i + FRAMES_AT_ONCE], overwrite_x=True)
        _add_windowed(frames, _synthesis_window(), y[first + i :].reshape(-1))


def unpad(y: NDArray[np.float32], n_samples: int) -> NDArray[np.float32]:
    """Remove the padding from the result of `overlap_add`, and correct the ends, which fewer frames cover.

    Parameters
    ----------
    y : ndarray of float32, shape (n_frames + 3, 512)
        The sum of all frames; its ends are modified in place.
    n_samples : int
        Length of the signal.
    """
    frames = len(y) - HOPS + 1
    squared = (_hann() ** 2).reshape(HOPS, HOP_LENGTH)
    for row in range(len(y)):
        if HOPS - 1 <= row < frames:
            continue
        power = sum(squared[k] for k in range(HOPS) if 0 <= row - k < frames)
        y[row] *= _WINDOW_POWER / np.maximum(power, np.finfo(np.float32).tiny)
    return y.reshape(-1)[N_FFT // 2 : N_FFT // 2 + n_samples]


@kernel
def _add_windowed(frames: NDArray[np.float32], window: NDArray[np.float32], y: NDArray[np.float32]) -> None:
    for i in range(frames.shape[0]):
        for j in range(frames.shape[1]):
            y[i * HOP_LENGTH + j] += frames[i, j] * window[j]


@lru_cache(maxsize=1)
def _hann() -> NDArray[np.float64]:
    """Return the periodic Hann window, equal to `scipy.signal.get_window`'s to the last bit."""
    return 0.5 + 0.5 * np.cos(np.linspace(-np.pi, np.pi, N_FFT + 1)[:-1])


@lru_cache(maxsize=1)
def _synthesis_window() -> NDArray[np.float32]:
    return (_hann() / _WINDOW_POWER).astype(np.float32)
