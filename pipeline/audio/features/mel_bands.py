"""Mel bands: the filterbanks of librosa and of Kaldi, from formulas, without importing either."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from schemas.features import FeatureSpec

_KALDI_MELS, _KALDI_HZ = 1127.0, 700.0
"""Kaldi's scale is 1127 ln(1 + f / 700)."""


def band_edges(spec: FeatureSpec) -> NDArray[np.float64]:
    """Return the band edges in Hz, shape (n_mels + 2,): band ``i`` lies between edges ``i`` and ``i + 2``."""
    f_max = spec.sample_rate / 2 if spec.f_max is None else spec.f_max
    if spec.mel_scale == "slaney":
        return _slaney_edges(spec.n_mels, f_max)
    return _KALDI_HZ * np.expm1(_kaldi_edges(spec.n_mels, f_max) / _KALDI_MELS)


def filterbank(spec: FeatureSpec) -> NDArray[np.float32]:
    """Return the weight of each frequency in each band, shape (n_mels, 1 + n_fft // 2); read-only."""
    if spec.mel_scale == "slaney":
        return mel_filterbank(spec.sample_rate, spec.n_fft, spec.n_mels, spec.f_max)
    f_max = spec.sample_rate / 2 if spec.f_max is None else spec.f_max
    return kaldi_filterbank(spec.sample_rate, spec.n_fft, spec.n_mels, f_max)


@lru_cache(maxsize=8)
def mel_filterbank(sr: float, n_fft: int, n_mels: int, f_max: float | None = None) -> NDArray[np.float32]:
    """Return `librosa.filters.mel`'s default filterbank, bit for bit, without librosa's 1 s import.

    Parameters
    ----------
    sr : float
        Sample rate, Hz.
    n_fft : int
        STFT window length in samples.
    n_mels : int
        Mel bands.
    f_max : float, optional
        Upper edge of the highest band, Hz; half the sample rate if not given.

    Returns
    -------
    ndarray of float32, shape (n_mels, 1 + n_fft // 2)
        Triangles of unit area on Slaney's mel scale; read-only.

    References
    ----------
    Slaney, "Auditory Toolbox", technical report 1998-010, Interval Research Corporation, 1998.
    """
    edges = _slaney_edges(n_mels, sr / 2 if f_max is None else f_max)
    widths = np.diff(edges)
    ramps = np.subtract.outer(edges, np.fft.rfftfreq(n=n_fft, d=1.0 / sr))
    weights = np.zeros((n_mels, 1 + n_fft // 2), np.float32)
    for i in range(n_mels):
        weights[i] = np.maximum(0, np.minimum(-ramps[i] / widths[i], ramps[i + 2] / widths[i + 1]))
    weights *= (2.0 / (edges[2:] - edges[:-2]))[:, np.newaxis]
    weights.flags.writeable = False
    return weights


@lru_cache(maxsize=8)
def kaldi_filterbank(sr: int, n_fft: int, n_mels: int, f_max: float) -> NDArray[np.float32]:
    """Return Kaldi's filterbank: triangles of height 1, from 0 Hz to `f_max`, linear in mels.

    Parameters and shape as `mel_filterbank`. The highest frequency, half the sample rate, is in no band.

    References
    ----------
    Povey et al., "The Kaldi speech recognition toolkit", ASRU 2011.
    """
    edges = _kaldi_edges(n_mels, f_max)
    mels = _KALDI_MELS * np.log1p(np.fft.rfftfreq(n=n_fft, d=1.0 / sr) / _KALDI_HZ)
    ramps = np.subtract.outer(edges, mels) / (edges[1] - edges[0])
    weights: NDArray[np.float32] = np.maximum(0, np.minimum(-ramps[:-2], ramps[2:])).astype(np.float32)
    weights[:, -1] = 0
    weights.flags.writeable = False
    return weights


def _kaldi_edges(n_mels: int, f_max: float) -> NDArray[np.float64]:
    return np.linspace(0.0, _KALDI_MELS * float(np.log1p(f_max / _KALDI_HZ)), n_mels + 2)


def _slaney_edges(n_mels: int, f_max: float) -> NDArray[np.float64]:
    return _mel_to_hz(np.linspace(0.0, _hz_to_mel(f_max), n_mels + 2))


def _hz_to_mel(hz: float) -> float:
    """Convert to Slaney's mel scale: linear below 1 kHz, logarithmic above."""
    return hz / (200.0 / 3) if hz < 1000.0 else 15.0 + float(np.log(hz / 1000.0)) / (np.log(6.4) / 27.0)


def _mel_to_hz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mels < 15.0, mels * (200.0 / 3), 1000.0 * np.exp(np.log(6.4) / 27.0 * (mels - 15.0)))
