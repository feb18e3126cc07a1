"""The estimate of a run: CPU, wall time, storage and requests, from a sample and known overheads."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.estimate import overheads
from pipeline.estimate.sample import (
    ACTOR_S,
    BYTES,
    CPU,
    FAILED,
    RECEIVED,
    REQUESTS,
    WORKER_S,
    SampledStratum,
    extrapolate,
    names_of,
)
from pipeline.estimate.schedule import Machines, schedule
from pipeline.estimate.totals import Total

START = "Ray, start"
"""The stage of everything that is not done for a track: Ray, loading workers and the model."""
RUN_FILES = "_runs, _index, _models"


@dataclass(frozen=True, slots=True)
class Todo:
    """What the run has to do.

    Attributes
    ----------
    n_listed : int
        Tracks of the catalog.
    stratum_of : ndarray of int64, shape (n,)
        Stratum of each track to featurize, in the order of the catalog.
    n_to_label : int
        Tracks that are labeled from stored features.
    stored_parts : tuple of int
        Number of these tracks in each features part.
    planning_requests : Mapping of str to int
        Requests that were sent to list and plan, by kind; the run sends as many.
    remote_tables : bool
        Whether the tables are on an object store.
    """

    n_listed: int
    stratum_of: NDArray[np.int64]
    n_to_label: int
    stored_parts: tuple[int, ...]
    planning_requests: Mapping[str, int]
    remote_tables: bool


@dataclass(frozen=True, slots=True)
class Sampled:
    """What was measured on the sample.

    Attributes
    ----------
    strata : tuple of SampledStratum
        Tracks to featurize.
    stored : SampledStratum or None
        Tracks to label from stored features.
    bytes_per_part : Mapping of str to float
        What a part takes whatever it holds, by table.
    load_cpu_s : float
        CPU seconds to load the model.
    model_bytes : int
        Size of the model, which is stored with the tables.
    """

    strata: tuple[SampledStratum, ...]
    stored: SampledStratum | None
    bytes_per_part: Mapping[str, float]
    load_cpu_s: float
    model_bytes: int

    @property
    def all_strata(self) -> tuple[SampledStratum, ...]:
        """All strata."""
        return (*self.strata, *((self.stored,) if self.stored is not None else ()))


@dataclass(frozen=True, slots=True)
class Option:
    """A size of the cluster, and the first row of each shard into which the run would cut the tracks."""

    machines: Machines
    bounds: Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class RunTime:
    """How long the run takes on a cluster.

    Attributes
    ----------
    cpus : int
        CPUs of the cluster.
    wall_s : Total
        Seconds.
    n_shards : int
        Shards of the run; more CPUs than shards are idle.
    """

    cpus: int
    wall_s: Total
    n_shards: int

    @property
    def core_hours(self) -> Total:
        """CPUs times hours: what is paid for, busy or idle."""
        return self.wall_s.times(self.cpus / 3600)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run takes.

    Attributes
    ----------
    cpu_s : Mapping of str to Total
        CPU seconds by stage, `START` included.
    total_cpu_s : Total
        All of them.
    run_times : tuple of RunTime
        By size of the cluster.
    storage_bytes : Mapping of str to Total
        Bytes written, by table.
    total_bytes : Total
        All of them.
    requests : Mapping of str to Total
        Requests to object stores by kind; empty if catalog and tables are on disks.
    received_bytes : Total
        Bytes that object stores send: tracks, and features to the actors.
    n_failed : Total
        Tracks that fail.
    head_memory_bytes : int
        Memory for the head of the cluster.
    """

    cpu_s: Mapping[str, Total]
    total_cpu_s: Total
    run_times: tuple[RunTime, ...]
    storage_bytes: Mapping[str, Total]
    total_bytes: Total
    requests: Mapping[str, Total]
    received_bytes: Total
    n_failed: Total
    head_memory_bytes: int


