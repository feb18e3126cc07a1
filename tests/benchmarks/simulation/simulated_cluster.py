"""A simulated cluster: tasks and actors on nodes that come and go, as a simulation of discrete events."""

import heapq
import itertools
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from ray import exceptions as ray_errors

from jobs.engine.environment import Origin
from jobs.engine.workers import Answer, Loaded
from pipeline.log_events import Event
from pipeline.shards.featurize_shard import Shard, ShardResult
from pipeline.shards.label_part import LabelResult, LabelTask
from tests.benchmarks.simulation import inputs
from tests.benchmarks.simulation.machines import Machines, SimulatedNode
from tests.benchmarks.simulation.simulated_work import Reference, SimulatedActor, SimulatedCall, SimulatedTask
from tests.benchmarks.simulation.workload import Workload


class SimulatedCluster:
    """A cluster in which time passes from event to event.

    Parameters
    ----------
    workload : Workload
        What tasks take.
    cpus : int
        CPUs, in nodes of `inputs.NODE_CPUS`.
    load_s : float
        Seconds until an actor has loaded the model.
    shards : iterable of str
        Names of all shards, which are known to wait until they are submitted.
    losses_per_hour : float
        Rate at which each node is lost.
    rng : numpy.random.Generator
        Decides when.

    Attributes
    ----------
    machines : Machines
        The nodes.
    done : dict of Reference to None
        References with an outcome that nobody has fetched, as an ordered set.
    seconds : dict of str to float
        CPU seconds by what became of them; see `tests.benchmarks.simulation.simulate.SHARES`.
    n_lost_nodes, n_lost_tracks, n_lost_parts : int
        Nodes lost, and tracks of shards, and parts, that were being worked on there.
    """

    def __init__(
        self,
        workload: Workload,
        *,
        cpus: int,
        load_s: float,
        shards: Iterable[str],
        losses_per_hour: float,
        rng: np.random.Generator,
    ) -> None:
        self.machines = Machines(cpus, inputs.NODE_CPUS)
        self.done: dict[Reference, None] = {}
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.n_lost_nodes = self.n_lost_tracks = self.n_lost_parts = 0
        self._workload = workload
        self._load_s = load_s
        self._unsubmitted = set(shards)
        self._has_begun = False
        self._losses_per_hour = losses_per_hour
        self._rng = rng
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._now = 0.0
        self._next_grant = 0.0
        self._is_grant_planned = False
        self._waiting: deque[SimulatedTask] = deque()
        self._waiting_actors: deque[SimulatedActor] = deque()
        self._n_running = 0
        for node in self.machines.nodes:
            self._plan_loss(node)

    # Time

    @property
    def next_event_at(self) -> float:
        """When something happens next, if nothing is submitted."""
        return self._events[0][0] if self._events else float("inf")

    def run_until(self, moment: float) -> None:
        """Let everything happen until a moment."""
        while self.next_event_at <= moment:
            at, _, event = heapq.heappop(self._events)
            self._pass_until(at)
            event()
        self._pass_until(moment)

    def _pass_until(self, moment: float) -> None:
        """Account for CPUs that nothing holds, and for those that are not there."""
        elapsed = moment - self._now
        if elapsed <= 0:
            return
        self._now = moment
        self.seconds[self._why_free()] += elapsed * self.machines.n_free
        self.seconds["lost"] += elapsed * self.machines.n_down

    def _why_free(self) -> str:
        if not self._has_begun:
            return "start"
        if self._waiting:
            return "ray"
        if self._unsubmitted:
            return "driver"
        return "shards" if self._n_running else "parts"

    def _at(self, moment: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._numbers), event))

    def _account(self, **seconds: float) -> None:
        for name, value in seconds.items():
            self.seconds[name] += value

    def close(self) -> None:
        """Account for the time that actors have held their CPUs, at the end of a run."""
        for node in self.machines.nodes:
            for actor in node.actors:
                self._account_for(actor)

    # What the driver asks for

    def submit(self, shard: Shard, preferred: str | None) -> Reference:
        """Submit a task that featurizes a shard, to a node if that has a free CPU."""
        self._has_begun = True
        self._unsubmitted.discard(shard.name)
        task = SimulatedTask(self._new_reference(), shard, preferred)
        self._waiting.append(task)
        self._place()
        return task.reference

    def start_actor(self, actor: SimulatedActor) -> None:
        """Start an actor as soon as there is a free CPU."""
        self._waiting_actors.append(actor)
        self._place()

    def ask_ready(self, actor: SimulatedActor) -> Reference:
        """Return a reference that is done once an actor has loaded the model."""
        actor.ready_reference = self._new_reference()
        if actor.is_up:
            self._report_ready(actor)
        return actor.ready_reference

    def label(self, actor: SimulatedActor, task: LabelTask) -> Reference:
        """Have an actor label a part, after those that it was given before."""
        call = SimulatedCall(self._new_reference(), task, self._workload.labeling(task))
        actor.calls.append(call)
        if actor.is_dead:
            if actor.node is None or actor.node.is_known_lost:  # otherwise, Ray notices it later
                self._fail_calls(actor)
            return call.reference
        # While an actor predicts one part, it reads and writes others if it takes several at once.
        free_at = [self._now, *actor.ends][-inputs.ACTOR_PARTS_AT_ONCE :][0]
        begins = max(self._now, free_at) + call.duration.store_s
        actor.predicting_until = max(begins, actor.predicting_until) + call.duration.cpu_s
        actor.ends.append(actor.predicting_until)
        self._at(actor.predicting_until, lambda: self._end_call(actor, call))
        return call.reference

    def kill(self, actor: SimulatedActor) -> None:
        """End an actor; its calls fail."""
        if actor.is_dead:
            return
        actor.is_dead = True
        if actor.node is None:
            self._waiting_actors.remove(actor)
            return
        self._account_for(actor)
        del actor.node.actors[actor]
        self.machines.release(actor.node)
        self._fail_calls(actor)
        self._place()

    def _new_reference(self) -> Reference:
        return Reference(next(self._numbers))

    def _finish(self, reference: Reference, outcome: Any) -> None:
        reference.outcome = outcome
        self.done[reference] = None

    # What happens then

    def _place(self) -> None:
        """Place what waits on free CPUs: actors first, tasks as fast as Ray grants them."""
        while self._waiting_actors and (node := self.machines.find_spread()) is not None:
            self._place_actor(self._waiting_actors.popleft(), node)
        while self._waiting and self.machines.n_free:
            if self._next_grant > self._now:
                if not self._is_grant_planned:
                    self._is_grant_planned = True
                    self._at(self._next_grant, self._grant)
                return
            self._next_grant = max(self._next_grant, self._now) + 1 / inputs.GRANTS_PER_S
            task = self._waiting.popleft()
            node = self.machines.find_free(task.preferred)
            assert node is not None
            self._start(task, node)

    def _grant(self) -> None:
        self._is_grant_planned = False
        self._place()

    def _start(self, task: SimulatedTask, node: SimulatedNode) -> None:
        self.machines.hold(node)
        if node.n_warm <= len(node.tasks):
            node.n_warm += 1
            task.warm_s = inputs.WORKER_START_S
        node.tasks[task] = None
        self._n_running += 1
        task.node, task.started_at = node, self._now
        task.duration = self._workload.featurizing(task.shard, self._now + task.warm_s)
        self._at(self._now + task.warm_s + task.duration.total_s, lambda: self._end_task(task))

    def _end_task(self, task: SimulatedTask) -> None:
        node, duration = task.node, task.duration
        assert node is not None
        assert duration is not None
        if node.is_lost:
            return
        del node.tasks[task]
        self._n_running -= 1
        self._account(start=task.warm_s, work=duration.cpu_s, store=duration.store_s)
        result = self._workload.finish_shard(task.shard, duration)
        self._finish(task.reference, _answer(node, result, task.shard))
        self.machines.release(node)
        self._place()

    def _place_actor(self, actor: SimulatedActor, node: SimulatedNode) -> None:
        self.machines.hold(node)
        node.actors[actor] = None
        actor.node, actor.placed_at = node, self._now
        self._at(self._now + self._load_s, lambda: self._load(actor))

    def _load(self, actor: SimulatedActor) -> None:
        if actor.is_dead:
            return
        actor.is_up = True
        if actor.ready_reference is not None:
            self._report_ready(actor)

    def _report_ready(self, actor: SimulatedActor) -> None:
        assert actor.ready_reference is not None
        assert actor.node is not None
        origin = Origin(actor.node.name, actor.node.address, None)
        self._finish(actor.ready_reference, Loaded(origin, ()))

    def _end_call(self, actor: SimulatedActor, call: SimulatedCall) -> None:
        if actor.is_dead:
            return
        actor.calls.remove(call)
        actor.cpu_s += call.duration.cpu_s
        assert actor.node is not None
        result = self._workload.finish_part(call.task, call.duration)
        self._finish(call.reference, _answer(actor.node, result, call.task))

    def _account_for(self, actor: SimulatedActor) -> None:
        """Account for the time for which an actor held its CPU."""
        held_s = self._now - actor.placed_at
        loading_s = min(held_s, self._load_s)
        self._account(start=loading_s, work=actor.cpu_s, actors=held_s - loading_s - actor.cpu_s)

    def _fail_calls(self, actor: SimulatedActor) -> None:
        if actor.ready_reference is not None and not actor.is_up:
            self._finish(actor.ready_reference, ray_errors.ActorDiedError())
        while actor.calls:
            self._finish(actor.calls.popleft().reference, ray_errors.ActorDiedError())

    # Nodes that are lost

    def _plan_loss(self, node: SimulatedNode) -> None:
        if self._losses_per_hour:
            seconds = self._rng.exponential(3600 / self._losses_per_hour)
            self._at(self._now + seconds, lambda: self._lose(node))

    def _lose(self, node: SimulatedNode) -> None:
        """Lose a node with all that runs on it, of which Ray learns later."""
        self.n_lost_nodes += 1
        self.machines.lose(node)
        for task in node.tasks:
            self._n_running -= 1
            self.n_lost_tracks += task.shard.tracks.num_rows
            self.seconds["lost"] += self._now - task.started_at
        for actor in node.actors:
            actor.is_dead = True
            self.n_lost_parts += len(actor.calls)
            self._account_for(actor)
        self._at(self._now + inputs.DETECTION_S, lambda: self._notice_loss(node))
        self._at(self._now + inputs.RETURN_S, lambda: self._return(node))

    def _notice_loss(self, node: SimulatedNode) -> None:
        self.machines.notice_loss(node)
        for task in node.tasks:
            self._unsubmitted.add(task.shard.name)
            self._finish(task.reference, ray_errors.NodeDiedError("The node was preempted"))
        for actor in node.actors:
            self._fail_calls(actor)

    def _return(self, lost: SimulatedNode) -> None:
        self._plan_loss(self.machines.give_back(lost))
        self._place()


def _answer(node: SimulatedNode, result: ShardResult | LabelResult, work: Shard | LabelTask) -> Answer:
    fields = {"tracks": work.tracks.num_rows, "failed": 0, "run": work.run, "shard": work.name}
    event = Event(0.0, logging.INFO, "pipeline.shards", "work done", fields)
    return Answer(Origin(node.name, node.address, None), result, (event,), {"GET": 1, "PUT": 1})
