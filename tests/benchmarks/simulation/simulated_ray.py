"""Ray's calls as the engine makes them, on a simulated cluster and for what they were measured to cost."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from jobs.engine.assignment import Assignment
from jobs.engine.attempts import Attempt
from pipeline.shards.featurize_shard import Shard
from pipeline.shards.label_part import LabelTask
from tests.benchmarks.simulation.clock import VirtualClock
from tests.benchmarks.simulation.inputs import Cost, RayCosts
from tests.benchmarks.simulation.simulated_cluster import SimulatedCluster
from tests.benchmarks.simulation.simulated_work import Reference, SimulatedActor


class SimulatedRay:
    """Methods with the names of Ray's and the engine's functions, in whose places they are put.

    Parameters
    ----------
    clock : VirtualClock
        Passes with the calls.
    costs : RayCosts
        What they cost.
    cluster : SimulatedCluster
        What they do.
    """

    def __init__(self, clock: VirtualClock, costs: RayCosts, cluster: SimulatedCluster) -> None:
        self._clock = clock
        self._cluster = cluster
        self._costs = costs
        self._submit_shard, self._submit_part = Cost.of(costs.submit_shard_s), Cost.of(costs.submit_part_s)
        self._wait = Cost.of(costs.wait_s)
        self._resources, self._nodes = Cost.of(costs.cluster_resources_s), Cost.of(costs.nodes_s)

    def _calling(self, what: str, seconds: float) -> AbstractContextManager[None]:
        return self._clock.simulating(what, seconds, then=self._cluster.run_until)

    def start_featurize(self, attempt: Attempt, assignment: Assignment, node: str | None) -> Reference:
        """In the place of `jobs.engine.workers.start_featurize`."""
        shard = attempt.work
        assert isinstance(shard, Shard)
        with self._calling("submit shard", self._submit_shard.at(shard.tracks.num_rows)):
            return self._cluster.submit(shard, node)

    def start_label_isolated(self, attempt: Attempt, assignment: Assignment, node: str | None) -> Reference:
        """In the place of `jobs.engine.label_isolated.start_label_isolated`, which a lost node never needs.

        Raises
        ------
        AssertionError
            Always.
        """
        raise AssertionError(f"the engine blames part {attempt.work.name} for the death of an actor")

    def start_labeler(self, model: str, **options: object) -> SimulatedActor:
        """In the place of `jobs.engine.workers.start_labeler`; every actor takes a CPU here."""
        with self._calling("start actor", self._costs.start_actor_s):
            actor = SimulatedActor(self)
            self._cluster.start_actor(actor)
            return actor

    def call_ready(self, actor: SimulatedActor) -> Reference:
        """Call `Labeler.ready`."""
        with self._calling("submit part", self._submit_part.at(0)):
            return self._cluster.ask_ready(actor)

    def call_answer(self, actor: SimulatedActor, task: LabelTask) -> Reference:
        """Call `Labeler.answer`."""
        with self._calling("submit part", self._submit_part.at(task.tracks.num_rows)):
            return self._cluster.label(actor, task)

    def wait(
        self, refs: Sequence[Reference], *, num_returns: int = 1, timeout: float | None = None
    ) -> tuple[list[Reference], list[Reference]]:
        """In the place of `ray.wait`."""
        with self._calling("wait", self._wait.at(len(refs))):
            waited_for = set(refs)
            until = float("inf") if timeout is None else self._clock.now + timeout
            while len(ready := self._ready(waited_for)) < num_returns and self._clock.now < until:
                self._clock.advance_to(min(self._cluster.next_event_at, until))
                self._cluster.run_until(self._clock.now)
            chosen = ready[:num_returns]
            taken = set(chosen)
            return chosen, [ref for ref in refs if ref not in taken]

    def _ready(self, waited_for: set[Reference]) -> list[Reference]:
        """Return the references that are done, in the order of submission."""
        return sorted((ref for ref in self._cluster.done if ref in waited_for), key=lambda ref: ref.number)

    def get(self, ref: Reference) -> Any:
        """In the place of `ray.get`, for a reference that is done."""
        with self._calling("get", self._costs.get_s):
            del self._cluster.done[ref]
            if isinstance(ref.outcome, BaseException):
                raise ref.outcome
            return ref.outcome

    def kill(self, actor: SimulatedActor) -> None:
        """In the place of `ray.kill`."""
        with self._calling("kill", self._costs.kill_s):
            self._cluster.kill(actor)

    def cluster_resources(self) -> dict[str, float]:
        """In the place of `ray.cluster_resources`."""
        with self._calling("cluster_resources", self._resources.at(len(self._cluster.machines.nodes))):
            return {"CPU": float(sum(node.cpus for node in self._cluster.machines.nodes))}

    def nodes(self) -> list[dict[str, Any]]:
        """In the place of `ray.nodes`."""
        with self._calling("nodes", self._nodes.at(len(self._cluster.machines.nodes))):
            return [
                {
                    "NodeID": node.name,
                    "NodeManagerAddress": node.address,
                    "Resources": {"CPU": node.cpus},
                    "Alive": True,
                }
                for node in self._cluster.machines.nodes
            ]
