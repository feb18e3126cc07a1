"""TimelineRecorder: how busy the workers of a run were, in a bounded number of steps."""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from schemas.report import Timeline

_STEPS = 120
"""Maximum number of steps; when they are full, pairs are merged and each step is twice as long."""
_MEANS = ("featurizing", "labeling")
_WORKERS = {"featurizing": "cpus", "labeling": "actors"}
_MOST = ("cpus", "actors", "shards_left", "parts_left")


class TimelineRecorder:
    """Records work as its results arrive.

    Work is counted for the seconds that its worker reports, ending when the result arrives. This needs only
    the clock of the driver, and misses no work between two observations.

    Parameters
    ----------
    clock : callable
        Seconds from any fixed moment.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()
        self._step_s = 1.0
        self._busy_s: dict[str, NDArray[np.float64]] = {name: np.zeros(_STEPS) for name in _MEANS}
        self._most: dict[str, NDArray[np.int64]] = {name: np.zeros(_STEPS, np.int64) for name in _MOST}

    def record_work(self, kind: str, seconds: float) -> None:
        """Count work that ends now.

        Parameters
        ----------
        kind : str
            ``featurizing`` or ``labeling``.
        seconds : float
            How long its worker took.
        """
        now = self._now()
        starts = np.arange(_STEPS) * self._step_s
        overlap = np.minimum(now, starts + self._step_s) - np.maximum(max(now - seconds, 0.0), starts)
        self._busy_s[kind] += np.maximum(overlap, 0.0)

    def observe(self, *, cpus: int, actors: int, shards_left: int, parts_left: int) -> None:
        """Record the current resources and the remaining work."""
        step = int(self._now() / self._step_s)
        values = {"cpus": cpus, "actors": actors, "shards_left": shards_left, "parts_left": parts_left}
        for name, value in values.items():
            self._most[name][step] = max(self._most[name][step], value)

    def timeline(self) -> Timeline:
        """Return the timeline so far."""
        now = self._now()
        n_steps = int(now / self._step_s) + 1
        lengths = np.minimum(self._step_s, now - np.arange(n_steps) * self._step_s).clip(1e-9)
        means = {
            name: tuple((self._carry_back(name, lengths) / lengths).round(3).tolist()) for name in _MEANS
        }
        most = {name: tuple(values[:n_steps].tolist()) for name, values in self._most.items()}
        return Timeline(step_s=self._step_s, **means, **most)

    def _carry_back(self, kind: str, lengths: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the busy seconds of each step, without more than its workers have.

        Results that a worker sends together all count as ending when they arrive. What exceeds a step was
        done before it.
        """
        most_s = self._most[_WORKERS[kind]][: len(lengths)] * lengths
        busy_s = self._busy_s[kind][: len(lengths)].copy()
        for step in range(len(lengths) - 1, 0, -1):
            if most_s[step] and busy_s[step] > most_s[step]:
                busy_s[step - 1] += busy_s[step] - most_s[step]
                busy_s[step] = most_s[step]
        return busy_s

    def _now(self) -> float:
        """Return the seconds since the start, after merging steps so that one covers them."""
        now = self._clock() - self._start
        while now >= _STEPS * self._step_s:
            empty = np.zeros(_STEPS // 2)
            for name, busy in self._busy_s.items():
                self._busy_s[name] = np.concatenate((busy[0::2] + busy[1::2], empty))
            for name, most in self._most.items():
                joined = np.maximum(most[0::2], most[1::2])
                self._most[name] = np.concatenate((joined, empty.astype(np.int64)))
            self._step_s *= 2
        return now
