"""Label tracks that are suspected of crashing or breaking actors, in an isolated process."""

from contextlib import closing
from functools import cache
from typing import Any

import ray

from jobs.engine.assignment import Assignment
from jobs.engine.attempts import Attempt
from jobs.engine.workers import PREDICT_TIMEOUT_S, Answer, Labeler, on_node, run_work
from pipeline.log import get_logger, level
from pipeline.shards.isolation import Isolated, ProcessDiedError, call_with_restarts
from pipeline.shards.label_part import LabelResult, LabelTask
from pipeline.shards.limits import TIMED_OUT
from pipeline.shards.process_errors import format_error
from pipeline.storage.errors import is_store_error
from pipeline.tables.tables import is_damage
from schemas.errors import EarmarkError, EnvironmentFaultError, LabelerCrashedError, LabelError

log = get_logger(__name__)


def label_isolated(task: LabelTask, assignment: Assignment, confirming: bool, log_level: int) -> Answer:
    """Label tracks in an isolated process, whose death shows that they crash the model."""
    return run_work(lambda: _label_isolated(task, assignment, confirming), task, log_level)


def _label_isolated(task: LabelTask, assignment: Assignment, confirming: bool) -> LabelResult | LabelError:
    uri = task.tracks["uri"][0].as_py()
    with closing(Isolated()) as process:
        # Check first, in the same process: if known-good features fail, no track is to blame.
        _check_process(process, assignment.model_location)
        try:
            result: LabelResult = call_with_restarts(process, _label_once, task, assignment, confirming)
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
    """Load the model in a process, where known-good features must get a label.

    Raises
    ------
    EnvironmentFaultError
        If they do not.
    """
    try:
        call_with_restarts(process, _load, model)
    except ProcessDiedError as death:
        raise EnvironmentFaultError(f"known-good features crash the model's process ({death.how})") from death


@cache
def _labeler(model: str) -> Labeler:
    return Labeler(model, batch_size=1, use_gpu=False)


def _load(model: str) -> None:
    _labeler(model)


def _describe_death(death: ProcessDiedError, uri: str) -> str:
    """Describe how the features of a track ended the process of the model."""
    if death.code == TIMED_OUT:
        return f"{uri} has features for which the model takes more than {PREDICT_TIMEOUT_S:.0f} s"
    return f"{uri} has features that crash the model's process ({death.how})"


def _label_once(task: LabelTask, assignment: Assignment, confirming: bool) -> LabelResult:
    return _labeler(assignment.model_location).label(task, assignment, confirming=confirming)


_label_isolated_remote = ray.remote(num_cpus=1, max_retries=0)(label_isolated)


def start_label_isolated(attempt: Attempt, assignment: Assignment, node: str | None) -> Any:
    """Start the task that labels suspects; return the reference to its `Answer`."""
    return _label_isolated_remote.options(**on_node(node)).remote(
        attempt.work, assignment, attempt.confirming, level()
    )
