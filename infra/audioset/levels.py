"""Levels of the log-mel of ``audioset``, and the power in dB that they stand for."""

import numpy as np
from numpy.typing import NDArray

from pipeline.models.audioset import FEATURES, FLOOR_DB, STEP_DB

Floats = NDArray[np.float64]
Levels = NDArray[np.uint8]


def to_decibels(levels: Levels) -> Floats:
    """Return the power in dB that levels stand for."""
    return levels.astype(np.float64) * STEP_DB + FLOOR_DB


def to_levels(power_db: Floats) -> Levels:
    """Return the levels of a power in dB, as the features have them."""
    n_steps = FEATURES.n_levels - 1
    steps = np.rint(np.clip((power_db - FLOOR_DB) / FEATURES.top_db, 0, 1) * n_steps)
    return np.rint(steps * 255 / n_steps).astype(np.uint8)
