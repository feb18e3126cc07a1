"""The Ray cluster of a run: a local one that ends with the run, or an existing one."""

import contextlib
import errno
import logging
import math
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from jobs.engine import table_transfer
from jobs.engine.ray_folder import ray_folder
from jobs.engine.ray_token import set_own_token
from pipeline.background import run_in_background
from pipeline.log import get_logger
from pipeline.models.classifier import CPU_BATCH_SIZE, GPU_BATCH_SIZE
from pipeline.storage import storage
from pipeline.storage.temporary_folders import locked_folder
from schemas.config import RunConfig
from schemas.errors import EarmarkError, MisuseError

log = get_logger(__name__)

T = TypeVar("T")

_NO_FOLDER = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOENT}
"""Errors of a folder for temporary files that cannot be used."""

_OPEN_FILES = 1024
"""The usual limit of open files, under which Ray starts; with a fourth of it, it does not."""

_CPUS_PER_ACTOR = 8
"""CPUs of the cluster for each actor, as long as it is not known how long labeling takes."""
_MOST_ACTORS_SHARE = 0.5
"""Largest share of the CPUs for actors: tasks that isolate tracks need CPUs too, and actors much memory."""
SMALL_CLUSTER_CPUS = 4
"""CPUs up to which the only actor takes none from Ray."""
_PARTS_ON_CPU, _PARTS_ON_GPU = 2, 4
"""Parts that an actor works on at once. A GPU may predict a part faster than one can be read and written."""
_OBJECT_STORE_BYTES = 128 << 20
_EMPTY_PREFIX = "earmark-empty-"
"""What the name of the folder begins with in which Ray is initialized."""
_HEAD_LOST_S = 20.0
"""Time within which a restarted head with its state recovered answers."""


@dataclass(frozen=True, slots=True)
class ActorPlan:
    """How many actors run the model, and what each takes.

    Attributes
    ----------
    n_actors : int
        Actors.
    num_cpus, num_gpus : float
        Ray resources of one.
    batch_size : int
        Segments it takes at once.
    parts_at_once : int
        Parts it reads, predicts and writes at once.
    """

    n_actors: int
    num_cpus: float
    num_gpus: float
    batch_size: int
    parts_at_once: int


@contextlib.contextmanager
def connected(config: RunConfig) -> Iterator[None]:
    """Connect to Ray during a ``with`` block.

    Use the cluster at `RunConfig.address` or ``RAY_ADDRESS`` (which ``ray job submit`` sets), else start a
    local Ray and shut it down at the end. If this process is already connected, use that connection and leave
    it open, so that consecutive jobs share one cluster.

    Raises
    ------
    EarmarkError
        If there is no cluster at the address, or Ray does not start on this machine.
    MisuseError
        If actors need more GPUs than this machine has, and no cluster is given.
    """
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        yield
        return
    address = config.address or os.environ.get("RAY_ADDRESS") or "local"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Otherwise, a SIGTERM while Ray starts ends this process in C code, without a report.
    os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")
    options: dict[str, object] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        set_own_token()
        options |= {
            "num_cpus": config.cpus,  # None: Ray counts them, and knows of a container's limit
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
            "_temp_dir": ray_folder(),
        }
    _look_for(address)
    start = time.monotonic()
    import ray

    with locked_folder(_EMPTY_PREFIX) as empty:
        try:
            with _working_directory(empty), _own_sigterm():
                ray.init(address=address, namespace="earmark", **options)
        except (AttributeError, ImportError):  # Ray, or a module that it needs, is hidden
            raise
        except Exception as error:  # Ray raises a plain Exception if its start takes too long
            raise EarmarkError(_not_connected(address, error)) from error
        try:
            table_transfer.register()
            cpus, gpus = cpus_and_gpus()
            log.info(
                "connected to Ray",
                address=address,
                nodes=len(live_nodes()),
                cpus=cpus,
                gpus=gpus,
                seconds=time.monotonic() - start,
            )
            if address == "local" and (config.gpus_per_actor or 0) > gpus:
                raise MisuseError(
                    f"an actor asks for {config.gpus_per_actor:g} GPUs, but this machine has {gpus}"
                )
            yield
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep this process's handler of SIGTERM, which Ray replaces by one that exits."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _working_directory(folder: Path) -> Iterator[None]:
    """Change to `folder` during a ``with`` block.

    Ray puts the directory in which it is initialized first on the path of all workers, where a user's
    ``pipeline`` or ``random.py`` would hide the intended module.
    """
    try:
        before = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        # It was removed, or is not ours to read: there is no way back, and nothing to go back for.
        os.chdir(folder)
        yield
        return
    try:
        os.chdir(folder)
        yield
    finally:
        os.fchdir(before)
        os.close(before)


