"""Harmonic-percussive source separation: sustained tones and short, broadband sounds."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.features.compilation import kernel, summing
from pipeline.audio.features.running_median import REACH, running_median
from pipeline.audio.features.stft import HOP_LENGTH, HOPS, N_BINS, n_frames, overlap_add, stft_blocks, unpad

BLOCK = 64
"""Frames separated together: with their neighbors they roughly fit a core's second-level cache."""


def separate(
    y: NDArray[np.float32], *, percussive: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the harmonic or the percussive part of a signal, and the magnitudes of its STFT.

    The median of the magnitudes over 31 frames keeps sustained sounds, that over 31 bins broadband ones. Each
    bin is divided in the ratio of their squares. The values are those of ``librosa.effects.hpss`` with
    ``pad_mode="reflect"``.

    (The version of librosa that made the published tables left the last ``n % 512`` samples of both parts
    zero.)

    Parameters
    ----------
    y : ndarray of float32, shape (n,)
        The signal, at least one sample.
    percussive : bool
        Return the percussive part.

    Returns
    -------
    part : ndarray of float32, shape (n,)
    S : ndarray of float32, shape (n_frames, 1025)
        Magnitudes of the signal's STFT, a frame a row.

    References
    ----------
    FitzGerald, "Harmonic/percussive separation using median filtering", DAFx 2010.
    """
    _keep_freed_memory()
    S = np.empty((n_frames(len(y)), N_BINS), np.float32)
    part = np.zeros((len(S) + HOPS - 1, HOP_LENGTH), np.float32)
    waiting: tuple[int, NDArray[np.complex64]] | None = None
    for first, D in stft_blocks(y, BLOCK):
        np.abs(D, out=S[first : first + len(D)])
        # A block's last frames need the next block's first magnitudes.
        if waiting is not None:
            _separate_block(*waiting, S[: first + len(D)], part, percussive)
        waiting = first, D
    if waiting is not None:
        _separate_block(*waiting, S, part, percussive)
    return unpad(part, len(y)), S


def part_statistics(y: NDArray[np.float32], part: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean and variance of one part of a signal and of the rest.

    Parameters
    ----------
    y, part : ndarray of float32, shape (n,)

    Returns
    -------
    ndarray of float64, shape (2, 2)
        Mean and variance of `part`, then of ``y - part``.
    """
    sums = np.array(_sums(y, part)).reshape(2, 2) / len(y)
    sums[:, 1] = np.maximum(sums[:, 1] - sums[:, 0] ** 2, 0)
    return sums


def _separate_block(
    first: int, D: NDArray[np.complex64], S: NDArray[np.float32], y: NDArray[np.float32], percussive: bool
) -> None:
    begin = max(0, first - REACH)
    lasting = np.empty(D.shape, np.float32)
    running_median(S[begin : first + len(D) + REACH], first - begin, lasting)
    spread = np.empty(D.shape[::-1], np.float32)
    running_median(np.ascontiguousarray(S[first : first + len(D)].T), 0, spread)
    kept, other = lasting, np.ascontiguousarray(spread.T)
    if percussive:
        kept, other = other, kept
    _mask(kept, other, D.view(np.float32))
    overlap_add(D, first, y)


@lru_cache(maxsize=1)
def _keep_freed_memory() -> None:
    """Make the C library keep freed memory for the next signal.

    Otherwise glibc returns it to the system, which zeroes every page again: a quarter of the time for 30 s of
    audio. glibc keeps up to twice the largest block below 32 MB that was ever freed, so one such block is
    allocated and freed here. It is never touched, and so costs nothing itself.
    """
    np.empty(2**25 - 2**16, np.uint8)


@kernel
def _mask(kept: NDArray[np.float32], other: NDArray[np.float32], D: NDArray[np.float32]) -> None:
    """Multiply each bin (real, imaginary) by ``kept² / (kept² + other²)``; by ½ where both are 0."""
    one, half, tiny = np.float32(1), np.float32(0.5), np.float32(np.finfo(np.float32).tiny)
    for i in range(kept.shape[0]):
        for j in range(kept.shape[1]):
            a, b = kept[i, j], other[i, j]
            larger = a if a > b else b
            ratio = (b if a > b else a) / larger
            share = one / (one + ratio * ratio)
            share = share if a > b else share * ratio * ratio
            share = share if larger >= tiny else half
            D[i, 2 * j] *= share
            D[i, 2 * j + 1] *= share


@kernel
def _sums(y: NDArray[np.float32], part: NDArray[np.float32]) -> tuple[float, float, float, float]:
    return _summed(y, part)


@summing
def _summed(y: NDArray[np.float32], part: NDArray[np.float32]) -> tuple[float, float, float, float]:
    a, a2, b, b2 = 0.0, 0.0, 0.0, 0.0
    for i in range(len(y)):
        first, second = np.float64(part[i]), np.float64(y[i] - part[i])
        a += first
        a2 += first * first
        b += second
        b2 += second * second
    return a, a2, b, b2