def make_estimate(todo: Todo, sampled: Sampled, options: Sequence[Option]) -> Estimate:
    """Extrapolate a sample to the whole run.

    Parameters
    ----------
    todo : Todo
        What is to be done.
    sampled : Sampled
        What was measured.
    options : sequence of Option
        Sizes of the cluster; storage, requests and CPU of loading are those of the first one.
    """
    strata = sampled.all_strata
    run_times = tuple(_run_time(todo, sampled, option) for option in options)
    parts = _count_parts(todo, sampled, options[0], run_times[0].wall_s.value)
    stages = names_of(strata, CPU)
    start = _start_cpu_s(todo, sampled, options[0].machines, run_times[0].wall_s.value)
    cpu_s = {name.removeprefix(CPU): extrapolate(strata, [name]) for name in stages}
    storage = _storage(todo, sampled, parts)
    fixed_bytes = sum(_fixed_bytes(todo, sampled, parts).values())
    return Estimate(
        cpu_s=cpu_s | {START: Total.known(start)},
        total_cpu_s=extrapolate(strata, stages).plus(start),
        run_times=run_times,
        storage_bytes=storage,
        total_bytes=extrapolate(strata, names_of(strata, BYTES)).plus(fixed_bytes),
        requests=_requests(todo, strata, parts),
        received_bytes=extrapolate(strata, [RECEIVED, *([f"{BYTES}features"] if todo.remote_tables else [])]),
        n_failed=_count_failures(sampled.strata),
        head_memory_bytes=overheads.head_memory_bytes(todo.n_listed),
    )


def labeling_share(sampled: Sampled) -> float:
    """Return the share of labeling in the seconds of workers and actors."""
    strata = sampled.all_strata
    actors_s = extrapolate(strata, [ACTOR_S]).value
    total_s = extrapolate(strata, [WORKER_S, ACTOR_S]).value
    return actors_s / total_s if total_s else 0.0


def _run_time(todo: Todo, sampled: Sampled, option: Option) -> RunTime:
    """Return the wall time on a cluster; its interval is that of the workers' and actors' seconds."""
    work = extrapolate(sampled.all_strata, [WORKER_S, ACTOR_S])
    wall_s = [
        _wall_s(todo, sampled, option, end / work.value if work.value else 1.0)
        for end in (work.value, work.low, work.high)
    ]
    return RunTime(option.machines.cpus, Total(*wall_s), len(option.bounds))


def _wall_s(todo: Todo, sampled: Sampled, option: Option, factor: float) -> float:
    stored = sampled.stored
    return (
        overheads.START_S
        + overheads.END_S
        + schedule(
            factor * _sum_shards(sampled.strata, WORKER_S, todo, option.bounds),
            factor * _sum_shards(sampled.strata, ACTOR_S, todo, option.bounds),
            factor * np.array(todo.stored_parts, np.float64) * (stored.mean(ACTOR_S) if stored else 0.0),
            option.machines,
            actors_ready_s=sampled.load_cpu_s,
        )
    )


def _sum_shards(
    strata: Sequence[SampledStratum], quantity: str, todo: Todo, bounds: Iterable[tuple[int, int]]
) -> NDArray[np.float64]:
    """Return the expected sum of a quantity over the tracks of each shard."""
    means = np.array([stratum.mean(quantity) for stratum in strata])
    reached = np.concatenate([[0.0], np.cumsum(means[todo.stratum_of])]) if len(means) else np.zeros(1)
    ends = np.array([*bounds], np.int64).reshape(-1, 2)
    return np.asarray(reached[ends[:, 1]] - reached[ends[:, 0]], np.float64)


def _start_cpu_s(todo: Todo, sampled: Sampled, machines: Machines, wall_s: float) -> float:
    n_clients = 1 + machines.workers + machines.actors if todo.remote_tables else 0
    return (
        overheads.DRIVER_CPU_S
        + overheads.DRIVER_CPU_PER_S * wall_s
        + overheads.DRIVER_CPU_S_PER_TRACK * todo.n_listed
        + overheads.WORKER_CPU_S * machines.workers
        + (overheads.ACTOR_CPU_S + sampled.load_cpu_s) * machines.actors
        + overheads.STORE_CPU_S * n_clients
    )


