"""Augmentation of log-mel batches: changes to a recording that do not change its genre.

All functions work on whole batches of levels (0 … 255, top_db / 255 dB per level) and draw from one
generator, so that a seed fixes every batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How strongly a batch is varied; each value is the maximum that is drawn.

    Attributes
    ----------
    stretch : float
        Relative change of tempo: frames are read at 1 ± stretch times the rate.
    shift : float
        Transposition in mel bands, up or down.
    gain, tilt : float
        Levels added to all bands, and the height in levels of smooth curves over the bands.
    contrast : float
        Relative change of the dB range.
    band_mask, frame_mask : int
        Width of the masks over bands and over frames, two of each (SpecAugment, Park et al. 2019).
    mixup : float
        Parameter of the Beta distribution that weights two clips (Zhang et al. 2018); 0 for no mixup.
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
    """Cut one crop out of each clip, at a random position, tempo and transposition.

    Parameters
    ----------
    log_mel : ndarray of uint8, shape (n, n_mels, n_frames)
    rows : ndarray of int, shape (batch,)
        The clips to cut from.
    crop : int
        Frames of a crop. A clip that is shorter at the drawn tempo is repeated.

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
    """Vary loudness, dB range and the balance of the bands, as different masterings of the same music do."""
    n, n_mels, _ = x.shape
    phase = np.linspace(0, np.pi, n_mels)
    curves = np.stack([np.cos(k * phase) for k in (1, 2, 3, 4)])
    weights = rng.normal(0, amount.tilt / 2, (n, 4)) / np.sqrt([1, 2, 3, 4])
    offset = rng.uniform(-amount.gain, amount.gain, (n, 1)) + weights @ curves
    contrast = rng.uniform(1 - amount.contrast, 1 + amount.contrast, (n, 1, 1))
    varied = 255 - (255 - x) * contrast + offset[:, :, None]
    clipped: NDArray[np.float32] = np.clip(varied, 0, 255, dtype=np.float32)
    return clipped


def mask(x: NDArray[np.float32], amount: Augmentation, rng: np.random.Generator) -> NDArray[np.float32]:
    """Replace two stripes of bands and two of frames in each crop by the mean of the crop."""
    n, n_mels, n_frames = x.shape
    is_masked = np.zeros(x.shape, bool)
    for _ in range(2):
        is_masked |= _draw_stripes(n, n_mels, amount.band_mask, rng)[:, :, None]
        is_masked |= _draw_stripes(n, n_frames, amount.frame_mask, rng)[:, None, :]
    masked: NDArray[np.float32] = np.where(is_masked, x.mean((1, 2), keepdims=True), x)
    return masked


def _draw_stripes(n: int, size: int, max_width: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    width = rng.integers(0, max_width + 1, (n, 1))
    start = rng.integers(0, size - np.minimum(width, size - 1), (n, 1))
    index = np.arange(size)
    return (index >= start) & (index < start + width)


def mix(
    arrays: Sequence[NDArray[np.float32]], amount: Augmentation, rng: np.random.Generator
) -> list[NDArray[np.float32]]:
    """Blend each row with another row of the batch (mixup), in the same way in all arrays.

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
