"""Rounds of chaos: run the installed command on new tables and kill its processes, again until it is done."""

import os
import random
import subprocess
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from pipeline.storage import storage
from tests.chaos.catalog import ChaosCatalog
from tests.chaos.damage import CRASHES
from tests.chaos.kills import ENDS_THE_RUN, HEAD, Killer, Run
from tests.chaos.nodes import Nodes
from tests.chaos.verdict import TablesReader, find_faults
from tests.chaos.watch import CatalogWatch
from tests.e2e.earmark import EARMARK

_DONE = (0, 3)
_LONGEST_RUN_S = 1200.0

Say = Callable[[str], None]


class BrokenPromiseError(AssertionError):
    """A track was lost, duplicated or failed with the wrong error, or a run ended in an unexpected way."""


@dataclass
class Round:
    """The figures of one round.

    Attributes
    ----------
    on_cluster : bool
        Whether it ran on a cluster, or on a local Ray.
    kills : Counter
        Number of kills by kind.
    n_runs : int
        Number of times the command was started.
    wall_s : float
        Seconds from the first start to the last end.
    n_decoded, n_repeated : int
        Number of files that were opened, and of repeated opens.
    n_reads : int
        Number of times another reader read the tables meanwhile.
    """

    on_cluster: bool
    kills: Counter[str] = field(default_factory=Counter)
    n_runs: int = 0
    wall_s: float = 0.0
    n_decoded: int = 0
    n_repeated: int = 0
    n_reads: int = 0


@dataclass(frozen=True)
class Chaos:
    """Rounds over one catalog.

    Attributes
    ----------
    catalog : ChaosCatalog
        The catalog to label.
    root : str
        The folder or bucket of the tables of each round.
    rng : random.Random
        Chooses moments and victims.
    max_wait_s : float
        Maximum seconds between two kills.
    track_timeout_s : float
        ``--track-timeout`` of the runs.
    say : callable
        Called with a line for each kill.
    """

    catalog: ChaosCatalog
    root: str
    rng: random.Random
    max_wait_s: float
    track_timeout_s: float
    say: Say

    def run_round(self, pending: list[str], *, on_cluster: bool) -> Round:
        """Label the catalog into new tables during the `pending` kills, and remove those done from the list.

        Raises
        ------
        BrokenPromiseError
            If the tables are wrong, or a run ended in an unexpected way.
        """
        tables = storage.join(self.root, f"round-{uuid.uuid4().hex}", "tables")
        crashing = [path for path, kind in self.catalog.bad.items() if kind == CRASHES]
        done = Round(on_cluster)
        with ExitStack() as stack:
            nodes = None
            if on_cluster:
                nodes = Nodes()
                stack.callback(nodes.stop)
                nodes.start()
            watch = stack.enter_context(CatalogWatch(self.catalog.root, crashing))
            # On a bucket, another reader may see rows twice for a moment, while parts are merged.
            reader = stack.enter_context(TablesReader(tables)) if storage.is_local(tables) else None
            killer = Killer(self.rng, self.max_wait_s, nodes)
            started = time.monotonic()
            while self._run(tables, killer, pending, done) not in _DONE:
                pass
            done.wall_s = time.monotonic() - started
        done.n_decoded, done.n_reads = len(watch.opened), reader.n_reads if reader is not None else 0
        done.n_repeated = watch.opened.total() - len(watch.opened)
        duplicates = reader.duplicates if reader is not None else []
        if found := duplicates + find_faults(self.catalog, tables):
            raise BrokenPromiseError(f"{tables}:\n" + "\n".join(found))
        return done

    def _run(self, tables: str, killer: Killer, pending: list[str], done: Round) -> int:
        """Run the command once, kill its processes, and return its exit code."""
        command = [EARMARK, "run", self.catalog.root, tables, "--track-timeout", str(self.track_timeout_s)]
        if killer.nodes is not None:
            command += ["--address", killer.nodes.address]
        done.n_runs += 1
        with tempfile.TemporaryFile("w+") as output:
            run = subprocess.Popen(
                [*map(str, command)], stdout=output, stderr=subprocess.STDOUT, text=True, env=_environment()
            )
            try:
                last = self._kill(run, killer, pending, done)
                code = run.wait(timeout=_LONGEST_RUN_S)
            finally:
                run.kill()
                run.wait()
            output.seek(0)
            _check_exit(code, last, output.read())
        if last == HEAD and killer.nodes is not None:
            killer.nodes.stop()
            killer.nodes.start()
        return code

    def _kill(self, run: Run, killer: Killer, pending: list[str], done: Round) -> str | None:
        """Kill processes until the run is over or nothing is pending; return the last kind of kill."""
        last = None
        while pending and last not in ENDS_THE_RUN and killer.kill(run, pending[0]):
            last = pending.pop(0)
            done.kills[last] += 1
            self.say(f"  {last} killed in run {done.n_runs} of this round, {len(pending)} kills to go")
        return last


def _environment() -> dict[str, str]:
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    environment.pop("RAY_ADDRESS", None)
    return environment


def _check_exit(code: int, last: str | None, output: str) -> None:
    """Check that a run ended in a way that its last kill allows."""
    errors = [line for line in output.splitlines() if line.startswith("earmark: error:")]
    if code in _DONE:
        return
    if last in ENDS_THE_RUN - {HEAD} and code < 0:
        return
    if last == HEAD and code == 1 and len(errors) == 1 and "Traceback" not in output:
        return
    # While a driver registers, Ray itself ends it if the head dies; nothing of ours can say so.
    if last == HEAD and code == 1 and not errors and "Failed to register worker to Raylet" in output:
        return
    raise BrokenPromiseError(f"a run exited with {code} after the kill of the {last}:\n{output[-4000:]}")
