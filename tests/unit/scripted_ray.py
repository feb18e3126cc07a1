"""A cluster in this process that does as a test says: the engine's decisions, without Ray and its seconds.

What a real cluster does stands in tests/integration and tests/e2e; here is what is decided after it did.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from jobs.engine.assignment import Assignment
from jobs.engine.attempts import Attempt
from jobs.engine.cluster import Node
from jobs.engine.environment import Origin
from jobs.engine.workers import Answer, Loaded
from pipeline.shards.featurize_shard import ShardResult
from pipeline.shards.label_part import LabelResult, LabelTask
from schemas.errors import EnvironmentFaultError

NODES = {"a": Node("10.0.0.1", 8.0), "b": Node("10.0.0.2", 8.0)}
Outcome = ShardResult | LabelResult | EnvironmentFaultError | BaseException
Script = Callable[[Attempt], Outcome]


class Reference:
    """What Ray gives for a task: compared by itself."""


@dataclass
class _Method:
    """A method of an actor, whose call is done at once."""

    ray: "ScriptedRay"
    do: Callable[..., "Outcome | Loaded"]

    def remote(self, *arguments: Any) -> "Reference":
        """Call it as Ray does."""
        return self.ray.refer(self.do(*arguments))


@dataclass(eq=False)
class _Actor:
    """What Ray gives for an actor: compared by itself."""

    ready: _Method
    answer: _Method


class ScriptedActors:
    """Takes the place of the actors of a scripted cluster.

    Parameters
    ----------
    ray : ScriptedRay
        The cluster, which is patched.
    label : callable
        The outcome of a label task, given the number of the actor and the task.

    Attributes
    ----------
    labeled : list of (int, LabelTask)
        All parts that actors were given, each with the number of the actor.
    """

    def __init__(
        self, ray: "ScriptedRay", label: Callable[[int, LabelTask], Outcome], patch: pytest.MonkeyPatch
    ) -> None:
        self.labeled: list[tuple[int, LabelTask]] = []
        self._ray, self._label, self._n_started = ray, label, 0
        patch.setattr("jobs.engine.actor_pool.start_labeler", self._start)
        patch.setattr("jobs.engine.actor_pool.ray.kill", lambda actor: None)
        patch.setattr("jobs.engine.actor_pool.cpus_and_gpus", lambda: (2, 0))
        for name in ("worker_nodes", "live_nodes"):
            patch.setattr(f"jobs.engine.actor_pool.{name}", lambda: NODES)

    def _start(self, model: str, **options: object) -> _Actor:
        number, self._n_started = self._n_started, self._n_started + 1

        def answer(task: LabelTask, assignment: Assignment) -> Outcome:
            self.labeled.append((number, task))
            return self._label(number, task)

        up = Loaded(Origin("a", "10.0.0.1", None), ())
        return _Actor(ready=_Method(self._ray, lambda: up), answer=_Method(self._ray, answer))


@dataclass
class ScriptedRay:
    """Takes the place of Ray in the engine; each task is done at once, as `script` says.

    Attributes
    ----------
    script : callable
        The outcome of an attempt: a result, or the error that Ray would raise.
    tried : list of Attempt
        All attempts, in order.
    """

    script: Script
    tried: list[Attempt] = field(default_factory=list)
    _results: dict[Reference, Outcome | Loaded] = field(default_factory=dict)

    def start(self, tried: Attempt, assignment: Assignment, node: str | None) -> Reference:
        """In place of `start_featurize`."""
        self.tried.append(tried)
        return self.refer(self.script(tried))

    def refer(self, result: "Outcome | Loaded") -> Reference:
        """Return a reference to what has been done."""
        reference = Reference()
        self._results[reference] = result
        return reference

    def wait(
        self, references: Sequence[Reference], num_returns: int, timeout: float
    ) -> tuple[list[Reference], list[Reference]]:
        """In place of `ray.wait`."""
        return list(references[:num_returns]), list(references[num_returns:])

    def wait_for_tasks(
        self, references: Sequence[object], num_returns: int, timeout: float
    ) -> tuple[list[Reference], list[Reference]]:
        """In place of `ray.wait`, where no actor ever comes up."""
        tasks = [each for each in references if isinstance(each, Reference)]
        return self.wait(tasks, num_returns, timeout)

    def get(self, reference: Reference) -> Answer | Loaded:
        """In place of `ray.get`."""
        result = self._results.pop(reference)
        if isinstance(result, BaseException) and not isinstance(result, EnvironmentFaultError):
            raise result
        if isinstance(result, Loaded):
            return result
        return Answer(Origin("a", "10.0.0.1", None), result)

    def patched(self, monkeypatch: pytest.MonkeyPatch) -> "ScriptedRay":
        """Put it in Ray's place in the engine."""
        places: dict[str, Any] = {
            "engine.start_featurize": self.start,
            "engine.start_label_isolated": self.start,
            "engine.ray.wait": self.wait,
            "engine.ray.get": self.get,
            "cluster_size.cpus_and_gpus": lambda: (2, 0),
            "retries.installation_error": lambda: None,
            "node_faults.worker_nodes": lambda: NODES,
        }
        for name, part in places.items():
            monkeypatch.setattr(f"jobs.engine.{name}", part)
        return self
