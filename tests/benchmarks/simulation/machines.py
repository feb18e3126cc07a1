"""The nodes of a simulated cluster: CPUs, what runs on them, and how their time was spent."""

import itertools
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, eq=False)
class SimulatedNode:
    """A node.

    Attributes
    ----------
    name, address : str
    free : int
        CPUs that nothing holds.
    n_warm : int
        Worker processes that have loaded our code.
    tasks, actors : dict
        What runs on it, as ordered sets.
    is_lost, is_known_lost : bool
        Whether it is gone, and whether Ray has noticed.
    """

    name: str
    address: str
    cpus: int
    free: int
    n_warm: int = 0
    tasks: dict[Any, None] = field(default_factory=dict)
    actors: dict[Any, None] = field(default_factory=dict)
    is_lost: bool = False
    is_known_lost: bool = False


class Machines:
    """All nodes.

    Attributes
    ----------
    nodes : list of SimulatedNode
        Those that Ray considers alive.
    n_free : int
        Free CPUs of nodes that are up.
    n_down : int
        CPUs of nodes that are lost and not back yet.
    """

    def __init__(self, cpus: int, cpus_per_node: int) -> None:
        self._numbers = itertools.count()
        self._with_free: dict[SimulatedNode, None] = {}
        self.nodes: list[SimulatedNode] = []
        self.n_free = 0
        self.n_down = 0
        for start in range(0, cpus, cpus_per_node):
            self.add(min(cpus_per_node, cpus - start))

    def add(self, cpus: int) -> SimulatedNode:
        """Add a node."""
        number = next(self._numbers)
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        node = SimulatedNode(f"{number:056x}", address, cpus, free=cpus)
        self.nodes.append(node)
        self._with_free[node] = None
        self.n_free += cpus
        return node

    def find_free(self, name: str | None = None) -> SimulatedNode | None:
        """Return a node with a free CPU, that of a name if it has one; None if all are busy."""
        if name is not None:
            for node in self._with_free:
                if node.name == name:
                    return node
        return next(iter(self._with_free), None)

    def find_spread(self) -> SimulatedNode | None:
        """Return the node with a free CPU that has the fewest actors."""
        return min(self._with_free, key=lambda node: len(node.actors), default=None)

    def hold(self, node: SimulatedNode) -> None:
        """Take a CPU of a node."""
        node.free -= 1
        self.n_free -= 1
        if not node.free:
            del self._with_free[node]

    def release(self, node: SimulatedNode) -> None:
        """Give back a CPU of a node, unless the node is gone."""
        if not node.is_lost:
            node.free += 1
            self.n_free += 1
            self._with_free[node] = None

    def lose(self, node: SimulatedNode) -> None:
        """Lose a node; Ray does not know yet."""
        node.is_lost = True
        self.n_down += node.cpus
        self.n_free -= node.free
        self._with_free.pop(node, None)

    def notice_loss(self, node: SimulatedNode) -> None:
        """Remove a lost node from those that Ray considers alive."""
        node.is_known_lost = True
        self.nodes.remove(node)

    def give_back(self, lost: SimulatedNode) -> SimulatedNode:
        """Add a node in the place of a lost one."""
        self.n_down -= lost.cpus
        return self.add(lost.cpus)
