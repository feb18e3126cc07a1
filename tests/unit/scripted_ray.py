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
from jobs.engine.workers import Answer
from pipeline.shards.featurize_shard import ShardResult

NODES = {"a": Node("10.0.0.1", 8.0), "b": Node("10.0.0.2", 8.0)}
Outcome = ShardResult | BaseException
Script = Callable[[Attempt], Outcome]


class Reference:
    """What Ray gives for a task: compared by itself."""


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
    _results: dict[Reference, Outcome] = field(default_factory=dict)

    def start(self, tried: Attempt, assignment: Assignment, node: str | None) -> Reference:
        """In place of `start_featurize`."""
        self.tried.append(tried)
        reference = Reference()
        self._results[reference] = self.script(tried)
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

    def get(self, reference: Reference) -> Answer:
        """In place of `ray.get`."""
        result = self._results.pop(reference)
        if isinstance(result, BaseException):
            raise result
        return Answer(Origin("a", "10.0.0.1", None), result)

    def patched(self, monkeypatch: pytest.MonkeyPatch) -> "ScriptedRay":
        """Put it in Ray's place in the engine."""
        places: dict[str, Any] = {
            "engine.start_featurize": self.start,
            "engine.ray.wait": self.wait,
            "engine.ray.get": self.get,
            "cluster_size.cpus_and_gpus": lambda: (2, 0),
            "retries.installation_error": lambda: None,
            "node_faults.worker_nodes": lambda: NODES,
        }
        for name, part in places.items():
            monkeypatch.setattr(f"jobs.engine.{name}", part)
        return self
