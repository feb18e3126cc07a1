"""What runs on Ray: a task that featurizes a shard, and an actor that labels parts."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.engine.assignment import Assignment
from jobs.engine.environment import Origin
from jobs.engine.flights import Try
from jobs.engine.lease import Lease
from pipeline.log import about, get_logger, level
from pipeline.log_events import Event, recorded
from pipeline.models.bundle import Classifier, ModelBundle
from pipeline.shards.featurize_shard import Shard, ShardResult, featurize_shard
from pipeline.shards.label_part import LabelResult, LabelTask, label_part
from pipeline.shards.limits import TrackLimits
from pipeline.tables.tables import Tables
from schemas.errors import EnvironmentFaultError, LabelError
from schemas.features import FeatureSpec

log = get_logger(__name__)

PREDICT_TIMEOUT_S = 300.0
"""Seconds that the model may take for a row group, which takes less than one as a rule: a driver or a library
that hangs ends its worker, as if it had crashed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a task came to, and where.

    Attributes
    ----------
    origin : Origin
        Where.
    result : ShardResult, LabelResult, LabelError or EnvironmentFaultError
        What came of it; an `EnvironmentFaultError`: the node cannot do the work, whatever it is given.
    events : tuple of Event
        What was logged meanwhile.
    """

    origin: Origin
    result: ShardResult | LabelResult | LabelError | EnvironmentFaultError
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """Where an actor has loaded the model, and what was logged meanwhile."""

    origin: Origin
    events: tuple[Event, ...]


def answered(
    work: Callable[[], ShardResult | LabelResult | LabelError], task: Shard | LabelTask, log_level: int
) -> Answer:
    """Do some work on this node, and return what comes of it; a fault of the node is an answer too.

    Parameters
    ----------
    work : callable
        Does it. What else it raises is raised, with what was logged as the attribute ``events``.
    task : Shard or LabelTask
        What it is done for, for the log.
    log_level : int
        Level from which on the driver wants log records.
    """
    origin = Origin.here()
    with recorded(log_level) as buffer, about(run=task.run, shard=task.name, node=origin.address):
        try:
            result = work()
        except EnvironmentFaultError as fault:
            return Answer(origin, fault, buffer.events())
        except Exception as error:
            with suppress(AttributeError):  # it has slots; its own reason is what counts
                error.events = buffer.events()  # type: ignore[attr-defined]
            raise
    return Answer(origin, result, buffer.events())


def events_of(error: Exception) -> tuple[Event, ...]:
    """Return what a worker logged before it raised an error, as far as that came along."""
    events: tuple[Event, ...] = getattr(error, "events", ())
    return events


def featurize(
    shard: Shard,
    tables: Tables,
    spec: FeatureSpec,
    lease: Lease,
    limits: TrackLimits,
    isolated: bool,
    confirming: bool,
    log_level: int,
) -> Answer:
    """Featurize a shard; a track that takes too much ends this worker, or the process it is isolated in."""
    return answered(
        lambda: featurize_shard(
            shard, tables, spec, lease.check, limits=limits, isolated=isolated, confirming=confirming
        ),
        shard,
        log_level,
    )


# The engine retries and splits; Ray shall not, since it cannot name a bad file.
_featurize = ray.remote(num_cpus=1, max_retries=0)(featurize)


def on_node(node: str | None) -> dict[str, Any]:
    """Return options of a Ray task that is to run on a node, as long as that lives."""
    if node is None:
        return {}
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=True)}


def start_featurize(tried: Try, assignment: Assignment, node: str | None) -> Any:
    """Start the task that featurizes a shard; the reference to the `Answer` with its `ShardResult`."""
    config = assignment.config
    limits = TrackLimits(config.track_timeout_s, config.track_memory_mb << 20)
    return _featurize.options(**on_node(node)).remote(
        tried.work,
        assignment.tables,
        assignment.spec,
        assignment.lease,
        limits,
        isolated=tried.isolated,
        confirming=tried.confirming,
        log_level=level(),
    )


class Labeler:
    """An actor that keeps the model in memory and labels one part after the other.

    Parameters
    ----------
    model : str
        Location of the model, which every node can read.
    batch_size : int
        Segments the network takes at once.
    use_gpu : bool
        Whether the actor was given a GPU. Ray hides no GPU from an actor that asked for none.
    log_level : int, optional
        Level from which on the driver wants log records; that of this process if not given.

    Attributes
    ----------
    classifier : Classifier
        The model.
    """

    def __init__(self, model: str, batch_size: int, use_gpu: bool, log_level: int | None = None) -> None:
        if not use_gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        self._log_level = level() if log_level is None else log_level
        with recorded(self._log_level) as buffer:
            start = time.monotonic()
            self.classifier = Classifier(ModelBundle.load(model), threads=1, batch_size=batch_size)
            log.info("model loaded", model=model, seconds=time.monotonic() - start, gpu=use_gpu)
        self._loading = buffer.events()

    def ready(self) -> Loaded:
        """Answers when the model is loaded."""
        return Loaded(Origin.here(), self._loading)

    def answer(self, task: LabelTask, assignment: Assignment) -> Answer:
        """Label a part, for the engine."""
        return answered(lambda: self.label(task, assignment), task, self._log_level)

    def label(self, task: LabelTask, assignment: Assignment) -> LabelResult:
        """Label a part."""
        return label_part(
            task,
            assignment.tables,
            self.classifier,
            assignment.lease.check,
            segment_labels=assignment.config.segment_labels,
            min_confidence=assignment.config.min_confidence,
            timeout_s=PREDICT_TIMEOUT_S,
        )


def start_labeler(
    model: str, *, batch_size: int, num_cpus: float, num_gpus: float, node: str | None = None
) -> Any:
    """Start a `Labeler` actor. The engine, not Ray, replaces one that dies: it knows when to give up."""
    options = {"scheduling_strategy": "SPREAD"} | on_node(node)
    actor = ray.remote(Labeler).options(
        num_cpus=num_cpus, num_gpus=num_gpus, max_restarts=0, max_task_retries=0, **options
    )
    return actor.remote(model, batch_size, num_gpus > 0, level())
