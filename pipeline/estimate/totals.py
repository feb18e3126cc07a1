"""Totals over a catalog with their intervals, extrapolated from a stratified sample."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.9
"""Probability with which an interval contains the total, as far as the sample decides it."""


@dataclass(frozen=True, slots=True)
class Total:
    """An estimated total with its interval.

    Attributes
    ----------
    value : float
        The estimate.
    low, high : float
        Ends of the interval, at `CONFIDENCE`.
    """

    value: float
    low: float
    high: float

    @classmethod
    def known(cls, value: float) -> "Total":
        """Return a total that is not estimated."""
        return cls(value, value, value)

    def plus(self, known: float) -> "Total":
        """Return the total with a known quantity added."""
        return Total(self.value + known, self.low + known, self.high + known)

    def times(self, factor: float) -> "Total":
        """Return the total in another unit."""
        return Total(self.value * factor, self.low * factor, self.high * factor)


def estimate_total(strata: Iterable[tuple[int, NDArray[np.float64]]]) -> Total:
    """Estimate the total of a quantity that is never negative.

    The interval is Student's, with the degrees of freedom of Satterthwaite. A stratum that was observed
    completely adds nothing to it, and neither does one of which only one unit was observed.

    Parameters
    ----------
    strata : iterable of (int, ndarray of float64)
        The units of each stratum, such as tracks, and the quantity of those in the sample, at least one.

    References
    ----------
    W. G. Cochran, Sampling Techniques, 3rd edition, 1977, sections 5.4 and 5.6.
    """
    value = variance = spread = seen = 0.0
    for n_units, values in strata:
        n = len(values)
        value += n_units * float(np.mean(values))
        seen += float(np.sum(values))
        if n > 1:
            unseen = n_units * max(0, n_units - n)
            own = unseen * float(np.var(values, ddof=1)) / n
            variance += own
            spread += own**2 / (n - 1)
    if variance == 0.0:
        return Total.known(value)
    from scipy import stats  # takes half a second, and only an estimate needs it

    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, variance**2 / spread)) * variance**0.5
    return Total(value, max(seen, value - half), value + half)
