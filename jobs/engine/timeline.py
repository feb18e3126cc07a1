"""TimelineRecorder: how busy the workers of a run were, kept in few numbers however long the run is."""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from schemas.report import Timeline

_STEPS = 120
"""Steps kept at most: when they are full they are joined in pairs, and each is twice as long."""
_MEANS = ("featurizing", "labeling")
_MOST = ("cpus", "actors", "shards_left", "parts_left")


class TimelineRecorder:
    """Records work as it is handed in.

    A piece of work is counted for the seconds that its worker says it took, up to the moment at which its
    result comes in: that needs no clock but the driver's, and misses nothing between two looks.

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

    def worked(self, kind: str, seconds: float) -> None:
        """Count a piece of work that ends now.

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
        """Record what there is to work with and what is left to do at this moment."""
        step = int(self._now() / self._step_s)
        values = {"cpus": cpus, "actors": actors, "shards_left": shards_left, "parts_left": parts_left}
        for name, value in values.items():
            self._most[name][step] = max(self._most[name][step], value)

    def timeline(self) -> Timeline:
        """What was recorded so far."""
        now = self._now()
        n_steps = int(now / self._step_s) + 1
        lengths = np.minimum(self._step_s, now - np.arange(n_steps) * self._step_s).clip(1e-9)
        means = {
            name: tuple((busy[:n_steps] / lengths).round(3).tolist()) for name, busy in self._busy_s.items()
        }
        most = {name: tuple(values[:n_steps].tolist()) for name, values in self._most.items()}
        return Timeline(step_s=self._step_s, **means, **most)

    def _now(self) -> float:
        """Seconds since the start, for which there is a step."""
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
