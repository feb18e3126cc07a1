"""Tempo: the period with which the onsets of a sound repeat."""

from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pipeline.audio.features.stft import HOP_LENGTH, N_FFT

WINDOW_S = 8.0
"""Length of the autocorrelation window."""

START_BPM = 120.0
"""The most likely tempo a priori."""

FRAMES_AT_ONCE = 64
"""Windows transformed together: they fit a core's second-level cache."""

MAX_BPM = 320.0
"""The fastest tempo."""


def onset_strength(S_db: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rise in level of each frame over the previous one, as the median over its bands.

    As ``librosa.onset.onset_strength(aggregate=np.median)``, which librosa's beat tracker uses.

    Parameters
    ----------
    S_db : ndarray of float32, shape (n_mels, n)
        Log-mel spectrogram in dB, an even number of bands.

    Returns
    -------
    ndarray of float32, shape (n,)
        dB, never negative, delayed by three frames: one for the difference, two for centered windows.
    """
    rise = np.ascontiguousarray(np.diff(S_db).T)
    np.maximum(rise, 0, out=rise)
    rise.sort(axis=1)
    half = rise.shape[1] // 2
    median = (rise[:, half - 1] + rise[:, half]) / np.float32(2)
    return np.pad(median, (1 + N_FFT // (2 * HOP_LENGTH), 0))[: S_db.shape[1]]


def tempo(onsets: NDArray[np.float32], sr: float) -> float:
    """Return the tempo of onsets, as ``librosa.beat.beat_track`` does.

    Parameters
    ----------
    onsets : ndarray of float32, shape (n,)
        As `onset_strength` returns them.
    sr : float
        Sample rate of the signal, Hz.

    Returns
    -------
    float
        Beats a minute; 0 without any onset.

    References
    ----------
    Ellis, "Beat tracking by dynamic programming", Journal of New Music Research 36(1), 2007.
    """
    if not onsets.any():
        return 0.0
    bpm, prior = _tempi(sr)
    return float(bpm[np.argmax(np.log1p(1e6 * mean_autocorrelation(onsets, len(bpm))) + prior)])


def mean_autocorrelation(onsets: NDArray[np.float32], length: int) -> NDArray[np.float64]:
    """Return the mean autocorrelation of a window around each frame, scaled to 1 at lag 0.

    That is the mean over time of ``librosa.feature.tempogram(win_length=length)``. Because the scaled
    autocorrelation is linear in the scaled power spectrum, the mean is taken there and transformed once.

    Parameters
    ----------
    onsets : ndarray of float32, shape (n,)
        At least one.
    length : int
        Length of a window in frames.

    Returns
    -------
    ndarray of float64, shape (length,)
        For each lag in frames.
    """
    around = np.pad(onsets, length // 2, mode="linear_ramp", end_values=0)
    frames = sliding_window_view(around, length)[: len(onsets)]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    n_fft = scipy.fft.next_fast_len(2 * length - 1, real=True)
    # Squares of real and imaginary parts, interleaved.
    squares = np.zeros(2 * (n_fft // 2 + 1))
    padded = np.zeros((FRAMES_AT_ONCE, n_fft))
    for i in range(0, len(frames), FRAMES_AT_ONCE):
        part = frames[i : i + FRAMES_AT_ONCE]
        windowed = np.multiply(part, window, out=padded[: len(part), :length])
        energy = np.einsum("ij,ij->i", windowed, windowed)
        energy[energy < np.finfo(np.float64).tiny] = 1.0
        X = scipy.fft.rfft(padded[: len(part)]).view(np.float64)
        squares += (1 / energy) @ np.square(X, out=X)
    power = squares[0::2] + squares[1::2]
    autocorrelation: NDArray[np.float64] = scipy.fft.irfft(power, n=n_fft)[:length] / len(onsets)
    return autocorrelation


@lru_cache(maxsize=8)
def _tempi(sr: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the tempo of each lag, and its log prior."""
    length = int(WINDOW_S * sr) // HOP_LENGTH
    bpm = np.concatenate(([np.inf], 60.0 * sr / (HOP_LENGTH * np.arange(1.0, length))))
    prior = -0.5 * (np.log2(bpm) - np.log2(START_BPM)) ** 2
    prior[bpm >= MAX_BPM] = -np.inf
    return bpm, prior
