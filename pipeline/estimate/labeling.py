"""Measures what labeling takes, in a child process like an actor: it loads the model and labels parts."""

import os
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from pipeline.models.ensemble import Bundle
from pipeline.shards.isolation import Isolated, ProcessDiedError, call_with_restarts
from pipeline.shards.label_part import LabelResult, LabelTask, label_part
from pipeline.tables.tables import Tables
from schemas.config import RunConfig
from schemas.errors import EarmarkError


@dataclass(frozen=True, slots=True)
class LabeledPart:
    """A labeled part: its result, and the CPU seconds that it took."""

    result: LabelResult
    cpu_s: float


@dataclass(frozen=True, slots=True)
class MeasuredLabeling:
    """What labeling took.

    Attributes
    ----------
    load_cpu_s : float
        CPU seconds until the model was loaded, from the start of the process.
    parts : tuple of LabeledPart
        The parts, in the order of the tasks.
    """

    load_cpu_s: float
    parts: tuple[LabeledPart, ...]


def measure_labeling(
    tasks: Sequence[LabelTask], tables: Tables, bundle: Bundle, config: RunConfig
) -> MeasuredLabeling:
    """Label parts on a CPU.

    Parameters
    ----------
    tasks : sequence of LabelTask
        What to label.
    tables : Tables
        Where the labels go.
    bundle : ModelBundle or Ensemble
        The model.
    config : RunConfig
        What to write.

    Raises
    ------
    EarmarkError
        If the process dies.
    OSError
        If a part cannot be read or written.
    """
    with closing(Isolated()) as process:
        try:
            measured: MeasuredLabeling = call_with_restarts(
                process, _measure_in_process, tuple(tasks), tables, bundle, config
            )
        except ProcessDiedError as error:
            raise EarmarkError(
                f"the model {bundle.model} crashed while it labeled the sample ({error.how}); try another "
                "sample with --seed"
            ) from error
    return measured


def _measure_in_process(
    tasks: tuple[LabelTask, ...], tables: Tables, bundle: Bundle, config: RunConfig
) -> MeasuredLabeling:
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    from pipeline.models.classifier import CPU_BATCH_SIZE, Classifier
    from pipeline.models.ensemble_classifier import load_classifier

    batch_size = config.batch_size or CPU_BATCH_SIZE
    classifier = load_classifier(bundle, partial(Classifier, threads=1, batch_size=batch_size))
    load_cpu_s = time.process_time()
    parts = []
    for task in tasks:
        before = time.process_time()
        result = label_part(
            task,
            tables,
            classifier,
            lambda: None,
            segment_labels=config.segment_labels,
            embeddings=config.embeddings,
            min_confidence=config.min_confidence,
        )
        parts.append(LabeledPart(result, time.process_time() - before))
    return MeasuredLabeling(load_cpu_s, tuple(parts))
