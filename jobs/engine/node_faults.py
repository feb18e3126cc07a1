"""Nodes that cannot do the work, whatever they are given: kept out of it as long as others can."""

import random
from collections import Counter

from jobs.engine.cluster import worker_nodes
from jobs.engine.environment import Origin
from pipeline.log import get_logger
from schemas.errors import EarmarkError, EnvironmentFaultError

log = get_logger(__name__)

_FAULTS_IN_A_ROW = 2
"""A full disk, or a machine that cannot start one process more, may have passed at the second try."""


class NodeFaults:
    """Counts the faults of nodes, by the kind of work, and places work elsewhere.

    Parameters
    ----------
    seed : int
        Of the choice among the other nodes.
    """

    def __init__(self, seed: int = 0) -> None:
        self._faults: Counter[tuple[type, str]] = Counter()
        self._chance = random.Random(seed)  # noqa: S311 (it spreads work)

    def note(self, kind: type, origin: Origin, fault: EnvironmentFaultError) -> None:
        """Count a fault of a node.

        Raises
        ------
        EarmarkError
            If no node is left that could do such work.
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
                f"no track is to blame, node {origin.address} cannot do the work: {fault}; repair it, or "
                "take it out of the cluster, and run again"
            ) from fault

    def clear(self, kind: type, node: str) -> None:
        """Forget the faults of a node that has done such work."""
        self._faults.pop((kind, node), None)

    def place(self, kind: type, avoided: frozenset[str], *, chosen: bool) -> str | None:
        """Return the node that a task is to run on; None: whichever Ray takes.

        Parameters
        ----------
        kind : type
            The kind of work.
        avoided : frozenset of str
            Nodes that have had their say on it: faulty ones are kept out of it, these where possible.
        chosen : bool
            Choose a node in any case, so that it is known which one has had its say.
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
