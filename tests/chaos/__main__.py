"""The long form: ``python -m tests.chaos [--seed N]``, 520 files and 34 strikes of all kinds."""

import argparse
import os
import random
import secrets
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.chaos.catalog import ChaosCatalog, write_chaos_catalog
from tests.chaos.rounds import Chaos, Round
from tests.chaos.strikes import ACTOR, DRIVER, HEAD, MACHINE, NODE, WORKER

ON_LOCAL_RAY = {WORKER: 5, ACTOR: 5, DRIVER: 3, MACHINE: 3}
ON_A_CLUSTER = {WORKER: 4, ACTOR: 4, DRIVER: 2, NODE: 5, HEAD: 3}
"""Strikes by kind."""


def main() -> None:
    """Run it and print the figures."""
    arguments = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    arguments.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="repeats its chances")
    arguments.add_argument("--files", type=int, default=520, help="files of the catalog")
    asked = arguments.parse_args()
    say(f"seed {asked.seed}")
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    with tempfile.TemporaryDirectory(prefix="earmark-chaos-") as folder:
        catalog = write_chaos_catalog(Path(folder) / "catalog", n_files=asked.files, seed=asked.seed)
        say(f"{len(catalog.titles)} good files, {len(catalog.bad)} bad ones")
        chaos = Chaos(
            catalog,
            Path(folder),
            random.Random(asked.seed),
            longest_wait_s=10.0,
            track_timeout_s=30.0,
            say=say,
        )
        quiet = {on_cluster: undisturbed(chaos, on_cluster) for on_cluster in (False, True)}
        print_figures(catalog, quiet, struck(chaos))


def undisturbed(chaos: Chaos, on_cluster: bool) -> Round:
    """A round without strikes, to compare with."""
    done = chaos.round([], on_cluster=on_cluster)
    say(f"undisturbed on {place(on_cluster)}: {done.wall_s:.0f} s, {done.n_repeated} decodes repeated")
    return done


def struck(chaos: Chaos) -> list[Round]:
    """Rounds on a local Ray and on a cluster in turn, until every strike is done."""
    pending = {False: shuffled(chaos, ON_LOCAL_RAY), True: shuffled(chaos, ON_A_CLUSTER)}
    rounds: list[Round] = []
    while any(pending.values()):
        for on_cluster, strikes in pending.items():
            if strikes:
                say(f"round {len(rounds) + 1} on {place(on_cluster)}")
                rounds.append(chaos.round(strikes, on_cluster=on_cluster))
                say(f"round {len(rounds)}: {rounds[-1].wall_s:.0f} s, nothing lost, nothing twice")
    return rounds


def shuffled(chaos: Chaos, kinds: dict[str, int]) -> list[str]:
    """Strikes in random order."""
    strikes = list(Counter(kinds).elements())
    chaos.chance.shuffle(strikes)
    return strikes


def print_figures(catalog: ChaosCatalog, quiet: dict[bool, Round], rounds: list[Round]) -> None:
    """Print what it came to."""
    strikes = sum((done.strikes for done in rounds), Counter())
    n_files = len(catalog.titles) + len(catalog.bad)
    lost_s = sum(done.wall_s - quiet[done.on_cluster].wall_s for done in rounds)
    repeated = sum(done.n_repeated - quiet[done.on_cluster].n_repeated for done in rounds)
    say(f"strikes: {strikes.total()} ({', '.join(f'{kind} {n}' for kind, n in sorted(strikes.items()))})")
    say(
        f"tracks: {len(rounds)} rounds of {n_files} = {len(rounds) * n_files}, {len(catalog.bad)} bad in each"
    )
    say(f"runs: {sum(done.n_runs for done in rounds)}")
    say(f"wall: {sum(done.wall_s for done in rounds):.0f} s, {lost_s / strikes.total():.1f} s lost a strike")
    say(f"decodes repeated for strikes: {repeated}, {repeated / strikes.total():.1f} a strike")
    say(f"looks at the tables meanwhile: {sum(done.n_looks for done in rounds)}, no double in any")


def place(on_cluster: bool) -> str:
    """In words."""
    return "a cluster" if on_cluster else "a local Ray"


def say(line: str) -> None:
    """Print a line, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stdout, flush=True)


if __name__ == "__main__":
    main()
