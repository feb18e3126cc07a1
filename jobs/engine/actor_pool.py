"""The pool of actors that run the model: sized to the cluster, and mended when one dies."""

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import ray
from ray import exceptions as ray_errors

from jobs.engine.cluster import cpus_and_gpus, live_nodes, plan_actors
from jobs.engine.workers import start_labeler
from schemas.config import RunConfig
from schemas.errors import EarmarkError

_SIZE_EVERY_S = 15.0
_FAILED_STARTS = 3
"""Starts in a row that fail in the actor's own code: it is the model."""
_KILLED_STARTS = 10
"""Starts in a row that something ends from outside: not just preemption, there is too little memory."""
_PARTS_PER_ACTOR = 2
"""One that it works on and one that waits, so that it need not."""


class ActorPool:
    """Labeler actors, how busy each is, and those that still start.

    Parameters
    ----------
    model : str
        Location of the model.
    config : RunConfig
        May fix the number of actors and what each takes.
    """

    def __init__(self, model: str, config: RunConfig) -> None:
        self._model = model
        self._config = config
        self._load: Counter[Any] = Counter()
        self._nodes: dict[Any, str] = {}
        self._starting: dict[Any, Any] = {}
        self._sized_at = 0.0
        self._failed_starts = 0

    @property
    def starting(self) -> Mapping[Any, Any]:
        """References that are ready when an actor has loaded the model."""
        return self._starting

    @property
    def n_actors(self) -> int:
        """Actors that were started and have not died."""
        return len(self._load) + len(self._starting)

    @property
    def is_up(self) -> bool:
        """Whether any actor has loaded the model."""
        return bool(self._load)

    def size(self) -> None:
        """Start the actors that the cluster has room for; it may have grown since the last look."""
        if time.monotonic() - self._sized_at < _SIZE_EVERY_S:
            return
        self._sized_at = time.monotonic()
        plan = plan_actors(self._config, *cpus_and_gpus())
        for _ in range(plan.n_actors - self.n_actors):
            actor = start_labeler(
                self._model, batch_size=plan.batch_size, num_cpus=plan.num_cpus, num_gpus=plan.num_gpus
            )
            self._starting[actor.ready.remote()] = actor

    def started(self, ref: Any) -> None:
        """Take up an actor that has loaded the model.

        Raises
        ------
        EarmarkError
            If several in a row could not, or many in a row were killed while they did.
        """
        actor = self._starting.pop(ref)
        try:
            node = ray.get(ref)
        except ray_errors.RayError as error:
            self._failed_starts += 1
            self._sized_at = 0.0
            by_itself = isinstance(error, ray_errors.RayActorError) and error.actor_init_failed
            if self._failed_starts >= (_FAILED_STARTS if by_itself else _KILLED_STARTS):
                raise EarmarkError(
                    f"the model cannot be loaded on the cluster: {last_line(error)}"
                ) from error
            return
        self._failed_starts = 0
        self._load[actor] = 0
        self._nodes[actor] = node

    def take(self) -> Any | None:
        """The actor with the least to do, with one part more to do now; None if all have enough."""
        actor, load = min(self._load.items(), key=lambda item: item[1], default=(None, _PARTS_PER_ACTOR))
        if load >= _PARTS_PER_ACTOR:
            return None
        self._load[actor] += 1
        return actor

    def done(self, actor: Any) -> None:
        """The actor has one part less to do."""
        if actor in self._load:
            self._load[actor] -= 1

    def is_cut_off(self, actor: Any) -> bool:
        """Whether an actor's node is held for dead: the actor may be at work still, and is not to blame."""
        return actor in self._nodes and self._nodes[actor] not in live_nodes()

    def lost(self, actor: Any) -> None:
        """Give an actor that died or is out of reach no more work, and have it replaced."""
        if self._load.pop(actor, None) is not None:
            self._sized_at = 0.0
            del self._nodes[actor]
            ray.kill(actor)


def last_line(error: Exception) -> str:
    """The last line of an error, which is where Ray's errors say what happened."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
