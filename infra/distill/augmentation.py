"""What is changed at random in an excerpt, so that the student learns what does not matter to a genre.

It learns the teacher's outputs for the excerpt as it was: louder or quieter, equalized, in a hall, with the
hiss of a tape, through a telephone or from a file of a low sample rate, it is the same music.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from infra.audioset.levels import Floats
from infra.distill.student import N_BANDS, N_POOLED, POOL
from pipeline.audio.features.mel_bands import band_edges
from pipeline.models.audioset import FEATURES, STEP_DB

Pooled = NDArray[np.float32]
"""Pooled levels, shape (64, n_frames): 0 is the floor."""

CROP = 250
"""Pooled frames of a crop: 5 s."""
RT60_S, WET_DB = (0.4, 2.5), (-12.0, 0.0)
"""Of reverberation: the time in which it falls by 60 dB, and its level beside the direct sound."""
SNR_DB, TILT_DB = (12.0, 45.0), (-6.0, 0.0)
"""Of noise: how far it lies below the music, and its slope per octave; that of white noise is 0."""
CUTOFF_HZ = (2500.0, 12000.0)
"""From less than a telephone's 3,400 Hz to more than half of 22,050 Hz."""
STEEP_DB, GENTLE_DB = (20.0, 50.0), (1.5, 12.0)
"""Slopes, from a pooled band to the next: as the window leaves it of a resampled file, and of a filter."""
BAND_HZ = band_edges(FEATURES)[1:-1].reshape(N_BANDS, POOL).mean(axis=1)
"""Middle of each pooled band."""
_EMPHASIS_DB = 20 * np.log10(
    np.abs(1 - FEATURES.preemphasis * np.exp(-2j * np.pi * BAND_HZ / FEATURES.sample_rate))
)
_WIDTH_DB = 10 * np.log10(np.gradient(BAND_HZ))


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far crops are changed.

    Attributes
    ----------
    gain_db : tuple of float
        Least and greatest gain.
    reverberant, noisy, band_limited : float
        Shares of the crops that get reverberation, that get noise, and that lose their high frequencies.
    """

    gain_db: tuple[float, float] = (-12.0, 6.0)
    reverberant: float = 0.0
    noisy: float = 0.0
    band_limited: float = 0.0


LIGHT = Augmentation()
"""That of the network that ships."""
DEGRADED = Augmentation((-40.0, 6.0), reverberant=0.15, noisy=0.3, band_limited=0.4)
"""That of old or bad recordings."""


def crop(excerpt: NDArray[np.uint8], rng: np.random.Generator) -> Pooled:
    """Return a part of an excerpt."""
    start = int(rng.integers(N_POOLED - CROP + 1))
    return excerpt[:, start : start + CROP].astype(np.float32)


def augment(x: Pooled, rng: np.random.Generator, how: Augmentation = LIGHT) -> Pooled:
    """Return a crop with another level and sound, masked in places, and perhaps degraded."""
    gain_db = equalization(rng, N_BANDS, spread_db=2.5)[:, np.newaxis] + rng.uniform(*how.gain_db)
    x = np.clip(x + (gain_db / STEP_DB).astype(np.float32), 0, 255)
    band, frame = int(rng.integers(N_BANDS)), int(rng.integers(CROP))
    x[band : band + int(rng.integers(8))] = x.mean()
    x[:, frame : frame + int(rng.integers(25))] = x.mean()
    for share, degrade in (
        (how.reverberant, reverberant),
        (how.noisy, noisy),
        (how.band_limited, band_limited),
    ):
        if rng.random() < share:
            x = degrade(x, rng)
    return x


def reverberant(x: Pooled, rng: np.random.Generator) -> Pooled:
    """Return a crop in a room whose sound decays exponentially, as powers add up."""
    frame_s = POOL * FEATURES.mel_hop / FEATURES.sample_rate
    kept = 10 ** (-6 * frame_s / rng.uniform(*RT60_S))
    power = _power(x)
    wet = lfilter([(1 - kept) * 10 ** (rng.uniform(*WET_DB) / 10)], [1, -kept], power, axis=1)
    return _levels(power + wet)


def noisy(x: Pooled, rng: np.random.Generator) -> Pooled:
    """Return a crop with steady noise, between that of tape and that of an old record."""
    heard_db = x * STEP_DB - _EMPHASIS_DB[:, np.newaxis]
    total_db = 10 * np.log10((10 ** (heard_db / 10)).mean(axis=1).sum())
    noise_db = _WIDTH_DB + rng.uniform(*TILT_DB) * np.log2(BAND_HZ / 1000)
    noise_db += total_db - rng.uniform(*SNR_DB) - 10 * np.log10((10 ** (noise_db / 10)).sum()) + _EMPHASIS_DB
    noise_db = noise_db[:, np.newaxis] + rng.normal(0, 2, x.shape)
    return _levels(_power(x) + 10 ** (noise_db / 10))


def _power(x: Pooled) -> NDArray[np.floating]:
    """Return the power of pooled levels, relative to that of the floor."""
    return 10 ** (x * STEP_DB / 10)


def _levels(power: NDArray[np.floating]) -> Pooled:
    """Return the pooled levels of a power relative to that of the floor."""
    levels: Pooled = np.clip(10 * np.log10(power) / STEP_DB, 0, 255).astype(np.float32)
    return levels


def band_limited(x: Pooled, rng: np.random.Generator) -> Pooled:
    """Return a crop as a file of a low sample rate, a telephone or the slope of a filter leaves it."""
    limit = int(np.searchsorted(BAND_HZ, np.exp(rng.uniform(*np.log(CUTOFF_HZ)))))
    slope_db = rng.uniform(*STEEP_DB) if rng.random() < 0.5 else rng.uniform(*GENTLE_DB)
    above = np.maximum(np.arange(N_BANDS, dtype=np.float32) - limit, 0)[:, np.newaxis]
    x = np.maximum(x - above * np.float32(slope_db / STEP_DB), 0)
    x[limit + int(rng.integers(4, 40)) :] = 0
    if rng.random() < 0.4:
        x[: int(np.searchsorted(BAND_HZ, rng.uniform(60, 350)))] = 0
    return x


def equalization(rng: np.random.Generator, n_bands: int = FEATURES.n_mels, spread_db: float = 4.0) -> Floats:
    """Return a smooth random gain of each band in dB."""
    knots = rng.normal(0, spread_db, 6)
    return np.interp(np.linspace(0, 5, n_bands), np.arange(6), knots)
