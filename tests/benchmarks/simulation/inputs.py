"""What a simulation is fed with: costs measured on a real machine, and the constants of an object store."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

MEASURED_FILE = Path(__file__).with_name("measured.json")
"""Written by ``simulate_scaling.py --measure``."""

FIRST_BYTE_S = 0.03
"""Seconds until an object store begins to answer a GET. AWS names 100 to 200 ms for the general case ("Best
practices design patterns: optimizing Amazon S3 performance"); within a region, tens of ms are usual."""
STREAM_BYTES_PER_S = 90e6
"""Of one GET; AWS names 85 to 90 MB/s as what one request reaches (the same page)."""
PUT_S = 0.05
LIST_S = 0.06
DELETE_S = 0.03
PREFIX_GETS_PER_S = 5500.0
"""Requests a second that S3 answers in one prefix, at least (the same page)."""
WORKER_START_S = 2.3
"""Seconds until a Ray worker has loaded Earmark's code and decoders: `overheads.WORKER_CPU_S`."""
GRANTS_PER_S = 569.0
"""Tasks a second that Ray places on the CPUs of a cluster: what its release benchmark ``many_tasks`` measured
(``release/perf_metrics/benchmarks/many_tasks.json`` of the Ray repository). It was not measured here."""
DETECTION_S = 15.0
"""Seconds until Ray reports a node dead: ``health_check_period_ms`` × ``health_check_failure_threshold``."""
RETURN_S = 180.0
"""Seconds until a node takes the place of a lost one."""
NODE_CPUS = 16
ACTOR_PARTS_AT_ONCE = 1
"""Parts that an actor works on at once: one is predicted while others are read or written."""
FETCH_AHEAD = 2
"""Tracks that a worker fetches ahead of the one that it decodes, as `pipeline.shards.fetching` does."""


class TrackCost(BaseModel):
    """What a measured track takes: CPU seconds to decode and featurize, its size, its segments."""

    model_config = ConfigDict(frozen=True)
    cpu_s: float
    size_bytes: int
    n_segments: int


class RayCosts(BaseModel):
    """Seconds for which calls of Ray block the driver, each by what it grows with.

    Attributes
    ----------
    submit_shard_s, submit_part_s : dict of int to float
        To submit a task or the call of an actor, by the number of tracks in its argument.
    wait_s : dict of int to float
        Of `ray.wait`, by the number of references, with one of them ready.
    get_s : float
        Of `ray.get`, for an `Answer` that has arrived.
    cluster_resources_s, nodes_s : dict of int to float
        By the number of nodes.
    start_actor_s, kill_s : float
        To ask for an actor, and to end one.
    """

    model_config = ConfigDict(frozen=True)
    submit_shard_s: dict[int, float]
    submit_part_s: dict[int, float]
    wait_s: dict[int, float]
    get_s: float
    cluster_resources_s: dict[int, float]
    nodes_s: dict[int, float]
    start_actor_s: float
    kill_s: float


class Measured(BaseModel):
    """All measured inputs.

    Attributes
    ----------
    machine : str
        Where they were measured.
    tracks : tuple of TrackCost
        Measured tracks, from which a catalog is resampled.
    write_cpu_s : float
        CPU seconds a track to encode its rows.
    features_bytes : float
        Bytes a track in a part of ``features/``.
    label_cpu_s : float
        CPU seconds a segment to label it, reading and writing included.
    model_load_s : float
        CPU seconds until an actor has loaded the model.
    ray : RayCosts
        Ray's calls.
    """

    model_config = ConfigDict(frozen=True)
    machine: str
    tracks: tuple[TrackCost, ...]
    write_cpu_s: float
    features_bytes: float
    label_cpu_s: float
    model_load_s: float
    ray: RayCosts


def load_measured() -> Measured:
    """Return the inputs that were measured last."""
    return Measured.model_validate_json(MEASURED_FILE.read_text("utf-8"))


@dataclass(frozen=True)
class Cost:
    """A cost that was measured at some sizes: linear between them and beyond the largest."""

    sizes: tuple[float, ...]
    seconds: tuple[float, ...]

    @classmethod
    def of(cls, points: dict[int, float]) -> "Cost":
        """Return the cost through measured points, at least two."""
        sizes = sorted(points)
        return cls(tuple(map(float, sizes)), tuple(points[size] for size in sizes))

    def at(self, size: float) -> float:
        """Return the seconds at a size."""
        if size > self.sizes[-1]:
            slope = (self.seconds[-1] - self.seconds[-2]) / (self.sizes[-1] - self.sizes[-2])
            return self.seconds[-1] + max(0.0, slope) * (size - self.sizes[-1])
        return float(np.interp(size, self.sizes, self.seconds))
