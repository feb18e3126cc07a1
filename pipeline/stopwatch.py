"""Stopwatch: seconds spent in each stage of a piece of work."""

import heapq
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager


class Stopwatch:
    """Seconds, summed by stage and by track.

    Parameters
    ----------
    clock : callable
        What the stages are timed with: wall-clock seconds, unless another clock is given.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._tracks: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of a ``with`` block to a stage."""
        start = self._clock()
        try:
            yield
        finally:
            self._seconds[name] += self._clock() - start

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add seconds by stage that were measured elsewhere, as in another process."""
        for name, value in seconds.items():
            self._seconds[name] += value

    def track(self, uri: str, seconds: float) -> None:
        """Add the seconds that one attempt at a track took."""
        self._tracks[uri] += seconds

    @property
    def slowest(self) -> tuple[tuple[float, str], ...]:
        """The slowest tracks; see `slowest_of`."""
        return slowest_of((seconds, uri) for uri, seconds in self._tracks.items())

    @property
    def seconds(self) -> Mapping[str, float]:
        """Seconds by stage so far."""
        return dict(self._seconds)


N_SLOWEST = 20
"""Tracks that a run remembers as its slowest."""


def slowest_of(times: Iterable[tuple[float, str]]) -> tuple[tuple[float, str], ...]:
    """Return the longest of some (seconds, URI) pairs, the longest first."""
    return tuple(heapq.nlargest(N_SLOWEST, times))
