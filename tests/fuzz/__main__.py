"""Fuzzing: ``python -m tests.fuzz [--mutants 12000] [--seed N] [--keep DIR]``, or ``make fuzz``.

Each mutant is featurized in a separate process, as in quarantine. A mutant that crashes the process, hangs,
takes too much memory or raises anything but a TrackError is printed and kept, and the exit code is 1.
"""

import argparse
import os
import random
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from pipeline.shards.isolation import Isolated, ProcessDiedError
from tests.fuzz.mutants import featurize_mutant, mutant


def fuzz(seed: int, numbers: range) -> tuple[Counter[str], dict[int, str]]:
    """Featurize mutants; return the number of each outcome, and the findings by number of the mutant."""
    outcomes: Counter[str] = Counter()
    findings: dict[int, str] = {}
    with closing(Isolated()) as process:
        for number in numbers:
            try:
                outcomes[process.call(featurize_mutant, seed, number)] += 1
            except ProcessDiedError as death:
                findings[number] = f"killed its process: {death.how}"
            except Exception as error:
                findings[number] = f"raised {type(error).__name__}: {error}"
    return outcomes, findings


def main() -> int:
    """Fuzz, print the findings, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    start = time.monotonic()
    shares = [range(first, options.mutants, options.processes) for first in range(options.processes)]
    with ThreadPoolExecutor(options.processes) as pool:
        results = list(pool.map(lambda share: fuzz(options.seed, share), shares))
    outcomes = sum((outcomes for outcomes, _ in results), Counter())
    findings = {number: what for _, found in results for number, what in found.items()}
    for number, what in sorted(findings.items()):
        kind, data = mutant(options.seed, number)
        options.keep.mkdir(exist_ok=True)
        (options.keep / f"{options.seed}-{number}.{kind}").write_bytes(data)
        print(f"mutant {number} ({kind}, {len(data)} bytes) {what}; kept in {options.keep}")
    print(f"{options.mutants} mutants in {time.monotonic() - start:.0f} s: {len(findings)} findings")
    print(", ".join(f"{outcome} {count}" for outcome, count in outcomes.most_common()))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
