"""Code that runs on Ray: a task that featurizes a shard, and an actor that labels parts."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.engine.assignment import Assignment
from jobs.engine.attempts import Attempt
from jobs.engine.environment import Origin
from pipeline.log import about, get_logger, level
from pipeline.log_events import Event, record_events
from pipeline.models.ensemble import load_bundle
from pipeline.models.ensemble_classifier import load_classifier
from pipeline.models.shared_classifier import SharedClassifier
from pipeline.models.tensorflow_setup import use_only_our_keras
from pipeline.shards.featurize_shard import Shard, ShardResult, featurize_shard
from pipeline.shards.known_good_features import label_known_good
from pipeline.shards.label_part import LabelResult, LabelTask, label_part
from pipeline.shards.limits import TrackLimits, allow_time_limits, time_limit
from pipeline.storage.requests import take_bytes, take_requests
from schemas.errors import EnvironmentFaultError, LabelError

log = get_logger(__name__)

PREDICT_TIMEOUT_S = 300.0
"""Seconds that the model may take for a batch, which usually takes less than one. A GPU driver or library
that hangs ends its worker, as if it had crashed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of a task, and where it ran.

    Attributes
    ----------
    origin : Origin
        Where it ran.
    result : ShardResult, LabelResult, LabelError or EnvironmentFaultError
        The outcome; an `EnvironmentFaultError` means that the node fails on known-good input.
    events : tuple of Event
        What was logged while it ran.
    requests : dict of str to int
        Requests that this process has sent to object stores since its last answer, by kind.
    store_bytes : dict of str to int
        Bytes that it has received from them and sent to them meanwhile.
    """

    origin: Origin
    result: ShardResult | LabelResult | LabelError | EnvironmentFaultError
    events: tuple[Event, ...] = ()
    requests: dict[str, int] = field(default_factory=dict)
    store_bytes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Where an actor has loaded the model, and what was logged while it did."""

    origin: Origin
    events: tuple[Event, ...]


def run_work(
    work: Callable[[], ShardResult | LabelResult | LabelError], task: Shard | LabelTask, log_level: int
) -> Answer:
    """Run work on this node and return its outcome; a fault of the node is also an outcome.

    Parameters
    ----------
    work : callable
        The work. Other exceptions propagate, with the attributes ``events``, the log, and ``origin``.
    task : Shard or LabelTask
        The task of the work, for the log.
    log_level : int
        Lowest level of log records to send to the driver.
    """
    schedule_as_batch()
    origin = Origin.here()
    with record_events(log_level) as buffer, about(run=task.run, shard=task.name, node=origin.address):
        try:
            result = work()
        except EnvironmentFaultError as fault:
            return Answer(origin, fault, buffer.events(), take_requests(), take_bytes())
        except Exception as error:
            with suppress(AttributeError):  # it has slots; raising it matters more
                error.events, error.origin = buffer.events(), origin  # type: ignore[attr-defined]
            raise
    return Answer(origin, result, buffer.events(), take_requests(), take_bytes())


def schedule_as_batch() -> None:
    """Tell the kernel that this thread, and those that it starts, compute for long and answer nobody.

    A node has more processes that compute than CPUs: an actor may have no CPU of its own, and Ray's processes
    need a little. Batch threads do not interrupt each other whenever one wakes. On two CPUs that saves an
    eighth of the context switches, and some 3 % of the time of a run.
    """
    with suppress(AttributeError, OSError):  # other systems than Linux; containers that forbid it
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def events_of(error: Exception) -> tuple[Event, ...]:
    """Return what a worker logged before it raised an error, if the error carries it."""
    events: tuple[Event, ...] = getattr(error, "events", ())
    return events


def origin_of(error: Exception) -> Origin | None:
    """Return where a worker raised an error, if the error carries it."""
    origin: Origin | None = getattr(error, "origin", None)
    return origin


