"""The pool of actors that run the model: sized to the cluster, and refilled when an actor dies."""

import itertools
import re
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray import exceptions as ray_errors

from jobs.engine.cluster import cpus_and_gpus, live_nodes, plan_actors, worker_nodes
from jobs.engine.environment import environment_error, version_error
from jobs.engine.workers import Loaded, start_labeler
from pipeline.log import about, get_logger
from pipeline.log_events import replay
from schemas.config import RunConfig
from schemas.errors import EarmarkError

log = get_logger(__name__)

_SIZE_EVERY_S = 15.0
_FAILED_STARTS = 3
"""Consecutive starts that fail in the code of the actor before the model is blamed."""
_KILLED_STARTS = 10
"""Consecutive starts that are killed from outside before the run fails: more than preemption explains."""
_QUEUED_PARTS = 1
"""Parts queued at an actor besides those it works on, so that it never waits."""
_OWN_ERROR = re.compile(r"^schemas\.errors\.\w+: ")


@dataclass(slots=True)
class _Member:
    """An actor: what it takes, how many parts it may have and how many it has, and its node once it is up."""

    num_cpus: float
    num_gpus: float
    most_parts: int
    node: str | None = None
    address: str | None = None
    load: int = 0


class ActorPool:
    """The labeler actors, the load of each, and those that are starting.

    Actors follow the cluster: when GPUs join, actors on GPUs take the place of those on CPUs, and the other
    way round; on a cluster that has become so small that they would leave no CPU to the tasks, such that take
    none. Replaced actors finish their parts first, and none ends before another is ready.

    Parameters
    ----------
    model : str
        Location of the model.
    config : RunConfig
        May set the number of actors and their resources.

    Attributes
    ----------
    lacks_gpus : bool
        Whether an actor needs more GPUs than the whole cluster had when it was last looked at.
    """

    def __init__(self, model: str, config: RunConfig) -> None:
        self.lacks_gpus = False
        self._model = model
        self._config = config
        self._members: dict[Any, _Member] = {}
        self._starting: dict[Any, Any] = {}
        self._num_cpus, self._num_gpus = 1.0, 0.0
        self._sized_at = float("-inf")
        self._failed_starts = 0
        self._numbers = itertools.count()

    @property
    def starting(self) -> Mapping[Any, Any]:
        """References that become ready when an actor has loaded the model, with their actors."""
        return self._starting

    @property
    def n_actors(self) -> int:
        """Number of actors that were started and have not died."""
        return len(self._members)

    def count_by_state(self) -> Counter[str]:
        """Return the number of actors by what they are at: `ACTOR_STATES`."""
        return Counter(
            "starting" if member.node is None else "busy" if member.load else "idle"
            for member in self._members.values()
        )

    @property
    def is_up(self) -> bool:
        """Whether any actor has loaded the model."""
        return any(member.node is not None for member in self._members.values())

    @property
    def needs_a_cpu(self) -> bool:
        """Whether no actor has loaded the model yet, and one does so that takes no CPU from Ray."""
        return not self.is_up and any(self._members[actor].num_cpus == 0 for actor in self._starting.values())

    def resize(self, labeling: float | None = None, n_waiting: int = 0) -> None:
        """Start the actors that the cluster has room for, which may have changed since the last check.

        Parameters
        ----------
        labeling : float, optional
            The share of labeling in the work that is left, if it is known.
        n_waiting : int
            Parts that no actor has taken: with more than one per actor, labeling lags behind, and
            `labeling` decides how many actors are started.
        """
        if time.monotonic() - self._sized_at < _SIZE_EVERY_S:
            return
        self._sized_at = time.monotonic()
        cpus, gpus = cpus_and_gpus()
        plan = plan_actors(self._config, cpus, gpus, labeling if n_waiting > self.n_actors else None)
        self.lacks_gpus = plan.num_gpus > gpus
        self._num_cpus, self._num_gpus = plan.num_cpus, plan.num_gpus
        n_planned = sum(map(self._is_planned, self._members.values()))
        for _ in range(plan.n_actors - n_planned):
            actor = start_labeler(
                self._model,
                batch_size=plan.batch_size,
                parts_at_once=plan.parts_at_once,
                num_cpus=plan.num_cpus,
                num_gpus=plan.num_gpus,
                node=None if plan.num_cpus or plan.num_gpus else self._next_worker_node(),
            )
            log.info("actor started", cpus=plan.num_cpus, gpus=plan.num_gpus, batch_size=plan.batch_size)
            self._members[actor] = _Member(plan.num_cpus, plan.num_gpus, plan.parts_at_once + _QUEUED_PARTS)
            self._starting[actor.ready.remote()] = actor
        self._replace()
        self._leave_a_cpu(cpus, plan.n_actors)

    def _next_worker_node(self) -> str | None:
        """Choose a node for an actor without a CPU, which Ray might place on a head that runs no work."""
        nodes = sorted(worker_nodes())
        return nodes[next(self._numbers) % len(nodes)] if nodes else None

    def _replace(self) -> None:
        """End idle actors that the plan no longer contains, once a planned actor is ready."""
        if not any(member.node is not None for member in self._members.values() if self._is_planned(member)):
            return
        for actor, member in list(self._members.items()):
            if not self._is_planned(member) and member.load == 0:
                log.info("actor replaced by a planned one", node=member.address, gpus=member.num_gpus)
                self._end(actor)

    def _leave_a_cpu(self, cpus: int, n_planned: int) -> None:
        """End idle actors beyond the plan while actors hold all CPUs, as when nodes without one were lost."""
        for actor, member in reversed(list(self._members.items())):  # the last ones may still be starting
            held = sum(each.num_cpus for each in self._members.values())
            if len(self._members) <= n_planned or not 0 < cpus <= held:
                return
            if member.num_cpus and member.load == 0:
                log.info("actor ended, to leave a CPU to the tasks", node=member.address)
                self._end(actor)

    def _is_planned(self, member: _Member) -> bool:
        return member.num_gpus == self._num_gpus and member.num_cpus <= self._num_cpus

    def end(self) -> None:
        """End all actors, whose nodes and GPUs others can then use."""
        for actor in list(self._members):
            self._end(actor)

    def _end(self, actor: Any) -> None:
        del self._members[actor]
        self._starting = {ref: other for ref, other in self._starting.items() if other != actor}
        ray.kill(actor)

    def add_started(self, ref: Any) -> None:
        """Add an actor that has loaded the model.

        Raises
        ------
        EarmarkError
            If several actors in a row failed to start, or many were killed while starting, and no other one
            runs or is starting; at once if the node lacks something that every actor needs.
        """
        actor = self._starting.pop(ref, None)
        if actor is None:
            return  # ended while it started
        try:
            loaded: Loaded = ray.get(ref)
        except ray_errors.RayError as error:
            del self._members[actor]
            log.warning("actor died while starting", error=last_line(error))
            self._count_failed_start(error)
            return
        origin = loaded.origin
        with about(node=origin.address):
            replay(loaded.events)
        if (different := version_error(origin.address, origin.version)) is not None:
            raise different
        self._failed_starts = 0
        self._members[actor].node, self._members[actor].address = origin.node, origin.address
        self._replace()

    def _count_failed_start(self, error: ray_errors.RayError) -> None:
        if (lacking := environment_error(error)) is not None:
            raise lacking from error
        self._failed_starts += 1
        if self.is_up or self._starting:
            return  # the node may be to blame: others have loaded the model, or may yet; this one has time
        self._sized_at = float("-inf")
        by_itself = isinstance(error, ray_errors.RayActorError) and error.actor_init_failed
        if self._failed_starts >= (_FAILED_STARTS if by_itself else _KILLED_STARTS):
            raise EarmarkError(f"the model cannot be loaded on the cluster: {last_line(error)}") from error

    def take(self, avoided: Collection[str] = ()) -> Any | None:
        """Assign one more part to the least busy actor and return it; None if all are busy.

        Parameters
        ----------
        avoided : collection of str
            Nodes whose actors get the part only if there are no others.
        """
        up = {actor: member for actor, member in self._members.items() if member.node is not None}
        planned = {actor: member for actor, member in up.items() if self._is_planned(member)} or up
        others = {actor: member for actor, member in planned.items() if member.node not in avoided} or planned
        free = {actor: member for actor, member in others.items() if member.load < member.most_parts}
        if not free:
            return None
        actor = min(free, key=lambda each: free[each].load)
        free[actor].load += 1
        return actor

    def finish_part(self, actor: Any) -> None:
        """Note that an actor has finished a part."""
        member = self._members.get(actor)
        if member is None:
            return
        member.load -= 1
        if not self._is_planned(member):  # nothing has changed for the others
            self._replace()

    def is_cut_off(self, actor: Any) -> bool:
        """Return whether the node of an actor is considered dead: the actor is not to blame, and may live."""
        return actor in self._members and self._members[actor].node not in live_nodes()

    def replace_lost(self, actor: Any) -> None:
        """End an actor that died, is unreachable or fails on any input, and have it replaced."""
        if actor in self._members:
            self._sized_at = float("-inf")
            log.warning("actor lost, starting another", node=self._members[actor].address)
            self._end(actor)


def last_line(error: Exception) -> str:
    """Return the last line of an error, where Ray says what happened, without the class of our own errors."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return _OWN_ERROR.sub("", lines[-1].strip()) if lines else type(error).__name__
