"""Log-mel spectrograms with librosa's values, computed only for the requested frames, as 8-bit levels."""

from functools import lru_cache

import numpy as np
import scipy.fft
import scipy.sparse
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pipeline.audio.decode.silence import is_silent
from pipeline.audio.features.mel_bands import filterbank
from schemas.features import FeatureSpec

AMIN = 1e-10
"""Floor of the power, as in librosa's `power_to_db`; lower for quiet audio, see `log_mel_db`."""

FRAMES_AT_ONCE = 64
"""STFT frames computed together: their windows fit a core's cache."""


def spec_power(y: NDArray[np.float32], spec: FeatureSpec) -> NDArray[np.float32]:
    """Return the mel power spectrogram that `spec` asks for.

    Parameters
    ----------
    y : ndarray of float32, shape (n,)
        Mono audio at ``spec.sample_rate``, at least one sample.
    spec : FeatureSpec
        Its window, pre-emphasis, hop and bands count.

    Returns
    -------
    ndarray of float32, shape (n_mels, 1 + n // mel_hop)
        With pre-emphasis the signal is shorter by its first sample, and `n` with it.
    """
    if spec.preemphasis and len(y) > 1:
        y = y[1:] - np.float32(spec.preemphasis) * y[:-1]
    window, weights = _spec_window(spec), _spec_filterbank(spec)
    frames = sliding_window_view(np.pad(y, spec.n_fft // 2), spec.n_fft)[:: spec.mel_hop]
    mel = np.empty((spec.n_mels, len(frames)), np.float32)
    for first in range(0, len(frames), FRAMES_AT_ONCE):
        X = scipy.fft.rfft(frames[first : first + FRAMES_AT_ONCE] * window, overwrite_x=True)
        power = np.square(X.real)
        power += np.square(X.imag)
        mel[:, first : first + FRAMES_AT_ONCE] = weights @ power.T
    return mel


def log_mel_db(y: NDArray[np.float32], spec: FeatureSpec) -> NDArray[np.float32]:
    """Return the log-mel spectrogram that `spec` asks for, in dB below its maximum.

    Where `spec` keeps the default window, scale and pre-emphasis, it equals, up to float32 rounding,
    ``librosa.power_to_db(librosa.feature.melspectrogram(y, ...), ref=np.max, top_db=top_db)`` with librosa's
    defaults: Hann window, centered frames, zero padding, power 2. The exception is audio so quiet that `AMIN`
    would cut more than `top_db` does: there the floor is lowered, so that the result does not depend on gain.

    Parameters
    ----------
    y : ndarray of float32, shape (n,)
        Mono audio at ``spec.sample_rate``, full scale ±1, at least one sample.
    spec : FeatureSpec
        The features.

    Returns
    -------
    S : ndarray of float32, shape of `spec_power`
        dB, at most 0, row 0 the lowest band; 0 everywhere for silence.
    """
    power = spec_power(y, spec)
    amin = min(AMIN, float(power.max()) * 10 ** (-spec.top_db / 10))
    S = 10.0 * np.log10(np.maximum(power, max(np.float32(amin), np.finfo(np.float32).tiny)))
    S -= S.max()
    return np.maximum(S, np.float32(-spec.top_db), out=S)


def quantize(S: NDArray[np.float32]) -> tuple[NDArray[np.uint8], float]:
    """Map dB below the maximum to 8-bit levels.

    Parameters
    ----------
    S : ndarray of float32
        dB, at most 0.

    Returns
    -------
    levels : ndarray of uint8, same shape
        ``round(255 * (S - min S) / -min S)``: 255 is the maximum, 0 the minimum. Silence, where `S` is 0
        everywhere, is all 0.
    range_db : float
        ``-min S``, the range in dB between levels 0 and 255; 0 for silence.
    """
    range_db = -float(S.min())
    if range_db <= 0:
        return np.zeros(S.shape, np.uint8), 0.0
    return np.rint((S + np.float32(range_db)) * np.float32(255.0 / range_db)).astype(np.uint8), range_db


def log_mel(y: NDArray[np.float32], spec: FeatureSpec) -> tuple[NDArray[np.uint8], float]:
    """Return the levels and the range in dB (see `quantize`) of a segment's log-mel.

    For a silent segment both are 0: levels are relative, so its noise would look as loud as music.

    Parameters
    ----------
    y : ndarray of float32, shape (n,)
        Mono audio at ``spec.sample_rate``.
    spec : FeatureSpec
        The features.
    """
    if is_silent(y, spec.sample_rate):
        n_samples = max(len(y) - bool(spec.preemphasis), 1)
        return np.zeros((spec.n_mels, 1 + n_samples // spec.mel_hop), np.uint8), 0.0
    if spec.max_db is not None:
        return quantize_absolute(spec_power(y, spec), spec.max_db, spec.top_db, spec.n_levels), spec.top_db
    levels, range_db = quantize(log_mel_db(y, spec))
    return _coarser(levels, spec.n_levels), range_db


def quantize_absolute(
    power: NDArray[np.float32], max_db: float, range_db: float, n_levels: int
) -> NDArray[np.uint8]:
    """Map power to 8-bit levels that stand for the same dB in every segment.

    Parameters
    ----------
    power : ndarray of float32
        Power of audio of full scale ±1.
    max_db : float
        What level 255 stands for, dB; louder values get it too.
    range_db : float
        How far below it lies what level 0 stands for.
    n_levels : int
        Different levels, evenly from 0 to 255.

    Returns
    -------
    ndarray of uint8, same shape
    """
    S = 10.0 * np.log10(np.maximum(power, np.finfo(np.float32).tiny))
    steps = (S - np.float32(max_db - range_db)) * np.float32((n_levels - 1) / range_db)
    places = np.rint(np.clip(steps, 0, n_levels - 1)).astype(np.uint8)
    return np.asarray(_levels(n_levels)[places])


def _coarser(levels: NDArray[np.uint8], n_levels: int) -> NDArray[np.uint8]:
    """Round levels to those of `n_levels` that are nearest."""
    if n_levels == 256:
        return levels
    nearest = np.rint(np.arange(256) * ((n_levels - 1) / 255)).astype(np.uint8)
    return np.asarray(_levels(n_levels)[nearest[levels]])


def _levels(n_levels: int) -> NDArray[np.uint8]:
    """Return the levels, evenly from 0 to 255."""
    return np.rint(np.linspace(0, 255, n_levels)).astype(np.uint8)


@lru_cache(maxsize=8)
def _spec_filterbank(spec: FeatureSpec) -> scipy.sparse.csr_array:
    """Return `filterbank` as a sparse matrix: 98 % is zero, and the product needs no BLAS threads."""
    return scipy.sparse.csr_array(filterbank(spec))


@lru_cache(maxsize=4)
def _hann(n_fft: int) -> NDArray[np.float32]:
    """Return the periodic Hann window."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)).astype(np.float32)


@lru_cache(maxsize=4)
def _spec_window(spec: FeatureSpec) -> NDArray[np.float32]:
    """Return the window that `spec` asks for, shape (n_fft,): in the middle, zeros around it."""
    length = spec.win_length or spec.n_fft
    window = _hann(length) if spec.window == "hann" else np.hanning(length).astype(np.float32)
    before = (spec.n_fft - length) // 2
    return np.pad(window, (before, spec.n_fft - length - before))
