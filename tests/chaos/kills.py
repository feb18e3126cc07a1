"""Kill processes of a run as a failing machine does: by SIGKILL, without warning, at any moment."""

import contextlib
import random
import subprocess
import time
from dataclasses import dataclass

import psutil

from tests.chaos.nodes import Nodes

WORKER, ACTOR, DRIVER, MACHINE, NODE, HEAD = "worker", "actor", "driver", "machine", "node", "head"
"""A featurize worker; an actor that runs the model; only the command; the command and its local Ray; a node
of the cluster; the whole cluster with its head."""

ENDS_THE_RUN = frozenset({DRIVER, MACHINE, HEAD})
"""After these the same command is run again; the run itself must recover from the others."""

_TITLES = {WORKER: "ray::featurize", ACTOR: "ray::Labeler"}
_POLL_S = 0.02

Run = subprocess.Popen[str]


@dataclass(frozen=True)
class Killer:
    """Kills processes of runs on a local Ray, or on a cluster of `nodes`.

    Attributes
    ----------
    rng : random.Random
        Chooses moments and victims.
    max_wait_s : float
        Each kill is at most this many seconds after the last one, or after the start of the run.
    nodes : Nodes or None
        The cluster, if any.
    """

    rng: random.Random
    max_wait_s: float
    nodes: Nodes | None

    def kill(self, run: Run, kind: str) -> bool:
        """Wait for a random moment and for a victim, and kill it; return False if the run ended before."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(timeout=self.rng.uniform(0, self.max_wait_s))
        while run.poll() is None:
            if self._try_kill(run, kind):
                return True
            time.sleep(_POLL_S)
        return False

    def _try_kill(self, run: Run, kind: str) -> bool:
        if kind in _TITLES:
            return self._kill_one(run, _TITLES[kind])
        if self.nodes is not None and kind == NODE:
            self.nodes.kill_worker_node(self.rng)
        elif self.nodes is not None and kind == HEAD:
            self.nodes.kill_cluster()
        else:
            _kill_all(run, with_children=kind == MACHINE)
        return True

    def _kill_one(self, run: Run, title: str) -> bool:
        """Kill a random process with this title, if there is one."""
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(run.pid if self.nodes is None else None)
            found = [
                process
                for process in root.children(recursive=True)
                if process.name().startswith(title) and process.status() != psutil.STATUS_ZOMBIE
            ]
            if found:
                self.rng.choice(found).kill()
                return True
        return False


def _kill_all(run: Run, *, with_children: bool) -> None:
    doomed = [psutil.Process(run.pid)]
    if with_children:
        doomed += doomed[0].children(recursive=True)
    for process in doomed:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
