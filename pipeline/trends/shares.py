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

import numpy as np
from numpy.typing import NDArray

from pipeline.models.metrics import wilson_interval


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


def compute_shares(
    groups: NDArray[np.int64],
    n_groups: int,
    probabilities: NDArray[np.float32],
    winner: NDArray[np.int64],
    weights: NDArray[np.float32] | None = None,
) -> GenreShares:
    """Compute genre shares by group.

    Parameters
    ----------
    groups : ndarray of int64, shape (n_tracks,)
        Index of each track's group; tracks with a negative index are left out.
    n_groups : int
        Number of groups.
    probabilities : ndarray of float32, shape (n_tracks, n_genres)
        Calibrated probabilities.
    winner : ndarray of int64, shape (n_tracks,)
        Index of the label's genre, -1 for none.
    weights : ndarray of float32, shape (n_tracks,), optional
        Weight of each track, such as its confidence; 1 by default.
    """
    inside = groups >= 0
    if not inside.all():
        groups, probabilities, winner = groups[inside], probabilities[inside], winner[inside]
        weights = None if weights is None else weights[inside]
    n_genres = probabilities.shape[1]
    tracks = np.bincount(groups, minlength=n_groups)
    weight = _sum_by_group(groups, n_groups, weights)
    squares = _sum_by_group(groups, n_groups, None if weights is None else weights**2)
    labeled = winner >= 0
    count = np.bincount(
        groups[labeled] * n_genres + winner[labeled],
        None if weights is None else weights[labeled],
        minlength=n_groups * n_genres,
    ).reshape(n_groups, n_genres)
    expected = np.empty((n_groups, n_genres))
    variance = np.empty((n_groups, n_genres))
    for genre in range(n_genres):
        p = probabilities[:, genre]
        w = p if weights is None else weights * p
        expected[:, genre] = np.bincount(groups, w, minlength=n_groups)
        spread = w * (1 - p) if weights is None else weights * w * (1 - p)
        variance[:, genre] = np.bincount(groups, spread, minlength=n_groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = expected / weight[:, np.newaxis]
        effective = weight**2 / squares
    low, high = wilson_interval(share, effective[:, np.newaxis])
    deviation = np.sqrt(np.maximum(variance, 0.0))
    return GenreShares(
        tracks, weight, effective, count.astype(np.float64), expected, deviation, share, low, high
    )


def _sum_by_group(
    groups: NDArray[np.int64], n_groups: int, values: NDArray[np.float32] | None
) -> NDArray[np.float64]:
    return np.bincount(groups, values, minlength=n_groups).astype(np.float64)
