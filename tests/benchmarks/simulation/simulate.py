"""Runs the real engine on a simulated cluster."""

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import ray

from jobs.console.output import PlainConsole
from jobs.console.progress import Meter
from jobs.engine.assignment import Assignment, Totals
from jobs.engine.engine import Engine
from jobs.engine.lease import Lease
from jobs.engine.metrics import RunGauges
from jobs.engine.timeline import TimelineRecorder
from jobs.run.request import Job
from jobs.run.tasks import make_shards
from pipeline.catalogs.planning import Plan
from pipeline.shards.featurize_shard import Shard
from pipeline.storage import storage
from pipeline.tables.tables import VERSION_KEY, Tables
from schemas.config import RunConfig
from schemas.features import FeatureSpec
from schemas.report import Counts, RunReport
from tests.benchmarks.simulation import inputs
from tests.benchmarks.simulation.catalog import make_listing, resample
from tests.benchmarks.simulation.clock import VirtualClock
from tests.benchmarks.simulation.inputs import Measured
from tests.benchmarks.simulation.simulated_cluster import SimulatedCluster
from tests.benchmarks.simulation.simulated_ray import SimulatedRay
from tests.benchmarks.simulation.workload import Workload

_RUN = "20260101-000000-simulated"


@dataclass(frozen=True)
class Scenario:
    """What is simulated.

    Attributes
    ----------
    cpus, n_tracks : int
        Size of the cluster and of the catalog.
    losses_per_hour : float
        Rate at which each node is lost.
    seed : int
        Of the catalog and the losses.
    prefixes : int
        Prefixes of the store over which the catalog is spread.
    counts_driver : bool
        Whether the driver's CPU time passes; without it, a seed gives the same outcome each time.
    """

    cpus: int
    n_tracks: int
    losses_per_hour: float = 0.0
    seed: int = 0
    prefixes: int = 8
    counts_driver: bool = True


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes
    ----------
    scenario : Scenario
        What was simulated.
    wall_s : float
        Virtual seconds from the first shard that was cut to the last label.
    seconds : mapping of str to float
        CPU seconds of the cluster by what became of them; see `SHARES`. They add up to CPUs × wall time.
    driver_s : mapping of str to float
        Seconds for which the driver was busy, by what it did.
    n_shards, n_lost_nodes, n_lost_tracks, n_lost_parts, n_repeated_tracks : int
        Shards; nodes lost, tracks and parts that were worked on there, and tracks featurized more than once.
    labels_per_track : tuple of int
        Fewest and most rows in ``labels/`` that a track has in the end.
    requests : Counter of str to int
        Sent to the store, by kind.
    totals : Totals
        As the engine reported them.
    """

    scenario: Scenario
    wall_s: float
    seconds: Mapping[str, float]
    driver_s: Mapping[str, float]
    n_shards: int
    n_lost_nodes: int
    n_lost_tracks: int
    n_lost_parts: int
    n_repeated_tracks: int
    labels_per_track: tuple[int, int]
    requests: Counter[str]
    totals: Totals

    def share(self, what: str) -> float:
        """Return a share of the cluster's CPU time."""
        return self.seconds.get(what, 0.0) / (self.scenario.cpus * self.wall_s)

    @property
    def efficiency(self) -> float:
        """Share of the cluster's CPU time that decoded, featurized and labeled."""
        return self.share("work")

    @property
    def tracks_per_hour(self) -> float:
        """Tracks labeled an hour."""
        return self.scenario.n_tracks / self.wall_s * 3600

    @property
    def driver_ceiling(self) -> float:
        """Tracks a second at which the driver would always be busy."""
        return self.scenario.n_tracks / sum(self.driver_s.values())


SHARES = {
    "work": "decoding, featurizing and labeling what was finished",
    "store": "workers that waited for the store",
    "start": "before the first task, and workers and actors that load",
    "driver": "free CPUs while shards waited in the driver",
    "ray": "free CPUs while tasks waited in Ray",
    "actors": "held by actors that had nothing to do or waited for the store",
    "shards": "free at the end, while the last shards ran",
    "parts": "free at the end, while actors labeled",
    "lost": "thrown away with lost nodes, or not there",
}


