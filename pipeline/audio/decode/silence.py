"""Silence: whether an excerpt has anything to label, by its absolute level and its spectral change.

`is_silent` is the only place where that is decided. The decision is stored as the range of the segment's
log-mel, which `schemas.tracks.is_silent_range` reads.
"""

from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

LOUD_DB = -36.0
"""An excerpt with a second above this level, dBFS, is not silent."""

FLOOR_DB = -80.0
"""An excerpt that stays below this level, dBFS, is silent: dither and converter noise are lower."""

MIN_CHANGE_DB = 4.0
"""Between the two levels, a spectrum that changes by less is noise or hum; see `spectral_change`.

For 274 clips of GTZAN, attenuated by 40 dB and stored as float and as 16 bit, the smallest change was 6.2 dB.
For 120 kinds of noise, hum, hiss, dither and offsets, the largest was 3.7 dB (white noise in AAC at
48 kbit/s). Noise that turns into another noise halfway reaches 4.0 dB, dense crackle without hiss 5.4 dB:
these count as sound.
"""

_MAX_DEPTH_DB = 40.0
"""Bands weaker than the strongest one by more than this are ignored: a bass or a soft pad fills few bands."""

_SLICE_S = 0.05
_DRIFT_DEGREE = 3
"""Within a slice, polynomials of this degree fit what is below 20 Hz, which is inaudible, and little else."""

_SHARE_OF_SLICES = 0.25
"""The level of a second is what this fraction of its slices exceed: a click is loud in one or two of 20."""

_FRAME_S = 0.093
_FRAMES_A_BLOCK = 5
_MIN_BLOCKS = 4
_FRAMES_AT_ONCE = 64
_LOWEST_HZ, _HIGHEST_HZ = 40.0, 11025.0
_QUANTIZATION = 2.0**-30 / 12
"""Power of rounding to 16 bits: changes below it are inaudible."""

_SHAPES = (25, 50, 75, 100)
"""Percentiles over the bands that are tried as the common gain; see `spectral_change`."""


