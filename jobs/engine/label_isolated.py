"""Label tracks that are suspected of crashing or breaking actors, in an isolated process."""

from contextlib import closing
from functools import cache
from typing import Any

import numpy as np
import ray

from jobs.engine.assignment import Assignment
from jobs.engine.workers import PREDICT_TIMEOUT_S, Answer, Labeler, on_node, run_work
from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.log import get_logger, level
from pipeline.models.ensemble_classifier import networks_of
from pipeline.shards.isolation import Isolated, ProcessDiedError, call_with_restarts
from pipeline.shards.label_part import LabelResult, LabelTask
from pipeline.shards.limits import TIMED_OUT
from pipeline.shards.process_errors import format_error
from pipeline.storage.errors import is_store_error
from pipeline.tables.tables import is_damage
from schemas.errors import EarmarkError, EnvironmentFaultError, LabelerCrashedError, LabelError

log = get_logger(__name__)

_FRAMES = 388


def label_isolated(task: LabelTask, assignment: Assignment, log_level: int) -> Answer:
    """Label tracks in an isolated process, whose death shows that they crash the model."""
    return run_work(lambda: _label_isolated(task, assignment), task, log_level)


def _label_isolated(task: LabelTask, assignment: Assignment) -> LabelResult | LabelError:
    uri = task.tracks["uri"][0].as_py()
    with closing(Isolated()) as process:
        # Check first, in the same process: if known-good features fail, no track is to blame.
        _check_process(process, assignment.model_location)
        try:
            result: LabelResult = call_with_restarts(process, _label_once, task, assignment)
        except ProcessDiedError as death:
            log.info("track crashed its process", track=uri, by=death.how)
            return LabelerCrashedError(_describe_death(death, uri))
        except (OSError, EarmarkError, ImportError):
            raise
        except Exception as broken:
            if is_damage(broken) or is_store_error(broken):
                raise
            return LabelError(f"{uri}: {format_error(broken)}")
    return result


def _check_process(process: Isolated, model: str) -> None:
    """Check that known-good features get a label in a process.

    Raises
    ------
    EnvironmentFaultError
        If they do not.
    """
    try:
        call_with_restarts(process, _label_known_good, model)
    except ProcessDiedError as death:
        raise EnvironmentFaultError(f"known-good features crash the model's process ({death.how})") from death


@cache
def _labeler(model: str) -> Labeler:
    return Labeler(model, batch_size=1, use_gpu=False)


def _label_known_good(model: str) -> None:
    """Label noise, for which every model has probabilities.

    Raises
    ------
    EnvironmentFaultError
        If the model fails, or its probabilities are not finite.
    """
    for network in networks_of(_labeler(model).classifier):
        shape = 1, network.info.features.n_mels, _FRAMES
        log_mels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        try:
            p = network.predict_proba(log_mels, np.zeros((1, len(DESCRIPTOR_NAMES))))
        except Exception as error:
            raise EnvironmentFaultError(f"known-good features get no label: {format_error(error)}") from error
        if not np.isfinite(p).all():
            raise EnvironmentFaultError("known-good features get probabilities that are not finite numbers")


def _describe_death(death: ProcessDiedError, uri: str) -> str:
    """Describe how the features of a track ended the process of the model."""
    if death.code == TIMED_OUT:
        return f"{uri} has features for which the model takes more than {PREDICT_TIMEOUT_S:.0f} s"
    return f"{uri} has features that crash the model's process ({death.how})"


def _label_once(task: LabelTask, assignment: Assignment) -> LabelResult:
    return _labeler(assignment.model_location).label(task, assignment)


_label_isolated_remote = ray.remote(num_cpus=1, max_retries=0)(label_isolated)


def start_label_isolated(task: LabelTask, assignment: Assignment, node: str | None) -> Any:
    """Start the task that labels suspects; return the reference to its `Answer`."""
    return _label_isolated_remote.options(**on_node(node)).remote(task, assignment, level())