def _not_connected(address: str, error: Exception) -> str:
    reason = str(error).partition("\n")[0].strip().rstrip(".") or type(error).__name__
    if isinstance(error, UnicodeEncodeError):  # Ray passes the command line on
        uris = [uri for each in sys.argv if (uri := storage.local_uri(each)) != each]
        return f"Ray refuses a command line that is not valid UTF-8; write {' and '.join(uris)} instead"
    if address == "local":
        advice = "run the same command again when the machine is less busy or has more free memory"
        n_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if n_files < _OPEN_FILES:
            advice = f"it may have only {n_files} files open; allow more, such as with 'ulimit -n 65536'"
        if isinstance(error, OSError) and error.errno in _NO_FOLDER:
            advice = "free space in the temporary folder, or set TMPDIR to another one"
        return f"cannot start Ray on this machine: {reason}; {advice}"
    return f"cannot reach a Ray cluster at {address}: {reason}"


def _look_for(address: str) -> None:
    """Check that something listens at ``host:port``; Ray itself would retry for minutes.

    Raises
    ------
    EarmarkError
        If nothing does.
    """
    host, separator, port = address.rpartition("://")[2].rpartition(":")
    if not separator or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise EarmarkError(f"cannot reach a Ray cluster at {address}: {error.strerror or error}") from error
    except UnicodeError as error:  # a part between two dots is empty or too long
        raise EarmarkError(f"cannot reach a Ray cluster at {address}: '{host}' names no host") from error


def cpus_and_gpus() -> tuple[int, int]:
    """Return the current CPUs and GPUs of the connected cluster; an autoscaling one may have none yet.

    Raises
    ------
    EarmarkError
        If the cluster's head does not answer.
    """
    import ray

    resources = _answer(ray.cluster_resources)
    return int(resources.get("CPU", 0)), int(resources.get("GPU", 0))


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster.

    Attributes
    ----------
    address : str
        Its address.
    cpus, gpus : float
        Its CPUs and GPUs.
    """

    address: str
    cpus: float
    gpus: float = 0.0


def live_nodes() -> dict[str, Node]:
    """Return the nodes that the head of the connected cluster considers alive, by id.

    Raises
    ------
    EarmarkError
        If the head does not answer.
    """
    import ray

    nodes: list[dict[str, Any]] = _answer(ray.nodes)
    return {
        str(node["NodeID"]): Node(
            str(node["NodeManagerAddress"]),
            *(float(node["Resources"].get(kind, 0.0)) for kind in ("CPU", "GPU")),
        )
        for node in nodes
        if node["Alive"]
    }


def worker_nodes() -> dict[str, Node]:
    """Return the live nodes that have a CPU for a task, by id."""
    return {name: node for name, node in live_nodes().items() if node.cpus >= 1}


def _answer(question: Callable[[], T]) -> T:
    """Return the answer of the cluster's head to a question.

    Raises
    ------
    EarmarkError
        If it does not answer. Ray itself would wait for a minute and then end this process, without a run
        report.
    """
    try:
        answer = run_in_background(question, "cluster")
    except RuntimeError:  # the system allows no more threads for now, and most likely the head answers
        return question()
    try:
        return answer.result(timeout=_HEAD_LOST_S)
    except TimeoutError:
        raise EarmarkError(
            f"the head of the Ray cluster has not answered for {_HEAD_LOST_S:.0f} s; finished work is kept: "
            "run the same command again when the cluster is back"
        ) from None


def plan_actors(config: RunConfig, cpus: int, gpus: int, labeling: float | None = None) -> ActorPlan:
    """Size the actor pool: one actor per GPU, else one per eight CPUs, or more if labeling takes longer.

    On a small machine, the only actor takes no CPU from Ray, so that no decoder waits for a CPU held by an
    actor that is mostly idle; the operating system shares the cores. Nor do actors that would leave no CPU to
    the tasks. There is always at least one actor: if it does not fit, an autoscaler sees the demand.

    Parameters
    ----------
    config : RunConfig
        May set the number, the GPUs and the batch size.
    cpus, gpus : int
        Current resources of the cluster.
    labeling : float, optional
        The share of labeling in the work that is left, if it is known.
    """
    num_gpus = config.gpus_per_actor if config.gpus_per_actor is not None else float(gpus > 0)
    if num_gpus:
        # Of 0.6 GPU each, one fits on a GPU, not 1.67.
        fitting = gpus * int(1 / num_gpus) if num_gpus < 1 else int(gpus // num_gpus)
        n_actors = config.actors or max(1, fitting)
        num_cpus = 0.0 if 0 < cpus <= n_actors else 1.0
        return ActorPlan(n_actors, num_cpus, num_gpus, config.batch_size or GPU_BATCH_SIZE, _PARTS_ON_GPU)
    needed = math.ceil(cpus * min(labeling or 0.0, _MOST_ACTORS_SHARE)) if cpus > SMALL_CLUSTER_CPUS else 1
    n_actors = config.actors or max(1, cpus // _CPUS_PER_ACTOR, needed)
    num_cpus = 0.0 if 0 < cpus <= max(SMALL_CLUSTER_CPUS, n_actors) else 1.0
    return ActorPlan(n_actors, num_cpus, 0.0, config.batch_size or CPU_BATCH_SIZE, _PARTS_ON_CPU)
