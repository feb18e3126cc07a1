"""Sounds made by adding the powers of two others: speech or noise over music, and music over music."""

from collections.abc import Iterator

import numpy as np

from infra.audioset.levels import to_decibels, to_levels
from infra.distill.augmentation import equalization
from infra.distill.sounds import Sound
from infra.distill.teacher_outputs import TeacherOutputs


def mixed(sources: list[TeacherOutputs], weights: list[float], n: int, seed: int) -> Iterator[Sound]:
    """Yield excerpts that are two others at once, each equalized at random.

    Parameters
    ----------
    sources : list of TeacherOutputs
        What to draw from.
    weights : list of float
        How often each source is drawn from.
    n : int
        Number of excerpts.
    seed : int
        Chooses them.
    """
    rng = np.random.default_rng(seed)
    share = np.array(weights) / sum(weights)
    for _ in range(n):
        names, powers = [], []
        for place in rng.choice(len(sources), 2, p=share):
            row = int(rng.integers(len(sources[place].names)))
            names.append(sources[place].names[row])
            powers.append(to_decibels(np.roll(sources[place].levels[row], rng.integers(1000), axis=1)))
        first, second = (each + equalization(rng)[:, np.newaxis] for each in powers)
        second = second + first.max() - second.max() - rng.uniform(-3, 25)
        yield Sound(" + ".join(names), [to_levels(10 * np.log10(10 ** (first / 10) + 10 ** (second / 10)))])
