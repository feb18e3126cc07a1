"""A Ray cluster on this machine whose nodes and head can be killed without warning."""

import random

from ray.cluster_utils import Cluster

from tests.ports import free_port

_OBJECT_STORE_BYTES = 100 << 20


class Nodes:
    """A head and one worker node with one CPU each. A new head has the address of the old one.

    The environment must set ``RAY_AUTH_MODE=disabled``.
    """

    def __init__(self) -> None:
        self._port = free_port()
        self._cluster: Cluster | None = None

    @property
    def address(self) -> str:
        """The value of ``--address``."""
        assert self._cluster is not None
        return str(self._cluster.address)

    def start(self) -> None:
        """Start the head and the worker node."""
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
        """Add a worker node."""
        assert self._cluster is not None
        self._cluster.add_node(num_cpus=1, object_store_memory=_OBJECT_STORE_BYTES)

    def kill_worker_node(self, rng: random.Random) -> None:
        """Kill all processes of a worker node, and add a new one."""
        assert self._cluster is not None
        self._cluster.remove_node(rng.choice(list(self._cluster.worker_nodes)), allow_graceful=False)
        self.add()

    def kill_cluster(self) -> None:
        """Kill all processes of the cluster, including the head."""
        assert self._cluster is not None
        for node in (self._cluster.head_node, *self._cluster.worker_nodes):
            node.kill_all_processes(check_alive=False, allow_graceful=False)

    def stop(self) -> None:
        """Stop what is left of the cluster."""
        if self._cluster is not None:
            self._cluster.shutdown()
            self._cluster = None
