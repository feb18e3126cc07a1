"""Log-mel spectrograms with librosa's values, computed only for the requested frames, as 8-bit levels."""

from functools import lru_cache

import numpy as np
import scipy.fft
import scipy.sparse
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pipeline.audio.decode.silence import is_silent
from schemas.features import FeatureSpec

AMIN = 1e-10
"""Floor of the power, as in librosa's `power_to_db`; lower for quiet audio, see `log_mel_db`."""

FRAMES_AT_ONCE = 64
"""STFT frames computed together: their windows fit a core's cache."""

GTZAN_FRAMES = 387
"""Columns of the shared GTZAN log-mel arrays."""


@lru_cache(maxsize=8)
def mel_filterbank(sr: int, n_fft: int, n_mels: int) -> NDArray[np.float32]:
    """Return `librosa.filters.mel`'s default filterbank, bit for bit, without librosa's 1 s import.

    Parameters
    ----------
    sr : int
        Sample rate, Hz.
    n_fft : int
        STFT window length in samples.
    n_mels : int
        Mel bands between 0 Hz and ``sr / 2``.

    Returns
    -------
    ndarray of float32, shape (n_mels, 1 + n_fft // 2)
        Triangles of unit area on Slaney's mel scale; read-only.

    References
    ----------
    Slaney, "Auditory Toolbox", technical report 1998-010, Interval Research Corporation, 1998.
    """
    edges = mel_edges(sr, n_mels)
    widths = np.diff(edges)
    ramps = np.subtract.outer(edges, np.fft.rfftfreq(n=n_fft, d=1.0 / sr))
    weights = np.zeros((n_mels, 1 + n_fft // 2), np.float32)
    for i in range(n_mels):
        weights[i] = np.maximum(0, np.minimum(-ramps[i] / widths[i], ramps[i + 2] / widths[i + 1]))
    weights *= (2.0 / (edges[2:] - edges[:-2]))[:, np.newaxis]
    weights.flags.writeable = False
    return weights


def mel_edges(sr: int, n_mels: int) -> NDArray[np.float64]:
    """Return the band edges in Hz, shape (n_mels + 2,): band ``i`` lies between edges ``i`` and ``i + 2``."""
    return _mel_to_hz(np.linspace(0.0, _hz_to_mel(sr / 2), n_mels + 2))


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
    weights = _sparse_filterbank(sr, n_fft, n_mels)
    window = _hann(n_fft)
    frames = sliding_window_view(np.pad(y, n_fft // 2), n_fft)[::hop_length]
    mel = np.empty((n_mels, len(frames)), np.float32)
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
        return np.zeros((spec.n_mels, 1 + len(y) // spec.mel_hop), np.uint8), 0.0
    S = log_mel_db(
        y,
        sr=spec.sample_rate,
        n_fft=spec.n_fft,
        hop_length=spec.mel_hop,
        n_mels=spec.n_mels,
        top_db=spec.top_db,
    )
    return quantize(S)


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


@lru_cache(maxsize=4)
def _hann(n_fft: int) -> NDArray[np.float32]:
    """Return the periodic Hann window."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)).astype(np.float32)


def _hz_to_mel(hz: float) -> float:
    """Convert to Slaney's mel scale: linear below 1 kHz, logarithmic above."""
    return hz / (200.0 / 3) if hz < 1000.0 else 15.0 + float(np.log(hz / 1000.0)) / (np.log(6.4) / 27.0)


def _mel_to_hz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mels < 15.0, mels * (200.0 / 3), 1000.0 * np.exp(np.log(6.4) / 27.0 * (mels - 15.0)))
