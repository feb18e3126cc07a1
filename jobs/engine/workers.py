"""What runs on Ray: a task that featurizes a shard, and an actor that labels parts."""

import os
from contextlib import closing
from typing import Any

import ray

from jobs.engine.assignment import Assignment
from jobs.engine.lease import Lease
from pipeline.models.model import Classifier, ModelBundle
from pipeline.shards.featurize_shard import Shard, ShardResult, featurize_shard
from pipeline.shards.isolation import Isolated, ProcessDiedError, surviving
from pipeline.shards.label_part import LabelResult, LabelTask, label_part
from pipeline.shards.limits import TIMED_OUT, TrackLimits
from pipeline.tables.tables import Tables
from schemas.errors import LabelerCrashedError
from schemas.features import FeatureSpec

_PREDICT_TIMEOUT_S = 300.0
"""Seconds that the model may take for a row group, which takes less than one as a rule: a driver or a library
that hangs ends its worker, as if it had crashed."""


def featurize(
    shard: Shard, tables: Tables, spec: FeatureSpec, lease: Lease, limits: TrackLimits, isolated: bool
) -> ShardResult:
    """Featurize a shard; a track that takes too much ends this worker, or the process it is isolated in."""
    return featurize_shard(shard, tables, spec, lease.check, limits=limits, isolated=isolated)


# The engine retries and splits; Ray shall not, since it cannot name a bad file.
_featurize = ray.remote(num_cpus=1, max_retries=0)(featurize)


def start_featurize(shard: Shard, assignment: Assignment, *, isolated: bool) -> Any:
    """Start the task that featurizes a shard; the reference to its `ShardResult`."""
    config = assignment.config
    limits = TrackLimits(config.track_timeout_s, config.track_memory_mb << 20)
    return _featurize.remote(
        shard, assignment.tables, assignment.spec, assignment.lease, limits, isolated=isolated
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
    """

    def __init__(self, model: str, batch_size: int, use_gpu: bool) -> None:
        if not use_gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        self._classifier = Classifier(ModelBundle.load(model), threads=1, batch_size=batch_size)

    def ready(self) -> str:
        """Answers, when the model is loaded, with the id of the actor's node."""
        return str(ray.get_runtime_context().get_node_id())

    def label(self, task: LabelTask, assignment: Assignment) -> LabelResult:
        """Label a part."""
        return label_part(
            task,
            assignment.tables,
            self._classifier,
            assignment.lease.check,
            segment_labels=assignment.config.segment_labels,
            min_confidence=assignment.config.min_confidence,
            timeout_s=_PREDICT_TIMEOUT_S,
        )


def start_labeler(model: str, *, batch_size: int, num_cpus: float, num_gpus: float) -> Any:
    """Start a `Labeler` actor. The engine, not Ray, replaces one that dies: it knows when to give up."""
    actor = ray.remote(Labeler).options(
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        max_restarts=0,
        max_task_retries=0,
        scheduling_strategy="SPREAD",
    )
    return actor.remote(model, batch_size, num_gpus > 0)


def label_alone(task: LabelTask, assignment: Assignment) -> LabelResult | LabelerCrashedError:
    """Label a track that is suspected of killing actors, in a process of its own."""
    with closing(Isolated()) as process:
        try:
            result: LabelResult = surviving(process, _label_once, task, assignment)
        except ProcessDiedError as death:
            return LabelerCrashedError(_what_it_did(death, task.tracks["uri"][0].as_py()))
    return result


def _what_it_did(death: ProcessDiedError, uri: str) -> str:
    """What a track's features did to the model's process."""
    if death.code == TIMED_OUT:
        return f"{uri} has features for which the model takes more than {_PREDICT_TIMEOUT_S:.0f} s"
    return f"{uri} has features that crash the model's process ({death.how})"


def _label_once(task: LabelTask, assignment: Assignment) -> LabelResult:
    return Labeler(assignment.model_location, batch_size=1, use_gpu=False).label(task, assignment)


_label_alone = ray.remote(num_cpus=1, max_retries=0)(label_alone)


def start_label_alone(task: LabelTask, assignment: Assignment) -> Any:
    """Start the task that labels a suspect; the reference to what `label_alone` returns."""
    return _label_alone.remote(task, assignment)
