"""The cost of publishing: ``python tests/benchmarks/bench_publish.py [TRACKS] [--tables FOLDER]``.

For tables of a million tracks (or as many as said) in the layout of the product, or for tables that are there
already: seconds, CPU seconds and peak memory of ``earmark publish`` for the first time, again with nothing to
do, and after one row of a hundred was made to differ and one of a thousand was made to be gone. The tables
themselves are only read.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deltalake import DeltaTable

from pipeline.publish.delta import NAME
from schemas.features import FeatureSpec
from tests.benchmarks.product_tables import write_product_tables

EARMARK = Path(sys.executable).with_name("earmark")
_MEASURE = """
import resource, runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"CPU {used.ru_utime + used.ru_stime:.1f} s, peak {used.ru_maxrss / 1024:,.0f} MiB", flush=True)
"""


def measure(what: str, *arguments: str) -> None:
    """Run the command in a process of its own, and print what it cost."""
    begun = time.perf_counter()
    command = [sys.executable, "-c", _MEASURE, str(EARMARK), "publish", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    said, cost = done.stdout.strip().rsplit("\n", 1)
    print(f"{what:<28} {time.perf_counter() - begun:6.1f} s, {cost}: {said}", flush=True)


def disturb(location: str) -> None:
    """Make some published rows differ from the tables, and add some that the tables lack."""
    table = DeltaTable(location)
    if table.metadata().name != NAME:
        raise SystemExit(f"{location} was not published by Earmark")
    table.update({"etag": "'old'"}, predicate="substr(track_id, 1, 2) in ('00', '01')")
    table.update({"track_id": "concat('x', track_id)"}, predicate="substr(track_id, 1, 3) in ('ff0', 'ff1')")


def size_of(location: Path) -> str:
    """The size of a folder in megabytes, with what earlier versions left."""
    return f"{sum(path.stat().st_size for path in location.rglob('*') if path.is_file()) / 1e6:,.0f} MB"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tracks", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--tables", type=Path, help="use these tables; they are only read")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="earmark-bench-publish-") as scratch:
        tables = arguments.tables
        if tables is None:
            tables = Path(scratch, "tables")
            write_product_tables(tables, arguments.tracks, "gtzan-cnn-304cb835", FeatureSpec())
        for form in ("delta", "parquet"):
            lake = Path(scratch, form)
            measure(f"{form}, first", str(tables), str(lake), "--format", form)
            print(f"{form} has {size_of(lake)}")
            measure(f"{form}, nothing to do", str(tables), str(lake), "--format", form)
            if form == "delta":
                disturb(str(lake))
                measure("delta, some rows differ", str(tables), str(lake))


if __name__ == "__main__":
    main()
