"""Descriptors of single frames: spectral centroid, bandwidth and rolloff, RMS, zero-crossing rate."""

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.features.compilation import inlined, kernel, summing
from pipeline.audio.features.stft import HOP_LENGTH, HOPS, N_FFT, fft_frequencies, n_frames, pad_reflected

ROLL_PERCENT = 0.85
"""Fraction of the summed magnitudes that lies below the rolloff frequency."""

SILENCE = 1e-10
"""Samples closer to zero than this count as positive."""

_TINY = float(np.finfo(np.float32).tiny)


def spectral_shape(S: NDArray[np.float32], sr: float) -> NDArray[np.float64]:
    """Return centroid, bandwidth and rolloff of each frame, as ``librosa.feature.spectral_*`` do.

    Parameters
    ----------
    S : ndarray of float32, shape (n, 1025)
        Magnitudes, a frame a row.
    sr : float
        Sample rate, Hz.

    Returns
    -------
    ndarray of float64, shape (3, n)
        In Hz: the mean frequency weighted by magnitude, the weighted standard deviation around it, and the
        lowest frequency with at least 85 % of the frame's magnitude at or below it. Zeros for silence.
    """
    shape = np.empty((3, len(S)))
    _take_shape(S, fft_frequencies(sr), shape)
    return shape


def rms(y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the root mean square of each frame, as ``librosa.feature.rms`` with ``pad_mode="reflect"``.

    Parameters
    ----------
    y : ndarray of float32, shape (n,)
        The signal.

    Returns
    -------
    ndarray of float32, shape (n_frames,)
        Full scale is 1.
    """
    hops = pad_reflected(y)[: (n_frames(len(y)) + HOPS - 1) * HOP_LENGTH].reshape(-1, HOP_LENGTH)
    energy = np.square(hops).sum(axis=1)
    # Summed in pairs, in the order in which numpy sums a whole frame for librosa.
    pairs = energy[:-1] + energy[1:]
    level: NDArray[np.float32] = np.sqrt((pairs[:-2] + pairs[2:]) / N_FFT)
    return level


def zero_crossing_rate(y: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the fraction of each frame's samples whose sign differs from the previous sample's.

    As in ``librosa.feature.zero_crossing_rate``, the signal is padded with its first and last sample, and
    values within 1e-10 of zero count as positive.

    Parameters
    ----------
    y : ndarray of float32, shape (n,)
        The signal.

    Returns
    -------
    ndarray of float64, shape (n_frames,)
    """
    rate = np.zeros(n_frames(len(y)))
    _take_crossings(y, rate)
    return rate


@kernel
def _take_shape(S: NDArray[np.float32], freqs: NDArray[np.float64], shape: NDArray[np.float64]) -> None:
    cumulative = np.empty((4, S.shape[1]), np.float32)
    for i in range(S.shape[0]):
        total, moment = _moments(S[i], freqs)
        # Librosa does not normalize a frame of almost nothing.
        norm = total if total >= _TINY else 1.0
        shape[0, i] = moment / norm
        shape[1, i] = np.sqrt(_spread(S[i], freqs, shape[0, i]) / norm)
        if i % 4 == 0:
            _accumulate(S, i, cumulative)
        threshold = np.float32(ROLL_PERCENT) * cumulative[i % 4, -1]
        shape[2, i] = freqs[np.searchsorted(cumulative[i % 4], threshold)]


@inlined
def _accumulate(S: NDArray[np.float32], i: int, cumulative: NDArray[np.float32]) -> None:
    """Accumulate four frames bin by bin, in single precision and this order, which affects the rolloff.

    Each addition depends on the previous one; interleaving four frames keeps the adder busy.
    """
    last = S.shape[0] - 1
    a, b, c, d = S[i], S[min(i + 1, last)], S[min(i + 2, last)], S[min(i + 3, last)]
    sum_a = sum_b = sum_c = sum_d = np.float32(0)
    for j in range(S.shape[1]):
        sum_a += a[j]
        sum_b += b[j]
        sum_c += c[j]
        sum_d += d[j]
        cumulative[0, j], cumulative[1, j], cumulative[2, j], cumulative[3, j] = sum_a, sum_b, sum_c, sum_d


@summing
def _moments(s: NDArray[np.float32], freqs: NDArray[np.float64]) -> tuple[float, float]:
    total, moment = 0.0, 0.0
    for j in range(len(s)):
        total += s[j]
        moment += s[j] * freqs[j]
    return total, moment


@summing
def _spread(s: NDArray[np.float32], freqs: NDArray[np.float64], center: float) -> float:
    spread = 0.0
    for j in range(len(s)):
        spread += s[j] * (freqs[j] - center) ** 2
    return spread


@kernel
def _take_crossings(y: NDArray[np.float32], rate: NDArray[np.float64]) -> None:
    """Add each hop's crossings to its frames; a crossing at a frame's first sample does not count for it."""
    half = HOPS // 2
    for hop in range((len(y) + HOP_LENGTH - 1) // HOP_LENGTH):
        start = hop * HOP_LENGTH
        at_start = start > 0 and (y[start] < -SILENCE) != (y[start - 1] < -SILENCE)
        inside = _crossings(y[start : start + HOP_LENGTH])
        for i in range(max(0, hop - half + 1), min(hop + half + 1, len(rate))):
            rate[i] += (inside + (at_start and i < hop + half)) / N_FFT


@summing
def _crossings(y: NDArray[np.float32]) -> int:
    crossings = 0
    for i in range(1, len(y)):
        crossings += (y[i] < -SILENCE) != (y[i - 1] < -SILENCE)
    return crossings