def featurize(attempt: Attempt, assignment: Assignment, log_level: int) -> Answer:
    """Featurize a shard; a track that exceeds its limits ends this worker, or its isolated process."""
    shard = cast("Shard", attempt.work)  # an actor does the other work
    return run_work(
        lambda: featurize_shard(
            shard,
            assignment.tables,
            assignment.spec,
            assignment.lease.check,
            limits=TrackLimits.of(assignment.config),
            isolated=attempt.isolated,
            confirming=attempt.confirming,
            retried=attempt.retried,
        ),
        shard,
        log_level,
    )


# The engine retries and splits work. Ray must not, since it cannot identify a bad file.
_featurize = ray.remote(num_cpus=1, max_retries=0)(featurize)


def on_node(node: str | None) -> dict[str, Any]:
    """Return the options that run a Ray task on a node, and nowhere else."""
    if node is None:
        return {}
    # A soft affinity would ask the node that is avoided for its second opinion if this one has just died.
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


def start_featurize(attempt: Attempt, assignment: Assignment, node: str | None) -> Any:
    """Start the task that featurizes a shard; return the reference to its `Answer`."""
    return _featurize.options(**on_node(node)).remote(attempt, assignment, level())


class _TimedTurns:
    """A guard for all networks of an actor: they take turns, each for a limited time.

    A process has one time limit at a time, and an actor usually one CPU.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._turn, time_limit(PREDICT_TIMEOUT_S):
            yield


class Labeler:
    """An actor that keeps the model in memory. Ray calls it for several parts at once, each in a thread.

    While the network runs for one part, others are read and written.

    Parameters
    ----------
    model : str
        Location of the model, readable from every node.
    batch_size : int
        Segments the network takes at once.
    use_gpu : bool
        Whether the actor has a GPU. Ray does not hide GPUs from an actor that requests none.
    log_level : int, optional
        Lowest level of log records to send to the driver; that of this process if not given.

    Attributes
    ----------
    classifier : SharedClassifier or EnsembleClassifier
        The model.
    """

    def __init__(self, model: str, batch_size: int, use_gpu: bool, log_level: int | None = None) -> None:
        if not use_gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        use_only_our_keras()
        allow_time_limits()
        self._log_level = level() if log_level is None else log_level
        with record_events(self._log_level) as buffer:
            start = time.monotonic()
            load = partial(SharedClassifier, threads=1, batch_size=batch_size, guard=_TimedTurns())
            self.classifier = load_classifier(load_bundle(model), load)
            label_known_good(self.classifier)
            log.info("model loaded", model=model, seconds=time.monotonic() - start, gpu=use_gpu)
        self._loading = buffer.events()

    def ready(self) -> Loaded:
        """Return when the model is loaded."""
        return Loaded(Origin.here(), self._loading)

    def answer(self, task: LabelTask, assignment: Assignment) -> Answer:
        """Label a part, for the engine."""
        return run_work(lambda: self.label(task, assignment), task, self._log_level)

    def label(self, task: LabelTask, assignment: Assignment, *, confirming: bool = False) -> LabelResult:
        """Label a part; see `label_part`.

        Raises
        ------
        EnvironmentFaultError
            If the network returned nothing usable, neither for tracks nor for known-good features.
        """
        result = label_part(
            task,
            assignment.tables,
            self.classifier,
            assignment.lease.check,
            segment_labels=assignment.config.segment_labels,
            embeddings=assignment.config.embeddings,
            min_confidence=assignment.config.min_confidence,
            confirming=confirming,
        )
        if result.suspects:
            label_known_good(self.classifier)
        return result


# One class for all actors: exporting it to the cluster takes the driver milliseconds.
_labeler = ray.remote(Labeler)


def start_labeler(
    model: str,
    *,
    batch_size: int,
    parts_at_once: int,
    num_cpus: float,
    num_gpus: float,
    node: str | None = None,
) -> Any:
    """Start a `Labeler` actor. The engine, not Ray, replaces dead actors, since it knows when to give up."""
    # A hard affinity: with a soft one, Ray still places an actor without CPUs on the head.
    strategy = "SPREAD" if node is None else NodeAffinitySchedulingStrategy(node, soft=False)
    actor = _labeler.options(
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        max_concurrency=parts_at_once,
        max_restarts=0,
        max_task_retries=0,
        scheduling_strategy=strategy,
    )
    return actor.remote(model, batch_size, num_gpus > 0, level())
