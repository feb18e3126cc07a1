"""Rounds of chaos: the installed command on new tables, struck at random, run again until it is done."""

import os
import random
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.catalog import ChaosCatalog
from tests.chaos.damage import CRASHES
from tests.chaos.nodes import Nodes
from tests.chaos.strikes import ENDS_THE_RUN, HEAD, Run, Striker
from tests.chaos.verdict import TablesReader, faults
from tests.chaos.watch import CatalogWatch
from tests.e2e.earmark import EARMARK

_DONE = (0, 3)
_LONGEST_RUN_S = 1200.0

Say = Callable[[str], None]


class BrokenPromiseError(AssertionError):
    """A track was lost, doubled or misnamed, or a run ended as it should not."""


@dataclass
class Round:
    """What one round came to.

    Attributes
    ----------
    on_cluster : bool
        Whether it ran on a cluster; else on a local Ray.
    strikes : Counter
        By kind.
    n_runs : int
        How often the command was started.
    wall_s : float
        From the first start to the last end, seconds.
    n_decoded, n_repeated : int
        Files that were opened, and how often one was opened again.
    n_looks : int
        How often another reader looked at the tables meanwhile.
    """

    on_cluster: bool
    strikes: Counter[str] = field(default_factory=Counter)
    n_runs: int = 0
    wall_s: float = 0.0
    n_decoded: int = 0
    n_repeated: int = 0
    n_looks: int = 0


@dataclass(frozen=True)
class Chaos:
    """Rounds over one catalog.

    Attributes
    ----------
    catalog : ChaosCatalog
        What is labeled.
    folder : Path
        For the tables, new ones each round.
    chance : random.Random
        Chooses moments and victims.
    longest_wait_s : float
        Most seconds between two strikes.
    track_timeout_s : float
        ``--track-timeout`` of the runs.
    say : callable
        Gets a line for each strike.
    """

    catalog: ChaosCatalog
    folder: Path
    chance: random.Random
    longest_wait_s: float
    track_timeout_s: float
    say: Say

    def round(self, pending: list[str], *, on_cluster: bool) -> Round:
        """Label the catalog into new tables under strikes, the first of `pending`, which those done leave.

        Raises
        ------
        BrokenPromiseError
            If the tables are not what they should be, or a run ended otherwise than it may.
        """
        tables = Path(tempfile.mkdtemp(dir=self.folder, prefix="round-")) / "tables"
        crashing = [path for path, kind in self.catalog.bad.items() if kind == CRASHES]
        done = Round(on_cluster)
        with ExitStack() as stack:
            nodes = None
            if on_cluster:
                nodes = Nodes()
                stack.callback(nodes.stop)
                nodes.start()
            watch = stack.enter_context(CatalogWatch(self.catalog.root, crashing))
            reader = stack.enter_context(TablesReader(tables))
            striker = Striker(self.chance, self.longest_wait_s, nodes)
            started = time.monotonic()
            while self._run(tables, striker, pending, done) not in _DONE:
                pass
            done.wall_s = time.monotonic() - started
        done.n_decoded, done.n_looks = len(watch.opened), reader.n_looks
        done.n_repeated = watch.opened.total() - len(watch.opened)
        if found := reader.doubles + faults(self.catalog, tables):
            raise BrokenPromiseError(f"{tables}:\n" + "\n".join(found))
        return done

    def _run(self, tables: Path, striker: Striker, pending: list[str], done: Round) -> int:
        """Run the command once under strikes; its exit code."""
        command = [EARMARK, "run", self.catalog.root, tables, "--track-timeout", str(self.track_timeout_s)]
        if striker.nodes is not None:
            command += ["--address", striker.nodes.address]
        done.n_runs += 1
        with tempfile.TemporaryFile("w+") as output:
            run = subprocess.Popen(
                [*map(str, command)], stdout=output, stderr=subprocess.STDOUT, text=True, env=_environment()
            )
            try:
                last = self._strike(run, striker, pending, done)
                code = run.wait(timeout=_LONGEST_RUN_S)
            finally:
                run.kill()
                run.wait()
            output.seek(0)
            _judge(code, last, output.read())
        if last == HEAD and striker.nodes is not None:
            striker.nodes.stop()
            striker.nodes.start()
        return code

    def _strike(self, run: Run, striker: Striker, pending: list[str], done: Round) -> str | None:
        """Strike a run until it is over or nothing is pending; the last strike."""
        last = None
        while pending and last not in ENDS_THE_RUN and striker.strike(run, pending[0]):
            last = pending.pop(0)
            done.strikes[last] += 1
            self.say(f"  {last} struck in run {done.n_runs} of this round, {len(pending)} strikes to go")
        return last


def _environment() -> dict[str, str]:
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    environment.pop("RAY_ADDRESS", None)
    return environment


def _judge(code: int, last: str | None, output: str) -> None:
    """See that a run ended as it may after its last strike."""
    said = [line for line in output.splitlines() if line.startswith("earmark: error:")]
    if code in _DONE:
        return
    if last in ENDS_THE_RUN - {HEAD} and code < 0:
        return
    if last == HEAD and code == 1 and len(said) == 1 and "Traceback" not in output:
        return
    raise BrokenPromiseError(f"a run exited with {code} after the strike {last}:\n{output[-4000:]}")
