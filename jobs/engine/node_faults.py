"""Nodes that fail on known-good input or on tracks that pass elsewhere: others get the work, if any can."""

import random
from collections import Counter

from jobs.engine.attempts import Attempt
from jobs.engine.cluster import worker_nodes
from jobs.engine.environment import Origin
from pipeline.log import get_logger
from schemas.errors import EarmarkError, EnvironmentFaultError

log = get_logger(__name__)

_FAULTS_IN_A_ROW = 2
"""Faults in a row that exclude a node; a full disk or process table may have recovered at the second try."""

_REFUTED = EnvironmentFaultError("tracks that failed there pass on another node")


class NodeFaults:
    """Counts the faults of nodes by kind of work, and places work elsewhere."""

    def __init__(self) -> None:
        self._faults: Counter[tuple[type, str]] = Counter()
        self._chance = random.Random(0)  # noqa: S311 (it spreads work)

    def record(self, kind: type, origin: Origin, fault: EnvironmentFaultError) -> None:
        """Count a fault of a node.

        Raises
        ------
        EarmarkError
            If no node is left that can do this kind of work.
        """
        self._faults[kind, origin.node] += 1
        log.warning(
            "node cannot do the work",
            node=origin.address,
            kind=kind.__name__,
            faults=self._faults[kind, origin.node],
            kept_out=origin.node in self._faulty(kind),
            error=fault,
        )
        if not set(worker_nodes()) - self._faulty(kind):
            raise EarmarkError(
                f"node {origin.address} cannot do the work, and no track is to blame: {fault}; repair it, or "
                "remove it from the cluster, and run again"
            ) from fault

    def record_success(self, attempt: Attempt, node: str) -> None:
        """Forget the faults of a node that has done work; one that failed the same tracks is at fault."""
        kind = type(attempt.work)
        self._faults.pop((kind, node), None)
        known = worker_nodes() if attempt.judge not in (None, node) else {}
        if attempt.judge in known:
            self.record(kind, Origin(attempt.judge, known[attempt.judge].address, None), _REFUTED)

    def place(self, kind: type, avoided: frozenset[str], *, chosen: bool) -> str | None:
        """Return the node on which to run a task; None lets Ray choose.

        Parameters
        ----------
        kind : type
            The kind of work.
        avoided : frozenset of str
            Nodes that have already failed on this work: avoided if possible, while faulty nodes always are.
        chosen : bool
            Always choose a node, so that it is known which one ran the work.
        """
        faulty = self._faulty(kind)
        if not (faulty or avoided or chosen):
            return None
        nodes = worker_nodes()
        sound = {name: node for name, node in nodes.items() if name not in faulty}
        others = {name: node for name, node in sound.items() if name not in avoided} or sound
        if not others or (len(others) == len(nodes) and not chosen):
            return None
        (node,) = self._chance.choices(list(others), [node.cpus for node in others.values()])
        return node

    def _faulty(self, kind: type) -> set[str]:
        counted = {node: n for (its, node), n in self._faults.items() if its is kind}
        return {node for node, n_faults in counted.items() if n_faults >= _FAULTS_IN_A_ROW}
