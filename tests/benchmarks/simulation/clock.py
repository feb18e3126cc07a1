"""A clock of virtual seconds, which pass with the driver's CPU time and with what Ray's calls take."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class VirtualClock:
    """Virtual seconds since the start of a run.

    Between two blocks of `simulating`, the code that runs is the engine's, and its CPU time passes. Within
    such a block, the simulator's own CPU time does not count.

    Parameters
    ----------
    counts_cpu : bool
        Whether the engine's CPU time passes. If not, the simulation is the same each time.

    Attributes
    ----------
    now : float
        Virtual seconds.
    driver_s : dict of str to float
        Seconds for which the driver was busy: ``engine`` for its own code, otherwise by the call of Ray.
    """

    def __init__(self, *, counts_cpu: bool) -> None:
        self.now = 0.0
        self.driver_s: defaultdict[str, float] = defaultdict(float)
        self._counts_cpu = counts_cpu
        self._mark = time.process_time()

    def monotonic(self) -> float:
        """Return the virtual seconds, in the place of `time.monotonic`."""
        return self.now

    @contextmanager
    def simulating(
        self, doing: str = "", seconds: float = 0.0, *, then: Callable[[float], None] | None = None
    ) -> Iterator[None]:
        """Let `seconds` pass for what a call takes, and none for the ``with`` block that simulates it.

        Parameters
        ----------
        doing : str
            What takes them.
        seconds : float
            How long.
        then : callable, optional
            Called with the time that it is then.
        """
        if self._counts_cpu:
            self._spend("engine", time.process_time() - self._mark)
        self._spend(doing, seconds)
        try:
            if then is not None:
                then(self.now)
            yield
        finally:
            self._mark = time.process_time()

    def advance_to(self, moment: float) -> None:
        """Let the time until a moment pass while the driver waits."""
        self.now = max(self.now, moment)

    def _spend(self, doing: str, seconds: float) -> None:
        if seconds:
            self.now += seconds
            self.driver_s[doing] += seconds
