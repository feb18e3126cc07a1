"""Imitations of the log-mel of ``audioset`` out of GTZAN's published one, for train clips that have no audio.

The published log-mel has other bands, a longer window and a frame in 77 ms. A linear map of its frames,
fitted to clips that have both, gives levels in the other's bands; frames between are repeated, and half of
what the map does not know is added as noise: the network takes stillness for something else than music.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from infra.audioset.levels import Floats, Levels, to_decibels, to_levels
from infra.audioset.splits import listed_clips
from pipeline.models.audioset import N_FRAMES

UNKNOWN = 0.5
"""Share of the map's error that is added as noise; of 0.3 to 1.4 the one that does best on train clips."""

DRAWS = 3
"""Times that each clip is imitated, with other noise: a single draw moves what is fitted."""

RIDGE = 1.0
_COLUMNS, _FRAMES = 387.2, 3000
_LOUD_DB, _QUIET_DB = 20.0, -60.0


def imitations(
    gtzan: Path, real: Mapping[str, list[Levels]]
) -> tuple[list[str], list[str], list[list[Levels]]]:
    """Imitate the log-mels of all clips of the train list.

    Parameters
    ----------
    gtzan : Path
        Folder with ``log_mel_128x387.npz`` and ``splits/``.
    real : mapping of str to list of ndarray of uint8
        Real log-mels of the segments of some clips; clips of less than three segments are passed over.

    Returns
    -------
    names, genres : list of str
        The clips and their genres.
    segments : list of list of ndarray of uint8
        Three segments of each, `DRAWS` times.
    """
    with np.load(gtzan / "log_mel_128x387.npz") as arrays:
        place = {name: number for number, name in enumerate(arrays["track"].tolist())}
        levels, range_db = arrays["log_mel"], arrays["range_db"]
    names = [name for name in listed_clips(gtzan, "train") if name in place]

    def published(name: str) -> Floats:
        number = place[name]
        power_db: Floats = ((levels[number] / 255.0 - 1) * range_db[number]).T
        return power_db

    both = [name for name, of_clip in real.items() if name in place and len(of_clip) == 3]
    x, y = zip(*(_pairs(published(name), real[name]) for name in both), strict=True)
    mean_x, mean_y, weights, error = _linear_map(np.concatenate(x), np.concatenate(y))
    rng = np.random.default_rng(0)
    segments = []
    for name in names:
        frames = (published(name) - mean_x) @ weights + mean_y
        thirds = [np.repeat(frames[129 * i : 129 * (i + 1)], 8, axis=0)[:N_FRAMES] for i in range(3)]
        draws = [each + rng.normal(size=each.shape) * error * UNKNOWN for each in thirds * DRAWS]
        segments.append([np.ascontiguousarray(to_levels(each).T) for each in draws])
    return names, [name.partition(".")[0] for name in names], segments


def _pairs(published: Floats, real: list[Levels]) -> tuple[Floats, Floats]:
    """Return frames of the one form and of the other that lie at the same time, for every sixth column."""
    real_db = to_decibels(np.concatenate(real, axis=1)).T
    columns = np.arange(5, 380, 6)
    at = np.minimum((columns + 0.35) / _COLUMNS * _FRAMES, len(real_db) - 1).astype(np.intp)
    return published[columns], np.maximum(real_db, _QUIET_DB)[at] + (_LOUD_DB - real_db.max())


def _linear_map(x: Floats, y: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the means, the weights and the error in each band of a ridge regression."""
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    x, y = x - mean_x, y - mean_y
    weights: Floats = np.asarray(np.linalg.solve(x.T @ x + RIDGE * len(x) * np.eye(x.shape[1]), x.T @ y))
    error: Floats = np.sqrt(((y - x @ weights) ** 2).mean(axis=0))
    return mean_x, mean_y, weights, error
