"""Chroma: the power of a sound in each of the twelve pitch classes, relative to its own tuning."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.features.compilation import kernel
from pipeline.audio.features.stft import N_BINS, N_FFT, fft_frequencies

N_CHROMA = 12
"""Pitch classes, starting at C."""

LOWEST_HZ = 150.0
"""Lowest frequency of the spectral peaks that determine the tuning."""

HIGHEST_HZ = 4000.0
"""Their highest frequency (exclusive)."""

PEAK_THRESHOLD = 0.1
"""A peak has more than this fraction of its frame's largest power."""

_A0_HZ = 440.0 / 16


def find_peaks(S: NDArray[np.float32], sr: float) -> NDArray[np.float32]:
    """Find the spectral peaks of each frame, interpolated by a parabola through the bin and its neighbors.

    The values are those of ``librosa.piptrack(S=S, sr=sr)`` where it is not zero.

    Parameters
    ----------
    S : ndarray of float32, shape (n, 1025)
        Power, a frame a row.
    sr : float
        Sample rate, Hz.

    Returns
    -------
    ndarray of float32, shape (2, n_peaks)
        Frequency in Hz and height of each peak.

    References
    ----------
    Smith, "Spectral Audio Signal Processing", W3K Publishing, 2011, on quadratic peak interpolation.
    """
    freqs = fft_frequencies(sr)
    (bins,) = np.nonzero((freqs >= LOWEST_HZ) & (freqs < min(HIGHEST_HZ, sr / 2)))
    peaks = np.empty((2, len(S) * (len(bins) // 2 + 1)), np.float32)
    n_peaks = _find_peaks(S, PEAK_THRESHOLD * S.max(axis=1), bins[0], bins[-1], float(sr), peaks)
    return peaks[:, :n_peaks]


def estimate_tuning(peaks: NDArray[np.float32]) -> float:
    """Return the deviation of a sound's tuning from A440, as ``librosa.estimate_tuning`` does.

    Parameters
    ----------
    peaks : ndarray of float32, shape (2, n)
        Frequency in Hz and height of each peak.

    Returns
    -------
    float
        Fraction of a semitone, -0.5 to 0.49 in steps of 0.01: the most frequent deviation among the higher
        half of the peaks. 0 without peaks.
    """
    frequencies, heights = peaks
    if not len(frequencies):
        return 0.0
    high = frequencies[heights >= np.median(heights)]
    semitones = N_CHROMA * np.log2(high / _A0_HZ)
    deviation = semitones - np.floor(semitones)
    deviation[deviation >= 0.5] -= 1.0
    counts, edges = np.histogram(deviation, np.linspace(-0.5, 0.5, 101))
    return float(edges[np.argmax(counts)])


def chroma(S: NDArray[np.float32], sr: float, tuning: float) -> NDArray[np.float32]:
    """Return the chroma of a power spectrogram, as ``librosa.feature.chroma_stft`` does.

    Parameters
    ----------
    S : ndarray of float32, shape (n, 1025)
        Power, a frame a row.
    sr : float
        Sample rate, Hz.
    tuning : float
        As `estimate_tuning` returns it.

    Returns
    -------
    ndarray of float32, shape (n, 12)
        Power of each pitch class from C to B, scaled so that each frame's largest is 1; zeros for silence.
    """
    raw: NDArray[np.float32] = S @ chroma_filterbank(sr, tuning).T
    largest = raw.max(axis=1, keepdims=True)
    largest[largest < np.finfo(np.float32).tiny] = 1.0
    raw /= largest
    return raw


@lru_cache(maxsize=256)
def chroma_filterbank(sr: float, tuning: float) -> NDArray[np.float32]:
    """Return `librosa.filters.chroma`'s default filterbank, bit for bit, without librosa's 1 s import.

    Parameters
    ----------
    sr : float
        Sample rate, Hz.
    tuning : float
        Fraction of a semitone above A440.

    Returns
    -------
    ndarray of float32, shape (12, 1025)
        Gaussian bumps, a semitone wide, around each pitch class, strongest about five octaves above A0;
        read-only.

    References
    ----------
    Ellis, "Chroma feature analysis and synthesis", Columbia University, 2007.
    """
    freqs = np.linspace(0, sr, N_FFT, endpoint=False)[1 : N_BINS + 1]
    pitch = N_CHROMA * np.log2(freqs / (440.0 * 2.0 ** (tuning / N_CHROMA) / 16))
    pitch = np.concatenate(([pitch[0] - 1.5 * N_CHROMA], pitch))
    width = np.maximum(np.diff(pitch), 1.0)
    pitch = pitch[:N_BINS]
    distance = np.subtract.outer(np.arange(N_CHROMA), pitch)
    distance = np.remainder(-distance + N_CHROMA / 2 + 10 * N_CHROMA, N_CHROMA) - N_CHROMA / 2
    weights = np.exp(-0.5 * (2 * distance / width) ** 2)
    weights /= np.sqrt(np.sum(weights**2, axis=0))
    weights *= np.exp(-0.5 * ((pitch / N_CHROMA - 5.0) / 2.0) ** 2)
    weights = np.ascontiguousarray(np.roll(weights, -3, axis=0), np.float32)
    weights.flags.writeable = False
    return weights


@kernel
def _find_peaks(
    S: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    first_bin: int,
    last_bin: int,
    sr: float,
    peaks: NDArray[np.float32],
) -> int:
    """Write the peaks above each frame's threshold to `peaks`; return their number."""
    n = 0
    n_fft = 2 * (S.shape[1] - 1)
    for i in range(S.shape[0]):
        for j in range(first_bin, last_bin + 1):
            left, middle, right = S[i, j - 1], S[i, j], S[i, j + 1]
            if middle > thresholds[i] and middle > left and middle >= right:
                # Single and double precision as in librosa, so that ties in the tuning resolve the same way.
                curvature = np.float64(left + right) - 2.0 * middle
                slope = np.float64(right - left) / 2.0
                shift = np.float32(-slope / curvature if abs(slope) < abs(curvature) else 0.0)
                peaks[0, n] = (j + np.float64(shift)) * sr / n_fft
                peaks[1, n] = middle + np.float32(0.25) * (right - left) * shift
                n += 1
    return n
