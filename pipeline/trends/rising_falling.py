"""Rising and falling genres: a weighted linear regression of each genre's share over time."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

MIN_PERIODS = 3
"""A line through two points fits exactly, so it says nothing about chance."""
FALSE_DISCOVERY_RATE = 0.05
_NEAR_YEARS = 10.0

Direction = Literal["rising", "falling", "unclear"]


@dataclass(frozen=True, slots=True)
class Change:
    """How a genre's share changes.

    Attributes
    ----------
    genre : str
        The genre.
    start, end : float
        Share on the fitted line in the first and the last period, clipped to 0 to 1.
    change : float
        Difference between the two before clipping.
    low, high : float
        95 % interval of the change.
    per_year : float
        Slope of the line: change per year.
    p_value : float
        Probability of a slope at least as steep if nothing changes.
    q_value : float
        The p value adjusted for testing all genres at once.
    direction : str
        ``rising`` or ``falling`` if `q_value` is below `FALSE_DISCOVERY_RATE`, else ``unclear``.
    """

    genre: str
    start: float
    end: float
    change: float
    low: float
    high: float
    per_year: float
    p_value: float
    q_value: float
    direction: Direction


def fit_changes(
    genres: tuple[str, ...],
    time: NDArray[np.float64],
    share: NDArray[np.float64],
    n_effective: NDArray[np.float64],
) -> list[Change]:
    """Fit a line through each genre's share over time, sorted from the fastest rise to the fastest fall.

    Each period is weighted by its number of tracks. The variance of a share is the larger of the binomial
    variance and the scatter around the line (tracks come in albums, and real trends are not straight), so
    that a few large years do not turn noise into a trend. The q values follow Benjamini and Hochberg: of the
    genres called rising or falling, at most one in twenty is expected to be due to chance.

    An unsure model shrinks shares toward the genre mix it was calibrated on, so changes are underestimated
    rather than overestimated.

    Parameters
    ----------
    genres : tuple of str
        Names of the genres.
    time : ndarray of float64, shape (n_periods,)
        Midpoint of each period, in years.
    share : ndarray of float64, shape (n_periods, n_genres)
        Shares, 0 to 1.
    n_effective : ndarray of float64, shape (n_periods,)
        Effective number of tracks in each period.

    Returns
    -------
    list of Change
        Empty if there are fewer than `MIN_PERIODS` periods.

    References
    ----------
    Y. Benjamini and Y. Hochberg, Controlling the false discovery rate, J. R. Statist. Soc. B 57 (1995).
    """
    from scipy import special  # not scipy.stats, which takes longer to import than everything else

    if len(time) < MIN_PERIODS:
        return []
    weight = n_effective[:, np.newaxis]
    mean = (weight * share).sum(axis=0) / weight.sum()
    centered = (time - np.average(time, weights=n_effective))[:, np.newaxis]
    spread = (weight * centered**2).sum()
    slope = (weight * centered * share).sum(axis=0) / spread
    fitted = mean + slope * centered
    binomial = mean * (1 - mean)
    freedom = len(time) - 2
    scatter = (weight * (share - fitted) ** 2).sum(axis=0) / freedom
    error = np.sqrt(np.maximum(np.maximum(binomial, scatter), 1e-12) / spread)
    p_values = 2 * special.stdtr(freedom, -np.abs(slope) / error)
    q_values = adjust_p_values(p_values)
    span = time.max() - time.min()
    half = special.stdtrit(freedom, 0.975) * error
    ends = np.clip(fitted[[int(time.argmin()), int(time.argmax())]], 0, 1)
    found = [
        Change(
            genre=genre,
            start=float(ends[0, k]),
            end=float(ends[1, k]),
            change=float(slope[k] * span),
            low=float((slope[k] - half[k]) * span),
            high=float((slope[k] + half[k]) * span),
            per_year=float(slope[k]),
            p_value=float(p_values[k]),
            q_value=float(q_values[k]),
            direction=_classify_slope(float(slope[k]), float(q_values[k])),
        )
        for k, genre in enumerate(genres)
    ]
    return sorted(found, key=lambda change: -change.per_year)


def adjust_p_values(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute Benjamini-Hochberg q values: the false discovery rate at which each test becomes significant.

    Parameters
    ----------
    p_values : ndarray of float64, shape (n,)
        P values of all tests.
    """
    order = np.argsort(p_values)[::-1]
    n = len(p_values)
    scaled = p_values[order] * n / np.arange(n, 0, -1)
    adjusted = np.empty(n)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled), 1.0)
    return adjusted


def trim_strays(tracks: NDArray[np.int64], years: NDArray[np.float64]) -> slice:
    """Return the slice of periods without the stray ones at either end.

    One mistyped year (1066, 2999) would otherwise stretch every chart and pull every fitted line toward it.
    Periods at an end are stray if together they hold less than a thousandth of the tracks. They are also
    stray if they hold less than a hundredth and lie farther from the others than those span, and farther than
    ten years.

    Parameters
    ----------
    tracks : ndarray of int64, shape (n_periods,)
        Number of tracks in each period, in order of time.
    years : ndarray of float64, shape (n_periods,)
        Midpoint of each period, in years.
    """
    running = np.cumsum(tracks) / max(int(tracks.sum()), 1)
    most, core = (
        slice(int(np.searchsorted(running, stray)), int(np.searchsorted(running, 1 - stray)) + 1)
        for stray in (0.001, 0.01)
    )
    first, last = years[core][0], years[core][-1]
    reach = max(last - first, _NEAR_YEARS)
    near = np.flatnonzero((years >= first - reach) & (years <= last + reach))
    return slice(max(most.start, int(near[0])), min(most.stop, int(near[-1]) + 1))


def _classify_slope(slope: float, q_value: float) -> Direction:
    if q_value >= FALSE_DISCOVERY_RATE:
        return "unclear"
    return "rising" if slope > 0 else "falling"