def _count_failures(strata: Sequence[SampledStratum]) -> Total:
    """Return the tracks that fail: at most all but those that were seen not to."""
    found = extrapolate(strata, [FAILED])
    most = sum(each.n_tracks - sum(not unit.get(FAILED) for unit in each.units) for each in strata)
    return Total(found.value, found.low, min(found.high, most))


def _count_parts(todo: Todo, sampled: Sampled, option: Option, wall_s: float) -> overheads.RunParts:
    fail_rates = _sum_shards(sampled.strata, FAILED, todo, option.bounds)
    lengths = np.array([stop - start for start, stop in option.bounds], np.float64)
    fail_rates /= np.maximum(lengths, 1)
    # Where no track fails, or all do, one of the two parts is not written.
    n_features = float(np.sum(1 - fail_rates**lengths))
    n_parts = n_features + len(todo.stored_parts)
    return overheads.RunParts(
        n_shards=len(option.bounds),
        n_features_parts=n_features,
        n_labeled_parts=n_parts * _writes(sampled, "labels"),
        n_embeddings_parts=n_parts * _writes(sampled, "embeddings"),
        n_segment_labels_parts=n_parts * _writes(sampled, "segment_labels"),
        n_failures_parts=float(np.sum(1 - (1 - fail_rates) ** lengths)),
        n_looks=_count_looks(_sum_shards(sampled.strata, WORKER_S, todo, option.bounds))
        + _count_looks(np.full(round(n_parts), wall_s * option.machines.actors / max(1.0, n_parts))),
        wall_s=wall_s,
    )


def _count_looks(intervals_s: NDArray[np.float64]) -> float:
    """Return the looks at the lease of processes that write something after each of these intervals."""
    return float(np.sum(np.minimum(1.0, intervals_s / overheads.LOOK_HOLDS_S)))


def _writes(sampled: Sampled, table: str) -> bool:
    return f"{BYTES}{table}" in names_of(sampled.all_strata, BYTES)


def _fixed_bytes(todo: Todo, sampled: Sampled, parts: overheads.RunParts) -> dict[str, float]:
    """Return the bytes of each table that do not depend on its rows."""
    n_todo = len(todo.stratum_of) + todo.n_to_label
    # Stored features: the whole size of their labels is in the sample.
    n_parts = {"tracks": float(parts.n_shards), "failures": parts.n_failures_parts}
    fixed = {
        name: size * n_parts.get(name, parts.n_features_parts)
        for name, size in sampled.bytes_per_part.items()
    }
    run_files = overheads.RUN_BYTES + overheads.RUN_BYTES_PER_TRACK * n_todo + sampled.model_bytes
    return fixed | {RUN_FILES: run_files}


def _storage(todo: Todo, sampled: Sampled, parts: overheads.RunParts) -> dict[str, Total]:
    strata = sampled.all_strata
    fixed = _fixed_bytes(todo, sampled, parts)
    tables = [name.removeprefix(BYTES) for name in names_of(strata, BYTES)]
    found = {table: extrapolate(strata, [f"{BYTES}{table}"]).plus(fixed.get(table, 0.0)) for table in tables}
    return found | {RUN_FILES: Total.known(fixed[RUN_FILES])}


def _requests(todo: Todo, strata: Sequence[SampledStratum], parts: overheads.RunParts) -> dict[str, Total]:
    found = {name.removeprefix(REQUESTS): extrapolate(strata, [name]) for name in names_of(strata, REQUESTS)}
    known: list[Mapping[str, float]] = [todo.planning_requests]
    known += [overheads.table_requests(parts)] if todo.remote_tables else []
    for counts in known:
        for kind, n in counts.items():
            found[kind] = found.get(kind, Total.known(0.0)).plus(n)
    return found
