"""What was observed of a sample, and its extrapolation to the catalog."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.estimate.totals import Total, estimate_total

Unit = Mapping[str, float]
"""Quantities of a track, such as ``cpu.decode`` (seconds), ``bytes.features`` or ``requests.GET``."""
CPU, BYTES, REQUESTS = "cpu.", "bytes.", "requests."
WORKER_S, ACTOR_S, FAILED, RECEIVED = "worker_s", "actor_s", "failed", "received"
"""Seconds of a worker and of an actor, whether a track fails, and bytes that a store sends."""


@dataclass(frozen=True, slots=True)
class SampledStratum:
    """A stratum of the catalog with the quantities of the tracks in the sample.

    Attributes
    ----------
    n_tracks : int
        All its tracks.
    units : tuple of Unit
        The quantities of those in the sample.
    """

    n_tracks: int
    units: tuple[Unit, ...]

    def mean(self, quantity: str) -> float:
        """Return the mean of a quantity over the sample."""
        return float(np.mean([unit.get(quantity, 0.0) for unit in self.units]))


def names_of(strata: Sequence[SampledStratum], prefix: str) -> list[str]:
    """Return the quantities that begin with a prefix, in the order in which they occur."""
    found = (name for stratum in strata for unit in stratum.units for name in unit)
    return [name for name in dict.fromkeys(found) if name.startswith(prefix)]


def extrapolate(strata: Sequence[SampledStratum], quantities: Collection[str]) -> Total:
    """Return the total of the sum of some quantities over all tracks."""
    return estimate_total(
        (each.n_tracks, np.array([sum(unit.get(name, 0.0) for name in quantities) for unit in each.units]))
        for each in strata
    )
