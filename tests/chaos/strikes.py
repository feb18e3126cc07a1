"""Ending processes of a run as a machine that fails does: SIGKILL, no warning, at any moment."""

import contextlib
import random
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
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
            return self._kill_one(self._titled(run, _TITLES[kind]))
        if kind in (NODE, HEAD):
            assert self.nodes is not None
            lose: Callable[[], None] = self.nodes.lose_head
            if kind == NODE:
                lose = lambda: self.nodes.lose_one(self.chance)  # noqa: E731
            lose()
            return True
        doomed = [psutil.Process(run.pid)]
        if kind == MACHINE:
            doomed += doomed[0].children(recursive=True)
        for process in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return True

    def _titled(self, run: Run, title: str) -> Iterator[psutil.Process]:
        root = psutil.Process(run.pid if self.nodes is None else None)
        for process in root.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.name().startswith(title):
                    yield process

    def _kill_one(self, processes: Iterator[psutil.Process]) -> bool:
        try:
            found: Sequence[psutil.Process] = list(processes)
            if found:
                self.chance.choice(found).kill()
        except psutil.NoSuchProcess:
            return False
        return bool(found)