def is_silent(y: NDArray[np.float32], sr: int) -> bool:
    """Return whether an excerpt has nothing to label.

    With a second above `LOUD_DB` it is not silent; below `FLOOR_DB` it is. Between the two, where quiet music
    and loud noise floors overlap, it is silent unless its spectrum changes over time as that of music does.
    Offsets, drifts and single clicks do not count as sound.

    Parameters
    ----------
    y : ndarray of float32, shape (n,)
        Mono audio, full scale ±1.
    sr : int
        Sample rate, Hz.
    """
    # Start in the middle: in music, the first second examined there is nearly always loud.
    seconds = sorted(range(0, len(y), sr), key=lambda first: abs(first + sr // 2 - len(y) // 2))
    if any(loudness(y[first : first + sr], sr) > LOUD_DB for first in seconds):
        return False
    blocks, widths = _block_powers(y, sr)
    if (blocks @ widths).max() < 10 ** (FLOOR_DB / 10):
        return True
    return len(blocks) >= _MIN_BLOCKS and spectral_change(blocks) < MIN_CHANGE_DB


def loudness(y: NDArray[np.float32], sr: int) -> float:
    """Return the level of about a second of audio, dBFS (RMS), that a quarter of its 50 ms slices exceed.

    Parameters
    ----------
    y : ndarray of float32, shape (n,) or (channels, n)
        Audio; the loudest channel counts.
    sr : int
        Sample rate, Hz.

    Returns
    -------
    float
        -inf for digital silence. Offsets and inaudibly slow drifts are ignored.
    """
    channels = np.atleast_2d(y)
    width = max(min(int(sr * _SLICE_S), channels.shape[1]), 1)
    n_slices = channels.shape[1] // width
    if not n_slices or not channels.any():
        return -np.inf
    slices = channels[:, : n_slices * width].reshape(len(channels), n_slices, width)
    drifts = _drifts(width)
    heard = slices - np.matmul(slices @ drifts, drifts.T, dtype=np.float32)
    powers = np.einsum("cst,cst->cs", heard, heard) / width
    place = n_slices - 1 - int(n_slices * _SHARE_OF_SLICES)
    level = float(np.partition(powers, place, axis=1)[:, place].max())
    return 10 * float(np.log10(level)) if level > 0 else -np.inf


def spectral_change(blocks: NDArray[np.float32]) -> float:
    """Return by how many dB the shape of a spectrum changes over time.

    The level of each band, in dB, is tracked over the blocks relative to a gain that all bands share; its
    spread is the distance from its 10th to its 90th percentile. Four gains are tried (quartiles and maximum
    over the bands), and for each band the one with the smallest spread counts. So hum that sways over steady
    noise does not count as change, nor does noise that fades. The result is the spread that a quarter of the
    bands exceed, ignoring bands weaker than the strongest by `_MAX_DEPTH_DB`.

    Parameters
    ----------
    blocks : ndarray of float32, shape (n_blocks, n_bands)
        Power, full scale 1.
    """
    S_db = 10 * np.log10(blocks + np.float32(_QUANTIZATION))
    strength = np.percentile(S_db, 90, axis=0)
    S_db = S_db[:, strength >= strength.max() - _MAX_DEPTH_DB]
    gains = np.percentile(S_db, _SHAPES, axis=1)[:, :, np.newaxis]
    low, high = np.percentile(S_db - gains, (10, 90), axis=1)
    return float(np.percentile((high - low).min(axis=0), 75))


@lru_cache(maxsize=16)
def _drifts(width: int) -> NDArray[np.float32]:
    """Return an orthonormal basis, shape (width, n), of the slow drifts within a slice."""
    basis, _ = np.linalg.qr(np.vander(np.linspace(-1, 1, width), _DRIFT_DEGREE + 1))
    return basis.astype(np.float32)


def _block_powers(y: NDArray[np.float32], sr: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the power of each band in each quarter of a second, and each band's fraction of the spectrum.

    Power is a density: for white noise it is the mean square, in every band. A block's power is the median of
    its frames, which a click does not affect.
    """
    n_fft = 1 << round(np.log2(sr * _FRAME_S))
    edges = _band_edges(sr, n_fft)
    bins = np.diff(edges).astype(np.float32)
    window = np.hanning(n_fft + 1)[:-1].astype(np.float32)
    padded = np.pad(y - y.mean(dtype=np.float64).astype(np.float32), (0, max(n_fft - len(y), 0)))
    frames = sliding_window_view(padded, n_fft)[:: n_fft // 2]
    powers = np.empty((len(frames), len(bins)), np.float32)
    for first in range(0, len(frames), _FRAMES_AT_ONCE):
        X = scipy.fft.rfft(frames[first : first + _FRAMES_AT_ONCE] * window)[:, : edges[-1]]
        powers[first : first + _FRAMES_AT_ONCE] = np.add.reduceat(np.abs(X) ** 2, edges[:-1], axis=1)
    powers /= bins * np.square(window).sum()
    width = min(_FRAMES_A_BLOCK, len(powers))
    blocks = powers[: len(powers) // width * width].reshape(-1, width, len(bins))
    return np.median(blocks, axis=1), bins / np.float32(n_fft // 2)


@lru_cache(maxsize=8)
def _band_edges(sr: int, n_fft: int) -> NDArray[np.intp]:
    """Return the bin edges of the bands, which are of equal width up to 1 kHz and then grow."""
    hz = np.concatenate((np.linspace(_LOWEST_HZ, 1000, 15), np.geomspace(1000, _HIGHEST_HZ, 26)[1:]))
    edges: NDArray[np.intp] = np.round(hz[hz <= sr / 2] * n_fft / sr).astype(np.intp)
    return edges
