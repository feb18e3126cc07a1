"""Ending processes of a run as a machine that fails does: SIGKILL, no warning, at any moment."""

import contextlib
import random
import subprocess
import time
from dataclasses import dataclass

import psutil

from tests.chaos.nodes import Nodes

WORKER, ACTOR, DRIVER, MACHINE, NODE, HEAD = "worker", "actor", "driver", "machine", "node", "head"
"""A featurize worker; an inference actor; the command alone; the command and the local Ray it started; a node
of the cluster; the cluster with its head."""

ENDS_THE_RUN = frozenset({DRIVER, MACHINE, HEAD})
"""After these the same command is run again; the others the run has to get over by itself."""

_TITLES = {WORKER: "ray::featurize", ACTOR: "ray::Labeler"}
_LOOK_EVERY_S = 0.02

Run = subprocess.Popen[str]


@dataclass(frozen=True)
class Striker:
    """Strikes runs on a local Ray, or on a cluster of `nodes`.

    Attributes
    ----------
    chance : random.Random
        Chooses moments and victims.
    longest_wait_s : float
        Each strike comes at a moment between the last one, or the start of the run, and this much later.
    nodes : Nodes or None
        The cluster.
    """

    chance: random.Random
    longest_wait_s: float
    nodes: Nodes | None

    def strike(self, run: Run, kind: str) -> bool:
        """Wait for a random moment and for a victim, and end it; false if the run ended before."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(timeout=self.chance.uniform(0, self.longest_wait_s))
        while run.poll() is None:
            if self._struck(run, kind):
                return True
            time.sleep(_LOOK_EVERY_S)
        return False

    def _struck(self, run: Run, kind: str) -> bool:
        if kind in _TITLES:
            return self._kill_one(run, _TITLES[kind])
        if self.nodes is not None and kind == NODE:
            self.nodes.lose_one(self.chance)
        elif self.nodes is not None and kind == HEAD:
            self.nodes.lose_head()
        else:
            _kill_all(run, with_children=kind == MACHINE)
        return True

    def _kill_one(self, run: Run, title: str) -> bool:
        """Kill a process of a title, if there is one."""
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(run.pid if self.nodes is None else None)
            found = [
                process
                for process in root.children(recursive=True)
                if process.name().startswith(title) and process.status() != psutil.STATUS_ZOMBIE
            ]
            if found:
                self.chance.choice(found).kill()
                return True
        return False


def _kill_all(run: Run, *, with_children: bool) -> None:
    doomed = [psutil.Process(run.pid)]
    if with_children:
        doomed += doomed[0].children(recursive=True)
    for process in doomed:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