def simulate(scenario: Scenario, measured: Measured) -> Outcome:
    """Run the engine on a simulated cluster until every track is labeled.

    Parameters
    ----------
    scenario : Scenario
        What is simulated.
    measured : Measured
        What was measured on a real machine.
    """
    rng = np.random.default_rng(scenario.seed)
    kinds = resample(measured.tracks, scenario.n_tracks, rng)
    listing = make_listing(measured.tracks, kinds)
    workload = Workload(measured, kinds, prefixes=scenario.prefixes)
    clock = VirtualClock(counts_cpu=scenario.counts_driver)
    with ExitStack() as stack:
        shards = cut(listing, scenario.cpus)
        with clock.simulating():
            cluster = SimulatedCluster(
                workload,
                cpus=scenario.cpus,
                load_s=measured.model_load_s,
                shards=[shard.name for shard in shards],
                losses_per_hour=scenario.losses_per_hour,
                rng=rng,
            )
            stack.enter_context(_in_place_of_ray(SimulatedRay(clock, measured.ray, cluster), clock))
            totals = Totals(cpus=scenario.cpus, timeline=TimelineRecorder(clock.monotonic))
            report = stack.enter_context(_reporting(scenario.n_tracks, totals))
            engine = Engine(assignment(), totals, report)
        engine.run(shards, [])
        with clock.simulating(then=cluster.run_until):
            cluster.close()
    copies = workload.copies_of_labels()
    return Outcome(
        scenario=scenario,
        wall_s=clock.now,
        seconds=cluster.seconds,
        driver_s=clock.driver_s,
        n_shards=len(shards),
        n_lost_nodes=cluster.n_lost_nodes,
        n_lost_tracks=cluster.n_lost_tracks,
        n_lost_parts=cluster.n_lost_parts,
        n_repeated_tracks=int((workload.featurized - 1).sum()),
        labels_per_track=(int(copies.min()), int(copies.max())),
        requests=workload.requests,
        totals=totals,
    )


def cut(listing: pa.Table, cpus: int) -> list[Shard]:
    """Cut a catalog into shards, as a run does."""
    nothing = listing.slice(0, 0)
    versions = nothing.select(list(VERSION_KEY))
    plan = Plan(
        listing=listing,
        n_labeled=0,
        n_failed=0,
        to_featurize=listing,
        to_label=nothing,
        changed=nothing,
        gone=nothing,
        to_embed=versions,
        embedded=versions,
    )
    job = cast(Job, SimpleNamespace(config=RunConfig(), spec=FeatureSpec()))
    return make_shards(job, plan, _RUN, datetime.now(UTC), cpus)


def assignment() -> Assignment:
    root = "s3://bucket/tables"
    return Assignment(
        run_date="2026-01-01",
        tables=Tables(root),
        lease=Lease(root, 1),
        spec=FeatureSpec(),
        model="model-00000000",
        model_location=f"{root}/_models/model-00000000",
        config=RunConfig(),
    )


@contextmanager
def _in_place_of_ray(simulated: SimulatedRay, clock: VirtualClock) -> Iterator[None]:
    """Put the simulation in the place of Ray, the clock and the store during a ``with`` block."""

    def delete(location: str, **_: object) -> None:
        with clock.simulating("delete", inputs.DELETE_S):
            pass

    engine = {
        "engine.ray": simulated,
        "engine.time": clock,
        "engine.start_featurize": simulated.start_featurize,
        "engine.start_label_isolated": simulated.start_label_isolated,
        "cluster_size.time": clock,
        "actor_pool.ray": simulated,
        "actor_pool.time": clock,
        "actor_pool.start_labeler": simulated.start_labeler,
        "work_queues.storage": SimpleNamespace(explain_errors=storage.explain_errors, delete=delete),
    }
    with ExitStack() as stack:
        for name, part in engine.items():
            stack.enter_context(patch(f"jobs.engine.{name}", part))
        # The functions of `jobs.engine.cluster` look these up when they are called.
        stack.enter_context(patch.object(ray, "cluster_resources", simulated.cluster_resources))
        stack.enter_context(patch.object(ray, "nodes", simulated.nodes))
        yield


@contextmanager
def _reporting(n_tracks: int, totals: Totals) -> Iterator[Callable[[Totals], None]]:
    """Yield a function that reports as a run does: to a progress meter and to Ray's metrics."""
    counts = Counts(listed=n_tracks, labeled_before=0, failed_before=0, left=n_tracks, gone=0)
    first = RunReport(
        run=_RUN,
        command="run",
        catalog="s3://bucket/music",
        outcome="running",
        started_at=datetime.now(UTC),
        counts=counts,
        feature_set=FeatureSpec().feature_set,
        features=FeatureSpec().model_dump(),
        config=RunConfig().model_dump(),
        versions={},
    )
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w", encoding="utf-8") as nowhere:
        meter = Meter("labeling", n_tracks, "tracks", PlainConsole(file=nowhere))

        def show(totals: Totals) -> None:
            finished = totals.labeled + totals.failed
            note = f"{totals.featurized:,} featurized · {totals.failed:,} failed"
            meter.show(finished, note, under_way=finished > 0)

        with RunGauges(first, Tables(folder), totals, lambda: 1.0):
            yield show
