"""Runs the engine on a real local Ray whose tasks and actors sleep, to compare the simulation with it.

Ray is told that the machine has more CPUs than it has: sleeping takes none. So what Ray does is real (where
it places tasks and actors, when and how fast), and what tracks and the store take is as in the simulation.
"""

import sys
import time
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import numpy as np
import ray
from ray import cloudpickle

from jobs.engine.assignment import Assignment, Totals
from jobs.engine.attempts import Attempt
from jobs.engine.cluster import connected
from jobs.engine.engine import Engine
from jobs.engine.environment import Origin
from jobs.engine.workers import Answer, Loaded
from pipeline.shards.featurize_shard import Shard, ShardResult
from pipeline.shards.label_part import LabelResult, LabelTask
from schemas.config import RunConfig
from tests.benchmarks.simulation import inputs
from tests.benchmarks.simulation.catalog import make_listing, resample
from tests.benchmarks.simulation.inputs import Measured
from tests.benchmarks.simulation.simulate import Scenario, assignment, cut
from tests.benchmarks.simulation.workload import Workload

_NAP_S = 5.0
_warm: list[bool] = []
"""Of a worker process: whether it has done a task."""


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


def _featurize(shard: Shard, seconds: float, n_segments: int) -> Answer:
    """Sleep in the place of `jobs.engine.workers.featurize`."""
    if not _warm:
        _warm.append(True)
        seconds += inputs.WORKER_START_S
    time.sleep(seconds)
    n_tracks = shard.tracks.num_rows
    return Answer(Origin.here(), ShardResult(n_tracks, 0, n_segments, 0.0, {"decode": seconds}))


class _Labeler:
    """Sleeps in the place of `jobs.engine.workers.Labeler`."""

    def __init__(self, load_s: float) -> None:
        time.sleep(load_s)

    def ready(self) -> Loaded:
        """Return when the model is loaded."""
        return Loaded(Origin.here(), ())

    def answer(self, task: LabelTask, seconds: float) -> Answer:
        """Label a part."""
        time.sleep(seconds)
        n_tracks = task.tracks.num_rows
        return Answer(Origin.here(), LabelResult(n_tracks, 0, 0, 0, {}, {"predict": seconds}))


class _Actor:
    """A handle that tells the actor how long to sleep."""

    def __init__(self, actor: Any, workload: Workload) -> None:
        self.ready = actor.ready
        self.handle = actor
        self._workload = workload

    @property
    def answer(self) -> "_Actor":
        """The method `answer`."""
        return self

    def remote(self, task: LabelTask, assignment: Assignment) -> Any:
        """Call it."""
        return self.handle.answer.remote(task, self._workload.labeling(task).total_s)


def run_sleeping(scenario: Scenario, measured: Measured) -> tuple[float, Totals]:
    """Return the seconds of a run on a real Ray, from the first task on, and its totals."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    cloudpickle.register_pickle_by_value(inputs)
    kinds = resample(measured.tracks, scenario.n_tracks, np.random.default_rng(scenario.seed))
    workload = Workload(measured, kinds, prefixes=scenario.prefixes)
    shards = cut(make_listing(measured.tracks, kinds), scenario.cpus)
    task = ray.remote(num_cpus=1, max_retries=0)(_featurize)
    labeler = ray.remote(_Labeler)

    def start_featurize(attempt: Attempt, assignment: Assignment, node: str | None) -> Any:
        shard = attempt.work
        assert isinstance(shard, Shard)
        return task.remote(shard, workload.featurizing(shard, time.monotonic()).total_s, 0)

    def start_labeler(model: str, *, num_cpus: float, **_: object) -> _Actor:
        actor = labeler.options(num_cpus=num_cpus, scheduling_strategy="SPREAD")
        return _Actor(actor.remote(measured.model_load_s), workload)

    with ExitStack() as stack:
        stack.enter_context(connected(RunConfig(cpus=scenario.cpus)))
        _start_workers(scenario.cpus)
        stack.enter_context(patch("jobs.engine.engine.start_featurize", start_featurize))
        stack.enter_context(patch("jobs.engine.actor_pool.start_labeler", start_labeler))
        start = time.monotonic()
        totals = Engine(assignment(), Totals(), lambda totals: None).run(shards, [])
        return time.monotonic() - start, totals


def _start_workers(cpus: int) -> None:
    """Start the processes of all workers, which would take few real cores longer than as many as Ray has."""
    nap = ray.remote(num_cpus=1)(_sleep)
    ray.get([nap.remote(_NAP_S) for _ in range(2 * cpus)])
