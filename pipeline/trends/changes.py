"""Which genres rise and which fall: a weighted regression of each genre's share over time."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

MIN_PERIODS = 3
"""A line through two points fits exactly: it says nothing of chance."""
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
        Share on the fitted line at the first and the last period, 0 to 1.
    change : float
        Their difference before both are cut to 0 to 1: what the share has gained or lost.
    low, high : float
        95 % interval of the change.
    per_year : float
        The same a year: the slope of the line.
    p_value : float
        Chance of a slope at least as steep where nothing changes.
    q_value : float
        The same, adjusted for looking at all genres at once.
    direction : str
        ``rising`` or ``falling`` where `q_value` is below `FALSE_DISCOVERY_RATE`, else ``unclear``.
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
    """Fit a line through each genre's share over time, the fastest rise first and the fastest fall last.

    Periods weigh what they have tracks. The variance of a share is taken as binomial, or as large as the
    scatter around the line where that is larger (tracks come in albums, and years are not lines), so that a
    few full years do not make a trend of noise. The q values are Benjamini and Hochberg's: of the genres
    called rising or falling, at most one in twenty is expected to be so by chance.

    A model shrinks shares toward the mix it was calibrated on, the more so the less sure it is: changes come
    out smaller than they are, not larger.

    Parameters
    ----------
    genres : tuple of str
        Names.
    time : ndarray of float64, shape (n_periods,)
        When each period is, in years.
    share : ndarray of float64, shape (n_periods, n_genres)
        Shares, 0 to 1.
    n_effective : ndarray of float64, shape (n_periods,)
        Tracks of each period.

    Returns
    -------
    list of Change
        Empty for fewer than `MIN_PERIODS` periods.

    References
    ----------
    Y. Benjamini and Y. Hochberg, Controlling the false discovery rate, J. R. Statist. Soc. B 57 (1995).
    """
    from scipy import special  # not scipy.stats, which takes longer to import than all the rest

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
    """Q values of Benjamini and Hochberg: the false discovery rate where this p value is called a discovery.

    Parameters
    ----------
    p_values : ndarray of float64, shape (n,)
        Of the tests that were made.
    """
    order = np.argsort(p_values)[::-1]
    n = len(p_values)
    scaled = p_values[order] * n / np.arange(n, 0, -1)
    adjusted = np.empty(n)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled), 1.0)
    return adjusted


def trim_strays(tracks: NDArray[np.int64], years: NDArray[np.float64]) -> slice:
    """The periods but for stray ones at either end.

    One mistyped year (1066, 2999) would otherwise stretch every chart, and pull every line to itself. Periods
    are stray that hold, with all that lies beyond, less than a thousandth of the tracks; or less than a
    hundredth, and are farther from the others than those are wide, and than ten years.

    Parameters
    ----------
    tracks : ndarray of int64, shape (n_periods,)
        Tracks of each period, in order.
    years : ndarray of float64, shape (n_periods,)
        When each period is.
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
