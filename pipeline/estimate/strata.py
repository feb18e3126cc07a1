"""A random sample of tracks, stratified by format and size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_SAMPLE = 2
"""Tracks to sample from a stratum, so that its variance is known; fewer only if it has no more."""
_PER_STRATUM = 4
OTHER_FORMATS = "other"


@dataclass(frozen=True, slots=True)
class Stratum:
    """Tracks of one format and of similar sizes.

    Attributes
    ----------
    format : str
        Extension in lower case, or `OTHER_FORMATS` for formats too rare for a stratum of their own.
    rows : ndarray of int64
        All tracks, as rows of the catalog.
    sampled : ndarray of int64
        Those in the sample, sorted.
    """

    format: str
    rows: NDArray[np.int64]
    sampled: NDArray[np.int64]

    @property
    def n_tracks(self) -> int:
        """Number of all tracks."""
        return len(self.rows)


def draw_strata(formats: Sequence[str], sizes: NDArray[np.int64], n_sample: int, seed: int) -> list[Stratum]:
    """Cut tracks into strata and draw a sample from each.

    Many small files and a few huge ones may cost the same, so half of the sample is spread over the tracks
    and half over their bytes.

    Parameters
    ----------
    formats : sequence of str
        Format of each track.
    sizes : ndarray of int64, shape (n,)
        Size of each track, bytes.
    n_sample : int
        Tracks to draw, at least `MIN_SAMPLE`; all tracks if there are no more. Rare formats may add a few.
    seed : int
        The same seed draws the same sample.

    Returns
    -------
    list of Stratum
        Each track in exactly one.
    """
    n = len(sizes)
    if n == 0:
        return []
    rng = np.random.default_rng(seed)
    weights = (1 / n + sizes / max(1, int(sizes.sum()))) / 2
    weights /= weights.sum()
    strata: list[Stratum] = []
    for name, rows in _rows_by_format(formats, weights, n_sample):
        rows = rows[np.argsort(sizes[rows], kind="stable")]
        n_drawn = min(len(rows), max(MIN_SAMPLE, round(n_sample * float(weights[rows].sum()))))
        if n_sample >= n:
            n_drawn = len(rows)
        for members, n_members in _cut_by_size(rows, weights[rows], n_drawn):
            drawn = np.sort(rng.choice(members, n_members, replace=False))
            strata.append(Stratum(name, members, drawn))
    return strata


def _rows_by_format(
    formats: Sequence[str], weights: NDArray[np.float64], n_sample: int
) -> list[tuple[str, NDArray[np.int64]]]:
    """Return the rows of each format, those of formats that deserve no track of the sample together."""
    names, codes = np.unique(np.array(formats, dtype=object), return_inverse=True)
    share = np.bincount(codes, weights, minlength=len(names))
    is_rare = share * n_sample < 1
    groups = [(str(name), np.flatnonzero(codes == at)) for at, name in enumerate(names) if not is_rare[at]]
    if is_rare.any():
        rare = [str(name) for name in names[is_rare]]
        groups.append((rare[0] if len(rare) == 1 else OTHER_FORMATS, np.flatnonzero(is_rare[codes])))
    return groups


def _cut_by_size(
    rows: NDArray[np.int64], weights: NDArray[np.float64], n_drawn: int
) -> list[tuple[NDArray[np.int64], int]]:
    """Cut rows, sorted by size, into classes of about equal weight; return each with its share of the sample.

    A class has at least as many tracks as are drawn from it.
    """
    n_classes = max(1, n_drawn // _PER_STRATUM)
    draws = [len(part) for part in np.array_split(np.arange(n_drawn), n_classes)]
    reached = np.cumsum(weights) / weights.sum()
    classes: list[tuple[NDArray[np.int64], int]] = []
    start = 0
    for number, n_members in enumerate(draws):
        still_needed = sum(draws[number + 1 :])
        by_weight = int(np.searchsorted(reached, (number + 1) / n_classes, side="left")) + 1
        stop = min(max(by_weight, start + n_members), len(rows) - still_needed)
        if number == n_classes - 1:
            stop = len(rows)
        classes.append((rows[start:stop], n_members))
        start = stop
    return classes
