"""Log-mel spectrograms with librosa's values, computed only for the requested frames, as 8-bit levels."""

from functools import lru_cache

import numpy as np
import scipy.fft
import scipy.sparse
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pipeline.audio.decode.silence import is_silent
from pipeline.audio.features.mel_bands import filterbank, mel_filterbank
from schemas.features import FeatureSpec

AMIN = 1e-10
"""Floor of the power, as in librosa's `power_to_db`; lower for quiet audio, see `log_mel_db`."""

FRAMES_AT_ONCE = 64
"""STFT frames computed together: their windows fit a core's cache."""

GTZAN_FRAMES = 387
"""Columns of the shared GTZAN log-mel arrays."""


def log_mel_db(
    y: NDArray[np.float32], *, sr: int, n_fft: int, hop_length: int, n_mels: int, top_db: float
) -> NDArray[np.float32]:
    """Return the log-mel spectrogram in dB below its maximum.

    Equal, up to float32 rounding, to ``librosa.power_to_db(librosa.feature.melspectrogram(y, ...),
    ref=np.max, top_db=top_db)`` with librosa's defaults: Hann window, centered frames, zero padding, power 2.
    The exception is audio so quiet that `AMIN` would cut more than `top_db` does: there the floor is lowered,
    so that the result does not depend on gain.

    Parameters
    ----------
    y : ndarray of float32, shape (n,)
        Mono audio, full scale ±1, at least one sample.
    sr : int
        Sample rate, Hz.
    n_fft, hop_length : int
        STFT window and step, samples.
    n_mels : int
        Mel bands.
    top_db : float
        Floor, dB below the maximum.

    Returns
    -------
    S : ndarray of float32, shape (n_mels, 1 + n // hop_length)
        dB, at most 0, row 0 the lowest band; 0 everywhere for silence.
    """
    power = mel_power(y, sr=sr, n_fft=n_fft, hop_length=hop_length, n_mels=n_mels)
    return _below_maximum(power, top_db)


def _below_maximum(power: NDArray[np.float32], top_db: float) -> NDArray[np.float32]:
    amin = min(AMIN, float(power.max()) * 10 ** (-top_db / 10))
    S = 10.0 * np.log10(np.maximum(power, max(np.float32(amin), np.finfo(np.float32).tiny)))
    S -= S.max()
    return np.maximum(S, np.float32(-top_db), out=S)


def mel_power(
    y: NDArray[np.float32], *, sr: int, n_fft: int, hop_length: int, n_mels: int
) -> NDArray[np.float32]:
    """Return the mel power spectrogram, as ``librosa.feature.melspectrogram`` with its defaults.

    Parameters and shape are those of `log_mel_db`.
    """
    return _banded_power(y, hop_length, _hann(n_fft), _sparse_filterbank(sr, n_fft, n_mels))


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
    return _banded_power(y, spec.mel_hop, _spec_window(spec), _spec_filterbank(spec))


def _banded_power(
    y: NDArray[np.float32], hop_length: int, window: NDArray[np.float32], weights: scipy.sparse.csr_array
) -> NDArray[np.float32]:
    n_fft = len(window)
    frames = sliding_window_view(np.pad(y, n_fft // 2), n_fft)[::hop_length]
    mel = np.empty((weights.shape[0], len(frames)), np.float32)
    for first in range(0, len(frames), FRAMES_AT_ONCE):
        X = scipy.fft.rfft(frames[first : first + FRAMES_AT_ONCE] * window, overwrite_x=True)
        power = np.square(X.real)
        power += np.square(X.imag)
        mel[:, first : first + FRAMES_AT_ONCE] = weights @ power.T
    return mel


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
    power = spec_power(y, spec)
    if spec.max_db is not None:
        return quantize_absolute(power, spec.max_db, spec.top_db, spec.n_levels), spec.top_db
    levels, range_db = quantize(_below_maximum(power, spec.top_db))
    return _coarser(levels, spec.n_levels), range_db


def quantize_absolute(
    power: NDArray[np.float32], max_db: float, range_db: float, n_levels: int = 256
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


def gtzan_columns(n_frames: int) -> NDArray[np.intp]:
    """Return the frames of a whole clip's log-mel at hop 512 that the shared GTZAN arrays contain.

    Parameters
    ----------
    n_frames : int
        Frames at hop 512: 1 + samples // 512.

    Returns
    -------
    ndarray of int, shape (387,)
        Frame numbers, about 77 ms apart.
    """
    j = np.arange(GTZAN_FRAMES)
    columns: NDArray[np.intp] = np.floor((j + 0.35) / 387.2 * (n_frames - 1) + 0.5).astype(np.intp)
    return columns


@lru_cache(maxsize=8)
def _sparse_filterbank(sr: int, n_fft: int, n_mels: int) -> scipy.sparse.csr_array:
    """Return `mel_filterbank` as a sparse matrix: 98 % is zero, and the product needs no BLAS threads."""
    return scipy.sparse.csr_array(mel_filterbank(sr, n_fft, n_mels))


@lru_cache(maxsize=8)
def _spec_filterbank(spec: FeatureSpec) -> scipy.sparse.csr_array:
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
