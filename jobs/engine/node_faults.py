"""Nodes that cannot do the work, whatever they are given: kept out of it as long as others can."""

import random
from collections import Counter
from typing import Any

from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.engine.cluster import Node, worker_nodes
from jobs.engine.environment import Origin
from schemas.errors import EarmarkError, EnvironmentFaultError

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
        if not set(worker_nodes()) - self._faulty(kind):
            raise EarmarkError(
                f"no track is to blame, node {origin.address} cannot do the work: {fault}; repair it, or "
                "take it out of the cluster, and run again"
            ) from fault

    def clear(self, kind: type, node: str) -> None:
        """Forget the faults of a node that has done such work."""
        self._faults.pop((kind, node), None)

    def placement(self, kind: type, avoided: frozenset[str]) -> dict[str, Any]:
        """Return options of a Ray task that keep it off faulty nodes, and off others where possible.

        Parameters
        ----------
        kind : type
            The kind of work.
        avoided : frozenset of str
            Nodes that have had their say on it.
        """
        faulty = self._faulty(kind)
        if not faulty and not avoided:
            return {}
        nodes = worker_nodes()
        sound = {name: node for name, node in nodes.items() if name not in faulty}
        others = {name: node for name, node in sound.items() if name not in avoided} or sound
        if not others or len(others) == len(nodes):
            return {}
        return {"scheduling_strategy": NodeAffinitySchedulingStrategy(self._one_of(others), soft=True)}

    def _faulty(self, kind: type) -> set[str]:
        counted = {node: n for (its, node), n in self._faults.items() if its is kind}
        return {node for node, n_faults in counted.items() if n_faults >= _FAULTS_IN_A_ROW}

    def _one_of(self, nodes: dict[str, Node]) -> str:
        (chosen,) = self._chance.choices(list(nodes), [node.cpus for node in nodes.values()])
        return chosen
