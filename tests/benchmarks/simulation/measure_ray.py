"""Measures how long Ray's calls block the driver, on a real local Ray with the arguments of a real run."""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from ray import cloudpickle
from ray.cluster_utils import Cluster

from jobs.engine.assignment import Assignment
from jobs.engine.attempts import Attempt
from jobs.engine.cluster import connected
from jobs.engine.environment import Origin
from jobs.engine.lease import Lease
from jobs.engine.workers import Answer, start_labeler
from pipeline.log_events import Event
from pipeline.shards.featurize_shard import Shard, ShardResult
from pipeline.shards.label_part import LabelTask
from pipeline.tables.tables import Tables
from schemas.config import RunConfig
from schemas.features import FeatureSpec
from tests.benchmarks.simulation.catalog import make_listing
from tests.benchmarks.simulation.inputs import RayCosts, TrackCost

_RUN = "20260101-000000-simulated"
_SHARD_TRACKS = (8, 32, 128)
_REFERENCES = (8, 32, 512, 2048, 8192)
_EXTRA_NODES = 8


class _Stub:
    """An actor in the place of `Labeler`, which answers at once."""

    def answer(self, task: object, assignment: object) -> Answer:
        """Return an answer of the usual size."""
        return _answer()


def _nothing(*args: object, **options: object) -> None:
    """Take the arguments of `featurize`."""


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


def measure_ray() -> RayCosts:
    """Measure on a local Ray of one CPU, and on one of nine nodes for what grows with nodes."""
    # Workers do not find this module: the folder of the tests is not on their path.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with connected(RunConfig(cpus=1)):
        blocker = ray.remote(num_cpus=1, max_retries=0)(_sleep).remote(3600.0)
        resources = {1: _least_s(ray.cluster_resources)}
        nodes = {1: _least_s(ray.nodes)}
        submit_shard = {n: _submit_shard_s(n) for n in _SHARD_TRACKS}
        wait = _wait_s()
        actor = ray.remote(_Stub).options(num_cpus=0).remote()
        ray.get(actor.answer.remote(None, None))
        submit_part = {n: _submit_part_s(actor, n) for n in _SHARD_TRACKS}
        references = [actor.answer.remote(None, None) for _ in range(200)]
        ray.wait(references, num_returns=len(references))
        get_s = median(_seconds(partial(ray.get, ref)) for ref in references)
        started: list[Any] = []
        start_s = _median_s(lambda: started.append(_start_actor()), 8)
        kill_s = median(_seconds(partial(ray.kill, actor)) for actor in started)
        ray.cancel(blocker, force=True)
    resources[1 + _EXTRA_NODES], nodes[1 + _EXTRA_NODES] = _many_nodes_s()
    return RayCosts(
        submit_shard_s=submit_shard,
        submit_part_s=submit_part,
        wait_s=wait,
        get_s=get_s,
        cluster_resources_s=resources,
        nodes_s=nodes,
        start_actor_s=start_s,
        kill_s=kill_s,
    )


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _median_s(call: Callable[[], object], n_times: int) -> float:
    return median(_seconds(call) for _ in range(n_times))


def _least_s(call: Callable[[], object]) -> float:
    """Return the seconds that a question to the cluster's head takes if nothing else runs."""
    return min(_seconds(call) for _ in range(400))


def _start_actor() -> Any:
    return start_labeler("model", batch_size=8, parts_at_once=1, num_cpus=1, num_gpus=0)


def _submit_shard_s(n_tracks: int) -> float:
    """Submit as `start_featurize` does; the tasks wait for the only CPU."""
    task = ray.remote(num_cpus=1, max_retries=0)(_nothing)
    assignment = _assignment()
    tracks, feature_set = _tracks(n_tracks), assignment.spec.feature_set
    attempts = [
        Attempt(Shard(f"{number:06}", _RUN, feature_set, tracks, datetime.now(UTC))) for number in range(100)
    ]
    return median(_seconds(partial(task.options().remote, attempt, assignment, 20)) for attempt in attempts)


def _submit_part_s(actor: Any, n_tracks: int) -> float:
    assignment = _assignment()
    tracks, feature_set = _tracks(n_tracks), assignment.spec.feature_set
    tasks = [
        LabelTask(f"{n:06}", _RUN, "2026-01-01", "model", "s3://bucket/part", feature_set, tracks)
        for n in range(100)
    ]
    return median(_seconds(partial(actor.answer.remote, task, assignment)) for task in tasks)


def _assignment() -> Assignment:
    tables, lease = Tables("s3://bucket/tables"), Lease("s3://bucket/tables", 1)
    return Assignment("2026-01-01", tables, lease, FeatureSpec(), "model", "s3://bucket/model", RunConfig())


def _wait_s() -> dict[int, float]:
    """Wait for one reference that is ready among others whose tasks wait for the only CPU."""
    task, ready = ray.remote(num_cpus=1, max_retries=0)(_nothing), ray.put(1)
    pending = [task.remote() for _ in range(max(_REFERENCES))]
    return {
        n: _median_s(partial(ray.wait, [*pending[: n - 1], ready], num_returns=1, timeout=0.5), 50)
        for n in _REFERENCES
    }


def _many_nodes_s() -> tuple[float, float]:
    """Return the seconds of `ray.cluster_resources` and `ray.nodes` on a cluster of several raylets."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        for _ in range(_EXTRA_NODES):
            cluster.add_node(num_cpus=0, object_store_memory=80 << 20, wait=False)
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False)
        try:
            return _least_s(ray.cluster_resources), _least_s(ray.nodes)
        finally:
            ray.shutdown()
    finally:
        cluster.shutdown()


def _tracks(n_tracks: int) -> pa.Table:
    track = TrackCost(cpu_s=1.0, size_bytes=6_000_000, n_segments=3)
    return make_listing((track,), np.zeros(n_tracks, np.int64))


def _answer() -> Answer:
    uri = "s3://bucket/music/Artist 000123/Album 000456/07 Track 00001234.mp3"
    result = ShardResult(
        128,
        0,
        384,
        11520.0,
        {"fetch": 1.0, "tags": 1.0, "decode": 1.0, "log_mel": 1.0, "write": 1.0},
        slowest=((1.0, uri),) * 20,
    )
    fields = {"tracks": 128, "failed": 0, "suspected": 0, "seconds": 20.0, "run": _RUN, "shard": "000001"}
    event = Event(0.0, 20, "pipeline.shards.featurize_shard", "shard featurized", fields)
    return Answer(Origin.here(), result, (event,), {"GET": 130, "PUT": 3, "LIST": 1})
