r"""Genre shares estimated from probabilities: expected counts, and how uncertain they are.

A label is a guess. A hundred tracks at 0.6 jazz are about sixty jazz tracks and forty others, not a hundred:
if the probabilities are calibrated, their sum is the expected number of tracks of a genre, while counting the
winners is biased toward the genre that the model predicts when it is unsure.

**Uncertainty of the model.** Given the probabilities :math:`p_i` of a genre, the number of tracks that truly
belong to it is a sum of independent trials with unequal probabilities (Poisson binomial; Le Cam 1960), with
mean :math:`\sum p_i` and variance :math:`\sum p_i (1 - p_i)`. `GenreShares.expected_sd` is the square root of
that variance: how far the true count of these tracks may be from the expected one.

**Uncertainty of the sample.** The tracks of a year are also a sample of that year's music, and their
probabilities scatter around their mean :math:`s` with variance :math:`\frac{1}{n} \sum (p_i - s)^2`. The
variance of the share is the sum of both (law of total variance), and that sum is

.. math:: \frac{1}{n^2} \Bigl( \sum p_i (1 - p_i) + \sum (p_i - s)^2 \Bigr) = \frac{s (1 - s)}{n} ,

the variance of a binomial share, since the terms in :math:`p_i^2` cancel. The interval is therefore Wilson's
(1927) around the *expected* share. It covers the share in the music that the tracks represent and, to within
half a track, the share among the tracks themselves; for either alone it is wider than necessary. With
weights, ``n`` is Kish's effective sample size :math:`(\sum w)^2 / \sum w^2`.

The interval does not account for calibration errors that all tracks share (music unlike the calibration data)
or for dependence between tracks (whole albums by one artist).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.models.metrics import wilson_interval
from pipeline.trends.labeled_tracks import LabeledTracks

Weight = Literal["count", "confidence"]

_WEIGHTS: dict[Weight, str] = {"count": "1", "confidence": "confidence"}

_TRACKS = "SELECT *, {column} AS name, CAST({weight} AS DOUBLE) AS weight FROM labeled"
_SUMS = """\
SELECT
    {name} AS name,
    count(*) AS tracks,
    {weights} AS weight,
    {squares} AS squares,
    [{expected}] AS expected,
    [{variance}] AS variance
FROM ({tracks})
WHERE name IS NOT NULL
{grouped}
ORDER BY tracks DESC, name
LIMIT $top
"""
"""Sums over the tracks of each group, the groups with the most tracks first."""
_COUNTS = """\
SELECT number, genre, {weights} AS weight
FROM ({tracks}) JOIN groups USING (name)
WHERE genre IS NOT NULL
GROUP BY number, genre
"""
_SUM = "CAST(coalesce(sum(CAST({term} * 1e12 AS BIGINT)), 0) AS DOUBLE) / 1e12"


@dataclass(frozen=True, slots=True)
class GenreShares:
    """Genre shares of groups of tracks. All arrays but the first three have shape (n_groups, n_genres).

    Attributes
    ----------
    tracks : ndarray of int64, shape (n_groups,)
        Number of tracks in each group.
    weight : ndarray of float64, shape (n_groups,)
        Sum of their weights.
    effective : ndarray of float64, shape (n_groups,)
        Effective number of tracks; without weights, the number of tracks.
    count : ndarray of float64
        Total weight of the tracks labeled with the genre.
    expected : ndarray of float64
        Expected weight of the tracks that belong to the genre: the weighted sum of the probabilities.
    expected_sd : ndarray of float64
        Standard deviation of `expected` due to the model's uncertainty alone.
    share : ndarray of float64
        `expected` divided by `weight`.
    low, high : ndarray of float64
        95 % interval of the share.
    """

    tracks: NDArray[np.int64]
    weight: NDArray[np.float64]
    effective: NDArray[np.float64]
    count: NDArray[np.float64]
    expected: NDArray[np.float64]
    expected_sd: NDArray[np.float64]
    share: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def sum_by_group(
    labeled: LabeledTracks, by: str | None, weight: Weight = "count", top: int | None = None
) -> pa.Table:
    """Sum the probabilities of labeled tracks by group.

    Parameters
    ----------
    labeled : LabeledTracks
        The tracks.
    by : str or None
        One of their groupings; None for a single group of all tracks.
    weight : str
        ``count`` if every track has weight 1, ``confidence`` if tracks are weighted by confidence.
    top : int, optional
        Only this many groups.

    Returns
    -------
    pyarrow.Table
        One row per group, the groups with the most tracks first: ``name``; ``tracks``; sums of the weights
        (``weight``) and of their squares (``squares``); and, as lists with an item for each genre, the total
        weight of the tracks with that label (``count``), the weighted sum of its probabilities (``expected``)
        and the variance of that sum (``variance``).
    """
    column = "'all'" if by is None else labeled.group_names(by)
    tracks = _TRACKS.format(column=column, weight=_WEIGHTS[weight])
    p = [f"CAST(p{genre} AS DOUBLE)" for genre in range(len(labeled.genres))]
    sums = labeled.query(
        _SUMS.format(
            tracks=tracks,
            name="'all'" if by is None else "name",
            grouped="" if by is None else "GROUP BY name",
            weights=exact_sum("weight"),
            squares=exact_sum("weight * weight"),
            expected=", ".join(exact_sum(f"weight * {each}") for each in p),
            variance=", ".join(exact_sum(f"weight * weight * {each} * (1 - {each})") for each in p),
        ),
        top=top,
    )
    numbers = pa.array(np.arange(sums.num_rows))
    labeled.keys.register("groups", sums.select(["name"]).append_column("number", numbers))
    rows = labeled.query(_COUNTS.format(tracks=tracks, weights=exact_sum("weight")))
    count = np.zeros((sums.num_rows, len(p)))
    count[np.asarray(rows["number"]), np.asarray(rows["genre"])] = np.asarray(rows["weight"])
    return sums.append_column("count", pa.FixedSizeListArray.from_arrays(pa.array(count.ravel()), len(p)))


def exact_sum(term: str) -> str:
    """Return SQL for the sum of numbers from 0 to 1 that is the same in every order of the rows."""
    return _SUM.format(term=term)


def compute_shares(sums: pa.Table, n_genres: int) -> GenreShares:
    """Compute the genre shares of groups of tracks.

    Parameters
    ----------
    sums : pyarrow.Table
        The sums of each group, as `sum_by_group` returns them.
    n_genres : int
        Number of genres.
    """
    count, expected, variance = (
        _to_matrix(sums[name], n_genres) for name in ("count", "expected", "variance")
    )
    weight, squares = (np.asarray(sums[name], dtype=np.float64) for name in ("weight", "squares"))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = expected / weight[:, np.newaxis]
        effective = weight**2 / squares
    low, high = wilson_interval(share, effective[:, np.newaxis])
    return GenreShares(
        tracks=np.asarray(sums["tracks"], dtype=np.int64),
        weight=weight,
        effective=effective,
        count=count,
        expected=expected,
        expected_sd=np.sqrt(np.maximum(variance, 0.0)),
        share=share,
        low=low,
        high=high,
    )


def _to_matrix(lists: pa.ChunkedArray, n_genres: int) -> NDArray[np.float64]:
    values = lists.combine_chunks().flatten()
    return np.asarray(values, dtype=np.float64).reshape(len(lists), n_genres)
