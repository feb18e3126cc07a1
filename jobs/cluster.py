"""The Ray cluster of a run: a local one for its length, or one that is there already."""

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass

from schemas.config import RunConfig
from schemas.errors import EarmarkError, MisuseError

_CPUS_PER_ACTOR = 8
_SMALL_CLUSTER_CPUS = 4
_OBJECT_STORE_BYTES = 128 << 20


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
    """

    n_actors: int
    num_cpus: float
    num_gpus: float
    batch_size: int


@contextlib.contextmanager
def connected(config: RunConfig) -> Iterator[None]:
    """Be connected to Ray for the length of a ``with`` block.

    With `RunConfig.address` or ``RAY_ADDRESS`` (which ``ray job submit`` sets) that cluster is used, else a
    local Ray is started and ended.

    Raises
    ------
    EarmarkError
        If there is no cluster at the address.
    """
    address = config.address or os.environ.get("RAY_ADDRESS") or "local"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, object] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        # Without this, a local Ray leaves a token behind that later clusters of this user would ask for.
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        options |= {
            "num_cpus": config.cpus or os.cpu_count(),
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
        }
    import ray

    try:
        ray.init(address=address, namespace="earmark", **options)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        reason = str(error).partition("\n")[0]
        raise EarmarkError(f"cannot reach a Ray cluster at {address}: {reason}") from error
    try:
        yield
    finally:
        ray.shutdown()


def cpus_and_gpus() -> tuple[int, int]:
    """CPUs and GPUs of the connected cluster as it is now; an autoscaling one may grow."""
    import ray

    resources = ray.cluster_resources()
    return max(1, int(resources.get("CPU", 1))), int(resources.get("GPU", 0))


def plan_actors(config: RunConfig, cpus: int, gpus: int) -> ActorPlan:
    """Size the actor pool: one actor a GPU, else one for every eight CPUs.

    The network costs about an eighth of decoding and features on the same CPU. On a small machine the only
    actor takes no CPU from Ray, or the decoders would stand still beside an idle actor; the operating system
    shares the cores.

    Raises
    ------
    MisuseError
        If actors ask for GPUs that the cluster lacks.
    """
    num_gpus = config.gpus_per_actor if config.gpus_per_actor is not None else float(gpus > 0)
    if num_gpus > gpus:
        raise MisuseError(f"an actor asks for {num_gpus:g} GPUs, but the cluster has {gpus}")
    if num_gpus:
        n_actors = config.actors or int(gpus / num_gpus)
        return ActorPlan(n_actors, 1.0, num_gpus, config.batch_size or 64)
    n_actors = config.actors or max(1, cpus // _CPUS_PER_ACTOR)
    num_cpus = 0.0 if cpus <= _SMALL_CLUSTER_CPUS else 1.0
    return ActorPlan(n_actors, num_cpus, 0.0, config.batch_size or 8)
