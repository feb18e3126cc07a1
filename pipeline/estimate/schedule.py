"""How long the shards of a run take on a number of workers and actors."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Machines:
    """What a run works with.

    Attributes
    ----------
    cpus : int
        CPUs of the cluster.
    workers : int
        Shards that are featurized at the same time.
    actors : int
        Actors that run the model.
    """

    cpus: int
    workers: int
    actors: int

    @property
    def share_cpus(self) -> bool:
        """Whether the actors have no CPUs of their own."""
        return self.workers + self.actors > self.cpus


def schedule(
    shards_s: NDArray[np.float64],
    parts_s: NDArray[np.float64],
    stored_s: NDArray[np.float64],
    machines: Machines,
    *,
    actors_ready_s: float = 0.0,
) -> float:
    """Return the seconds until all shards are featurized and all parts labeled.

    Parameters
    ----------
    shards_s : ndarray of float64, shape (n,)
        Seconds that a worker takes for each shard, in the order in which they begin.
    parts_s : ndarray of float64, shape (n,)
        Seconds that an actor takes for the part of each shard; all 0 if nothing is labeled.
    stored_s : ndarray of float64
        The same for parts that exist already.
    machines : Machines
        Workers and actors.
    actors_ready_s : float
        Seconds until the actors have loaded the model.
    """
    featurized_s = _serve(((0.0, seconds) for seconds in shards_s), machines.workers, 0.0)
    if not parts_s.any() and not stored_s.any():
        return max(featurized_s, default=0.0)
    parts = [(0.0, seconds) for seconds in stored_s]
    parts += sorted(zip(featurized_s, parts_s, strict=True))
    wall_s = max(_serve(parts, machines.actors, actors_ready_s), default=0.0)
    if machines.share_cpus:
        wall_s = max(wall_s, float(shards_s.sum() + parts_s.sum() + stored_s.sum()) / machines.cpus)
    return wall_s


def _serve(jobs: Iterable[tuple[float, float]], n_servers: int, ready_s: float) -> list[float]:
    """Return when each job ends; each starts when it has arrived and one of the servers is free."""
    free = [ready_s] * n_servers
    ends = []
    for arrives, seconds in jobs:
        end = max(heapq.heappop(free), arrives) + float(seconds)
        heapq.heappush(free, end)
        ends.append(end)
    return ends
