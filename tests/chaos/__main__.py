"""The full chaos test, ``python -m tests.chaos [--seed N] [--s3]``: 520 files and 34 kills of all kinds."""

import argparse
import os
import random
import secrets
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from pipeline.storage import storage
from tests.chaos.catalog import ChaosCatalog, write_chaos_catalog
from tests.chaos.kills import ACTOR, DRIVER, HEAD, MACHINE, NODE, WORKER
from tests.chaos.rounds import Chaos, Round
from tests.s3 import shared_s3_server

ON_LOCAL_RAY = {WORKER: 5, ACTOR: 5, DRIVER: 3, MACHINE: 3}
ON_A_CLUSTER = {WORKER: 4, ACTOR: 4, DRIVER: 2, NODE: 5, HEAD: 3}
"""Number of kills by kind."""


def main() -> None:
    """Run the test and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(10**6), help="seed of all random choices"
    )
    parser.add_argument("--files", type=int, default=520, help="files in the catalog")
    parser.add_argument("--s3", action="store_true", help="tables in a bucket of the tests' S3 server")
    options = parser.parse_args()
    say(f"seed {options.seed}")
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="earmark-chaos-"))
        root = folder
        if options.s3:
            stack.enter_context(shared_s3_server(Path(folder) / "server"))
            storage.filesystem("s3").mkdir("chaos")
            root = "s3://chaos"
        catalog = write_chaos_catalog(Path(folder) / "catalog", n_files=options.files, seed=options.seed)
        say(f"{len(catalog.titles)} good files, {len(catalog.bad)} bad ones")
        chaos = Chaos(
            catalog,
            root,
            random.Random(options.seed),
            max_wait_s=10.0,
            track_timeout_s=30.0,
            say=say,
        )
        baseline = {on_cluster: run_undisturbed(chaos, on_cluster) for on_cluster in (False, True)}
        print_figures(catalog, baseline, run_rounds(chaos))


def run_undisturbed(chaos: Chaos, on_cluster: bool) -> Round:
    """Run a round without kills, for comparison."""
    done = chaos.run_round([], on_cluster=on_cluster)
    place = describe_place(on_cluster)
    say(f"undisturbed on {place}: {done.wall_s:.0f} s, {done.n_repeated} decodes repeated")
    return done


def run_rounds(chaos: Chaos) -> list[Round]:
    """Run rounds on a local Ray and on a cluster in turn, until every kill is done."""
    pending = {False: shuffle_kills(chaos, ON_LOCAL_RAY), True: shuffle_kills(chaos, ON_A_CLUSTER)}
    rounds: list[Round] = []
    while any(pending.values()):
        for on_cluster, kills in pending.items():
            if kills:
                say(f"round {len(rounds) + 1} on {describe_place(on_cluster)}")
                rounds.append(chaos.run_round(kills, on_cluster=on_cluster))
                say(f"round {len(rounds)}: {rounds[-1].wall_s:.0f} s, nothing lost or duplicated")
    return rounds


def shuffle_kills(chaos: Chaos, kinds: dict[str, int]) -> list[str]:
    """Return kills of all kinds in random order."""
    kills = list(Counter(kinds).elements())
    chaos.rng.shuffle(kills)
    return kills


def print_figures(catalog: ChaosCatalog, baseline: dict[bool, Round], rounds: list[Round]) -> None:
    """Print the figures of all rounds."""
    kills = sum((done.kills for done in rounds), Counter())
    n_files = len(catalog.titles) + len(catalog.bad)
    lost_s = sum(done.wall_s - baseline[done.on_cluster].wall_s for done in rounds)
    repeated = sum(done.n_repeated - baseline[done.on_cluster].n_repeated for done in rounds)
    say(f"kills: {kills.total()} ({', '.join(f'{kind} {n}' for kind, n in sorted(kills.items()))})")
    say(
        f"tracks: {len(rounds)} rounds of {n_files} = {len(rounds) * n_files}, {len(catalog.bad)} bad in each"
    )
    say(f"runs: {sum(done.n_runs for done in rounds)}")
    say(f"wall: {sum(done.wall_s for done in rounds):.0f} s, {lost_s / kills.total():.1f} s lost per kill")
    say(f"decodes repeated because of kills: {repeated}, {repeated / kills.total():.1f} per kill")
    say(f"reads of the tables meanwhile: {sum(done.n_reads for done in rounds)}, none with duplicates")


def describe_place(on_cluster: bool) -> str:
    """Return where a round runs."""
    return "a cluster" if on_cluster else "a local Ray"


def say(line: str) -> None:
    """Print a line with the time."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stdout, flush=True)


if __name__ == "__main__":
    main()
