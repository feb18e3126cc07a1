"""A Ray cluster on this machine whose nodes and head can be lost without a word."""

import random
import socket

from ray.cluster_utils import Cluster

_OBJECT_STORE_BYTES = 100 << 20


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Nodes:
    """A head and one further node of a CPU each; the head comes back at the address it had.

    The environment must say ``RAY_AUTH_MODE=disabled``.
    """

    def __init__(self) -> None:
        self._port = free_port()
        self._cluster: Cluster | None = None

    @property
    def address(self) -> str:
        """For ``--address``."""
        assert self._cluster is not None
        return str(self._cluster.address)

    def start(self) -> None:
        """Start the head and the further node."""
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 1,
                "include_dashboard": False,
                "gcs_server_port": self._port,
                "object_store_memory": _OBJECT_STORE_BYTES,
            },
        )
        self.add()

    def add(self) -> None:
        """Add a node."""
        assert self._cluster is not None
        self._cluster.add_node(num_cpus=1, object_store_memory=_OBJECT_STORE_BYTES)

    def lose_one(self, chance: random.Random) -> None:
        """End all processes of a node that is not the head, and give another one for it."""
        assert self._cluster is not None
        self._cluster.remove_node(chance.choice(list(self._cluster.worker_nodes)), allow_graceful=False)
        self.add()

    def lose_head(self) -> None:
        """End all processes of the whole cluster."""
        assert self._cluster is not None
        for node in (self._cluster.head_node, *self._cluster.worker_nodes):
            node.kill_all_processes(check_alive=False, allow_graceful=False)

    def stop(self) -> None:
        """End what is left of the cluster."""
        if self._cluster is not None:
            self._cluster.shutdown()
            self._cluster = None
