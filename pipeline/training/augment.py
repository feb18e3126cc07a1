"""Augmentation of log-mel batches: what may change in a recording without changing its genre.

Everything works on whole batches of levels (0 … 255, top_db over 255 dB a level) with one generator, so
that a seed fixes every batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How strongly a batch is varied; every amount is the largest that is drawn.

    Attributes
    ----------
    stretch : float
        Change of tempo, as a share: frames are read at 1 ± stretch times the rate.
    shift : float
        Transposition in mel bands, up or down.
    gain, tilt : float
        Levels added to all bands, and levels by which smooth curves over the bands rise and fall.
    contrast : float
        Change of the dB range, as a share.
    band_mask, frame_mask : int
        Widest mask over bands and over frames (SpecAugment, Park et al. 2019); two of each are laid.
    mixup : float
        Parameter of the Beta distribution that weighs two clips (Zhang et al. 2018); 0 for none.
    """

    stretch: float = 0.25
    shift: float = 6.0
    gain: float = 20.0
    tilt: float = 20.0
    contrast: float = 0.1
    band_mask: int = 20
    frame_mask: int = 24
    mixup: float = 1.0


def random_crops(
    log_mel: NDArray[np.uint8],
    rows: NDArray[np.intp],
    crop: int,
    amount: Augmentation,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Cut one crop out of each clip, at a random place, tempo and transposition.

    Parameters
    ----------
    log_mel : ndarray of uint8, shape (n, n_mels, n_frames)
    rows : ndarray of int, shape (batch,)
        The clips to cut from.
    crop : int
        Frames of a crop. Clips that are shorter at the drawn tempo are read round and round.

    Returns
    -------
    ndarray of float32, shape (batch, n_mels, crop)
    """
    n, (_, n_mels, n_frames) = len(rows), log_mel.shape
    rate = rng.uniform(1 - amount.stretch, 1 + amount.stretch, n)
    start = rng.uniform(0, 1, n) * np.maximum(n_frames - 1 - rate * (crop - 1), 0)
    frames = (start[:, None] + rate[:, None] * np.arange(crop)).astype(np.intp) % n_frames
    bands = np.arange(n_mels) - rng.uniform(-amount.shift, amount.shift, n)[:, None]
    bands = np.clip(np.rint(bands), 0, n_mels - 1).astype(np.intp)
    crops: NDArray[np.uint8] = log_mel[rows[:, None, None], bands[:, :, None], frames[:, None, :]]
    return crops.astype(np.float32)


def equalize(x: NDArray[np.float32], amount: Augmentation, rng: np.random.Generator) -> NDArray[np.float32]:
    """Vary loudness, dB range and the balance of the bands, as other masterings of the same music do."""
    n, n_mels, _ = x.shape
    place = np.linspace(0, np.pi, n_mels)
    curves = np.stack([np.cos(k * place) for k in (1, 2, 3, 4)])
    weights = rng.normal(0, amount.tilt / 2, (n, 4)) / np.sqrt([1, 2, 3, 4])
    offset = rng.uniform(-amount.gain, amount.gain, (n, 1)) + weights @ curves
    contrast = rng.uniform(1 - amount.contrast, 1 + amount.contrast, (n, 1, 1))
    varied = 255 - (255 - x) * contrast + offset[:, :, None]
    clipped: NDArray[np.float32] = np.clip(varied, 0, 255, dtype=np.float32)
    return clipped


def mask(x: NDArray[np.float32], amount: Augmentation, rng: np.random.Generator) -> NDArray[np.float32]:
    """Replace two stripes of bands and two of frames of each crop by the crop's mean."""
    n, n_mels, n_frames = x.shape
    hidden = np.zeros(x.shape, bool)
    for _ in range(2):
        hidden |= _stripes(n, n_mels, amount.band_mask, rng)[:, :, None]
        hidden |= _stripes(n, n_frames, amount.frame_mask, rng)[:, None, :]
    masked: NDArray[np.float32] = np.where(hidden, x.mean((1, 2), keepdims=True), x)
    return masked


def _stripes(n: int, size: int, widest: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    width = rng.integers(0, widest + 1, (n, 1))
    start = rng.integers(0, size - np.minimum(width, size - 1), (n, 1))
    place = np.arange(size)
    return (place >= start) & (place < start + width)


def mix(
    arrays: Sequence[NDArray[np.float32]], amount: Augmentation, rng: np.random.Generator
) -> list[NDArray[np.float32]]:
    """Blend each row with another row of the batch (mixup), in all arrays alike.

    Parameters
    ----------
    arrays : sequence of ndarray of float32, each of shape (batch, …)
        Inputs and targets.
    """
    if amount.mixup == 0:
        return list(arrays)
    n = len(arrays[0])
    weight = rng.beta(amount.mixup, amount.mixup, n).astype(np.float32)
    weight = np.maximum(weight, 1 - weight)
    other = rng.permutation(n)
    blended = []
    for x in arrays:
        share = weight.reshape(-1, *[1] * (x.ndim - 1))
        blended.append(share * x + (1 - share) * x[other])
    return blended
