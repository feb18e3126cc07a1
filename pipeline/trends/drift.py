"""Drift: whether the genre distribution differs between two runs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["stable", "unclear", "moderate", "large"]

MODERATE = 0.1
"""A population stability index below this is called stable."""
LARGE = 0.25
"""An index of this or more is called large. Both are the customary thresholds from credit scoring."""
_CHANCE = 0.05
_ADDED = 0.5
"""Added to each count, since a genre missing from one run would make the index infinite."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How much a distribution has changed.

    Attributes
    ----------
    psi : float
        Population stability index.
    by_chance : float
        The index that one comparison in twenty exceeds by chance, given these numbers of tracks.
    verdict : str
        ``stable`` below 0.1, ``moderate`` from 0.1, ``large`` from 0.25; ``unclear`` if the index is at least
        0.1 but not above `by_chance`, that is, if there are too few tracks to tell.
    """

    psi: float
    by_chance: float
    verdict: Verdict


def measure_drift(before: Mapping[str, int], now: Mapping[str, int]) -> Drift | None:
    """Compare two distributions by their population stability index.

    ``PSI = Σ (q - p) ln(q / p)`` over the categories, where ``p`` and ``q`` are the shares before and now.

    Parameters
    ----------
    before, now : mapping of str to int
        Counts by category.

    Returns
    -------
    Drift or None
        None if either distribution is empty.

    References
    ----------
    Yurdakul and Naranjo, "Statistical properties of the population stability index", Journal of Risk Model
    Validation 14(4), 2020: for sample sizes ``n`` and ``m`` and ``B`` categories, the index of unchanged
    distributions is approximately ``(1/n + 1/m) χ²(B - 1)``.
    """
    from scipy.special import chdtri  # not scipy.stats, which takes ten times as long to import

    categories = sorted(name for name in {*before, *now} if before.get(name, 0) + now.get(name, 0))
    n, m = sum(before.values()), sum(now.values())
    if not n or not m:
        return None
    psi = 0.0
    for name in categories:
        p = (before.get(name, 0) + _ADDED) / (n + _ADDED * len(categories))
        q = (now.get(name, 0) + _ADDED) / (m + _ADDED * len(categories))
        psi += (q - p) * math.log(q / p)
    by_chance = (1 / n + 1 / m) * float(chdtri(len(categories) - 1, _CHANCE)) if len(categories) > 1 else 0.0
    return Drift(psi, by_chance, _judge(psi, by_chance))


def _judge(psi: float, by_chance: float) -> Verdict:
    if psi < MODERATE:
        return "stable"
    if psi <= by_chance:
        return "unclear"
    return "large" if psi >= LARGE else "moderate"
