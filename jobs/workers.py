"""What runs on Ray: a task that featurizes a shard, and an actor that labels parts."""

import faulthandler
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import ray

from jobs.lease import Lease
from pipeline.featurize_shard import Shard, ShardResult, featurize_shard
from pipeline.label_part import LabelResult, LabelTask, label_part
from pipeline.model import Classifier, ModelBundle
from pipeline.tables import Tables
from schemas.features import FeatureSpec


def featurize(
    shard: Shard, tables: Tables, spec: FeatureSpec, lease: Lease, track_timeout_s: float
) -> ShardResult:
    """Featurize a shard on a worker, which ends itself when a track takes too long."""
    return featurize_shard(shard, tables, spec, lease.check, guard=partial(_watchdog, track_timeout_s))


@contextmanager
def _watchdog(timeout_s: float) -> Iterator[None]:
    """End this process if the block takes longer: nothing else stops a decoder that loops in C.

    The engine takes it for a crash, and finds the track as it finds one that crashes.
    """
    faulthandler.dump_traceback_later(timeout_s, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


# The engine retries and splits; Ray shall not, since it cannot name a bad file.
_featurize = ray.remote(num_cpus=1, max_retries=0)(featurize)


def start_featurize(
    shard: Shard, tables: Tables, spec: FeatureSpec, lease: Lease, track_timeout_s: float
) -> Any:
    """Start the task that featurizes a shard; the reference to its `ShardResult`."""
    return _featurize.remote(shard, tables, spec, lease, track_timeout_s)


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

    def ready(self) -> bool:
        """Whether the model is loaded: answers when it is."""
        return True

    def label(
        self, task: LabelTask, tables: Tables, lease: Lease, segment_labels: bool, min_confidence: float
    ) -> LabelResult:
        """Label a part."""
        return label_part(
            task,
            tables,
            self._classifier,
            lease.check,
            segment_labels=segment_labels,
            min_confidence=min_confidence,
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
