"""The 57 numbers of the published GTZAN tables, which describe a piece of audio.

    from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES, compute_descriptors
    values = dict(zip(DESCRIPTOR_NAMES, compute_descriptors(y), strict=True))

Each is the mean or the variance of a value computed for every frame (2,048 samples, one frame every 512),
except for the tempo, which is a single value.

==============================  ==========================================================  ================
``chroma_stft_mean``, ``_var``  power in the 12 pitch classes, each frame's largest 1       0–1
``rms_mean``, ``_var``          root mean square of the samples                             full scale 1
``spectral_centroid_mean``, …   mean frequency, weighted by magnitude                       Hz (var: Hz²)
``spectral_bandwidth_mean``, …  standard deviation of frequency around it                   Hz (var: Hz²)
``rolloff_mean``, ``_var``      frequency below which 85 % of the magnitude lies            Hz (var: Hz²)
``zero_crossing_rate_mean``, …  fraction of samples whose sign changes                      0–1
``harmony_mean``, ``_var``      samples of the harmonic part (all samples, not frames)      full scale 1
``perceptr_mean``, ``_var``     samples of the percussive part (all samples)                full scale 1
``tempo``                       the tempo, 0 without any onset                              beats a minute
``mfcc1_mean`` …                mel-frequency cepstral coefficients                         dB (var: dB²)
==============================  ==========================================================  ================

The values are librosa's with ``pad_mode="reflect"``, the default when the tables were made. The modules that
this one calls cite the source of each method. Librosa itself is not used, only tested against.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_PAIRS = (
    "chroma_stft",
    "rms",
    "spectral_centroid",
    "spectral_bandwidth",
    "rolloff",
    "zero_crossing_rate",
    "harmony",
    "perceptr",
)

DESCRIPTOR_NAMES: tuple[str, ...] = (
    *(f"{feature}_{statistic}" for feature in _PAIRS for statistic in ("mean", "var")),
    "tempo",
    *(f"mfcc{i}_{statistic}" for i in range(1, 21) for statistic in ("mean", "var")),
)
"""Columns of the published tables between ``length`` and ``label``, in their order."""

MIN_RATE = 1000
"""Lowest sample rate, Hz, whose spectrum contains the frequencies that determine the tuning."""

_NEGLIGIBLE = 1e-5
"""Power of the percussive part, relative to the signal's, below which subtraction is too inexact."""


def compute_descriptors(y: NDArray[np.float32], *, sr: float = 22050) -> NDArray[np.float64]:
    """Compute the 57 descriptors of a mono signal.

    Parameters
    ----------
    y : ndarray of float32, shape (n,)
        Mono audio, full scale ±1, at least one sample. Other floating-point types are rounded to this one.
    sr : float
        Sample rate, Hz.

    Returns
    -------
    ndarray of float64, shape (57,)
        In the order of `DESCRIPTOR_NAMES`; always finite. For silence all are 0 except ``mfcc1_mean``, which
        is that of -100 dB in every band.

    Raises
    ------
    ValueError
        If `y` is not one-dimensional, is empty, is not of a floating-point type, or has a NaN or infinite
        sample; if `sr` is below 1,000.
    """
    y = check_samples(y, sr)
    # Numba and scipy are slow to import; only computing descriptors needs them, not their names.
    from pipeline.audio.features.chroma import chroma, estimate_tuning, find_peaks
    from pipeline.audio.features.hpss import part_statistics, separate
    from pipeline.audio.features.mfcc import mel_db, mfcc
    from pipeline.audio.features.spectral_shape import rms, spectral_shape, zero_crossing_rate
    from pipeline.audio.features.tempo import onset_strength, tempo

    harmonic, S = separate(y)
    parts = part_statistics(y, harmonic)
    if parts[1, 1] < _NEGLIGIBLE * (parts[0, 1] + parts[0, 0] ** 2):
        # The difference of two much larger numbers is mostly their rounding error.
        parts[1] = part_statistics(y, separate(y, percussive=True)[0])[0]
    frames = [rms(y), *spectral_shape(S, sr), zero_crossing_rate(y)]

    power = np.square(S, out=S)
    S_db = mel_db(power, sr)
    return np.concatenate(
        (
            _mean_and_var(chroma(power, sr, estimate_tuning(find_peaks(power, sr))).reshape(1, -1)),
            *(_mean_and_var(series[np.newaxis]) for series in frames),
            parts.ravel(),
            [tempo(onset_strength(S_db), sr)],
            _mean_and_var(mfcc(S_db)),
        ),
        dtype=np.float64,
    )


def compute_descriptors_of(
    signals: Iterable[NDArray[np.float32]], *, sr: float = 22050
) -> NDArray[np.float64]:
    """Compute the descriptors of many signals, of any lengths.

    Parameters
    ----------
    signals : iterable of ndarray of float32
        Mono audio, processed one signal at a time.
    sr : float
        Sample rate of all, Hz.

    Returns
    -------
    ndarray of float64, shape (number of signals, 57)

    Raises
    ------
    ValueError
        As `compute_descriptors`.
    """
    rows = [compute_descriptors(y, sr=sr) for y in signals]
    return np.stack(rows) if rows else np.empty((0, len(DESCRIPTOR_NAMES)))


def check_samples(y: NDArray[np.float32], sr: float) -> NDArray[np.float32]:
    """Return a mono signal as contiguous float32; its errors are those of `compute_descriptors`."""
    y = np.asarray(y)
    if y.ndim != 1 or not len(y):
        raise ValueError(f"the signal must be mono, of shape (n,) with n > 0, but its shape is {y.shape}")
    if not np.issubdtype(y.dtype, np.floating):
        raise ValueError(f"the samples must be floating-point numbers, full scale 1, not {y.dtype}")
    if sr < MIN_RATE:
        raise ValueError(f"the sample rate must be at least {MIN_RATE} Hz, not {sr}")
    y = np.ascontiguousarray(y, np.float32)
    if not np.isfinite(y).all():
        raise ValueError("the signal has NaN or infinite samples")
    return y


def _mean_and_var(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return mean and variance of each row in turn, in the rows' precision."""
    return np.column_stack((rows.mean(axis=1), rows.var(axis=1))).ravel()
