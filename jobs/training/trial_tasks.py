"""Trials on a Ray cluster: one task each, which yields its epochs as they end."""

import os
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import ray
from ray import exceptions as ray_errors

from jobs.engine.actor_pool import last_line
from jobs.engine.cluster import Node, live_nodes
from jobs.engine.environment import environment_error
from jobs.training.trials import Trial, TrialPlan
from pipeline.log import get_logger
from pipeline.models.bundle import ModelBundle
from pipeline.models.tensorflow_setup import use_only_our_keras
from pipeline.training.train_model import TrainingOptions, train_by_epoch
from pipeline.training.trainer import Epoch
from pipeline.training.training_set import TrainingSet
from schemas.errors import DivergedError, EarmarkError

log = get_logger(__name__)

_ATTEMPTS = 3
"""Attempts at a trial whose process dies; with a checkpoint, it resumes from there."""
_CRASHES = (ray_errors.WorkerCrashedError, ray_errors.OutOfMemoryError, ray_errors.NodeDiedError)


def _trial(
    train_set: TrainingSet, valid_set: TrainingSet, options: TrainingOptions, use_gpu: bool
) -> Generator[Epoch | ModelBundle, None, None]:
    """Train on a worker; yield each epoch and finally the model."""
    use_only_our_keras()
    if not use_gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    bundle = yield from train_by_epoch(train_set, valid_set, options)
    yield bundle


# A new process for each, because TensorFlow's threads and Keras' names are per process.
_task = ray.remote(max_calls=1, max_retries=0)(_trial)


def run_trials(
    planned: Sequence[TrialPlan],
    train_set: TrainingSet,
    valid_set: TrainingSet,
    options: Sequence[TrainingOptions],
    on_epoch: Callable[[int, Epoch], None],
) -> list[Trial]:
    """Train each trial in its own task on the connected Ray cluster.

    Parameters
    ----------
    planned : sequence of TrialPlan
    train_set, valid_set : TrainingSet
        Shared by all trials: put into Ray's object store once.
    options : sequence of TrainingOptions
        Options of each trial.
    on_epoch : callable
        Called with the index of a trial in `planned` and each of its epochs.

    Returns
    -------
    list of Trial
        In the order of `planned`.

    Raises
    ------
    EarmarkError
        If a training fails, but for one that diverges, its process dies three times, or a node lacks
        something that it needs.
    """
    nodes = live_nodes().values()
    use_gpu = any(node.gpus >= 1 for node in nodes)
    sets = ray.put(train_set), ray.put(valid_set)

    def start(number: int) -> Any:
        cpus = _fitting_cpus(planned[number].settings.threads, nodes, use_gpu=use_gpu)
        task = _task.options(num_cpus=cpus, num_gpus=float(use_gpu))
        return task.remote(*sets, options[number], use_gpu)

    running = {start(number): (number, 1) for number in range(len(planned))}
    done: dict[int, ModelBundle | None] = {}
    while running:
        (stream,), _ = ray.wait(list(running), num_returns=1)
        number, attempt = running[stream]
        try:
            result = ray.get(next(stream))
        except StopIteration:
            del running[stream]
        except _CRASHES as error:
            del running[stream]
            log.warning("training died", trial=number, attempt=attempt, error=last_line(error))
            if attempt == _ATTEMPTS:
                raise EarmarkError(
                    f"a training process died {_ATTEMPTS} times: {last_line(error)}; make sure that "
                    "the nodes have enough memory, and run again"
                ) from error
            running[start(number)] = number, attempt + 1
        except ray_errors.RayError as error:
            cause = error.cause if isinstance(error, ray_errors.RayTaskError) else None
            if isinstance(cause, DivergedError):
                del running[stream]
                done[number] = None
                log.warning("training diverged", trial=number, error=str(cause))
                continue
            if isinstance(cause, EarmarkError):
                raise cause from None
            if (lacking := environment_error(error)) is not None:
                raise lacking from error
            raise
        else:
            if isinstance(result, ModelBundle):
                done[number] = result
                log.info("training is done", trial=number)
            else:
                on_epoch(number, result)
    return [Trial(each.settings, each.varied, done[number]) for number, each in enumerate(planned)]


def _fitting_cpus(threads: int, nodes: Iterable[Node], *, use_gpu: bool) -> int:
    """Return how many CPUs a trial asks for: one a thread, or as many as a node has.

    Ray would wait for ever for a node that has more. Asking for fewer changes nothing but how many trials run
    at the same time.
    """
    most = max((node.cpus for node in nodes if node.gpus >= 1 or not use_gpu), default=0.0)
    return max(1, min(threads, int(most)))
