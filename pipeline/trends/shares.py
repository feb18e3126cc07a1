r"""Shares of genres among tracks, out of probabilities: expected counts, and how far they can be trusted.

A label is a guess. A hundred tracks at 0.6 jazz are sixty tracks of jazz and forty of something else, not a
hundred: where the probabilities are calibrated, their sum is the expected number of tracks of a genre, and
counting the winners is biased toward whatever the model says when it does not know.

**Uncertainty of the model.** Given the probabilities :math:`p_i` of a genre, the number of tracks that really
are of the genre is a sum of independent trials of unequal chance (Poisson binomial; Le Cam 1960), with mean
:math:`\sum p_i` and variance :math:`\sum p_i (1 - p_i)`. `GenreShares.expected_sd` is its square root: how
far the tracks at hand may differ from the expected count.

**Uncertainty of the sample.** The tracks of a year are also a sample of that year's music, and their
probabilities scatter around their mean :math:`s` with variance :math:`\frac{1}{n} \sum (p_i - s)^2`. The
share's variance is the sum of both (law of total variance), and that sum is

.. math:: \frac{1}{n^2} \Bigl( \sum p_i (1 - p_i) + \sum (p_i - s)^2 \Bigr) = \frac{s (1 - s)}{n} ,

the variance of a binomial share, since the terms in :math:`p_i^2` cancel. So the interval is Wilson's (1927)
around the *expected* share. It holds for the share in the music that the tracks stand for and, to within half
a track, for the share among the tracks themselves; for either alone it is wider than it has to be. With
weights, ``n`` is Kish's effective sample size :math:`(\sum w)^2 / \sum w^2`.

What it does not know: errors of calibration that all tracks share (other music than the model was calibrated
on) and tracks that are not independent (whole albums of an artist).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054
"""Half the width of a 95 % interval, in standard deviations of a normal distribution."""


@dataclass(frozen=True, slots=True)
class GenreShares:
    """Genres of groups of tracks. Every array but the first three has the shape (n_groups, n_genres).

    Attributes
    ----------
    tracks : ndarray of int64, shape (n_groups,)
        Tracks of each group.
    weight : ndarray of float64, shape (n_groups,)
        Sum of their weights.
    effective : ndarray of float64, shape (n_groups,)
        Effective number of tracks; without weights their number.
    count : ndarray of float64
        Weights of the tracks whose label is the genre.
    expected : ndarray of float64
        Expected weight of the tracks that are of the genre: the sum of the probabilities, weighted.
    expected_sd : ndarray of float64
        Standard deviation of that sum, by the model's uncertainty alone.
    share : ndarray of float64
        `expected` by `weight`.
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
    """Count genres by group.

    Parameters
    ----------
    groups : ndarray of int64, shape (n_tracks,)
        Number of the group of each track; tracks of a negative one are left out.
    n_groups : int
        How many groups there are.
    probabilities : ndarray of float32, shape (n_tracks, n_genres)
        Calibrated probabilities.
    winner : ndarray of int64, shape (n_tracks,)
        Number of the label's genre, -1 for none.
    weights : ndarray of float32, shape (n_tracks,), optional
        What each track counts for, such as its confidence; 1 where not given.
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


def wilson_interval(
    share: NDArray[np.float64], n: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson's 95 % score interval of a share.

    Parameters
    ----------
    share : ndarray
        Shares, 0 to 1.
    n : ndarray
        Sample sizes, of a shape that broadcasts.

    References
    ----------
    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = 1 / (1 + Z95**2 / n)
        middle = factor * (share + Z95**2 / (2 * n))
        half = factor * Z95 * np.sqrt(np.maximum(share * (1 - share), 0) / n + Z95**2 / (4 * n**2))
    # Rounding must not put a share of next to nothing outside its own interval.
    return np.clip(middle - half, 0, share), np.clip(middle + half, share, 1)


def _sum_by_group(
    groups: NDArray[np.int64], n_groups: int, values: NDArray[np.float32] | None
) -> NDArray[np.float64]:
    return np.bincount(groups, values, minlength=n_groups).astype(np.float64)
