"""Tasks and actors of a simulated cluster, and the references to their results."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.shards.featurize_shard import Shard
from pipeline.shards.label_part import LabelTask
from tests.benchmarks.simulation import inputs
from tests.benchmarks.simulation.machines import SimulatedNode
from tests.benchmarks.simulation.workload import Duration


@dataclass(slots=True, eq=False)
class Reference:
    """What Ray returns for a task or a call; it is done once it has an outcome."""

    number: int
    outcome: Any = None


@dataclass(slots=True, eq=False)
class SimulatedTask:
    """A task that waits or runs."""

    reference: Reference
    shard: Shard
    preferred: str | None
    node: SimulatedNode | None = None
    started_at: float = 0.0
    warm_s: float = 0.0
    duration: Duration | None = None


@dataclass(slots=True, eq=False)
class SimulatedCall:
    """A part that an actor labels."""

    reference: Reference
    task: LabelTask
    duration: Duration


class Calls(Protocol):
    """Where an actor sends the calls of its methods."""

    def call_ready(self, actor: "SimulatedActor") -> Reference:
        """Call `Labeler.ready`."""

    def call_answer(self, actor: "SimulatedActor", task: LabelTask) -> Reference:
        """Call `Labeler.answer`."""


@dataclass(eq=False)
class SimulatedActor:
    """An actor, with the methods that the engine calls."""

    cluster: "Calls"
    ready_reference: Reference | None = None
    node: SimulatedNode | None = None
    placed_at: float = 0.0
    is_up: bool = False
    is_dead: bool = False
    predicting_until: float = 0.0
    ends: deque[float] = field(default_factory=lambda: deque(maxlen=inputs.ACTOR_PARTS_AT_ONCE))
    cpu_s: float = 0.0
    calls: deque[SimulatedCall] = field(default_factory=deque)

    @property
    def ready(self) -> "_Method":
        """In the place of `Labeler.ready`."""
        return _Method(lambda: self.cluster.call_ready(self))

    @property
    def answer(self) -> "_Method":
        """In the place of `Labeler.answer`."""
        return _Method(lambda task, assignment: self.cluster.call_answer(self, task))


@dataclass(frozen=True, slots=True)
class _Method:
    remote: Callable[..., Reference]
