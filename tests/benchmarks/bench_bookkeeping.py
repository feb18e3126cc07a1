"""The cost of bookkeeping: ``python tests/benchmarks/bench_bookkeeping.py [TRACKS …] [--keep FOLDER]``.

For tables of 200,000 and 1,000,000 tracks, as runs write them: CPU seconds and peak memory of each question,
each in its own process. Memory is given without and with pages of mapped files, which the system can drop.
The plan is that of a night with 0.1 % new tracks; its listing is read from a Parquet file, so that the time
to list a catalog does not count. The first plan has no index.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pyarrow.parquet as pq

from tests.benchmarks.product_tables import (
    RUN_TRACKS,
    make_listing,
    write_interrupted_run,
    write_product_tables,
)

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = ("first plan", "index", "plan", "labels", "status", "trends", "failures", "vacuum", "verify")
EARMARK = Path(sys.executable).with_name("earmark")


def prepare(folder: Path, n_tracks: int, run_tracks: int, is_interrupted: bool) -> None:
    """Write the tables and the listing, unless they are there."""
    from jobs.run.index_updates import EVERY_RESULTS
    from pipeline.models.bundle import ModelBundle
    from pipeline.tables.index import update_index
    from pipeline.tables.tables import Tables

    if (folder / "listing.parquet").exists():
        return
    bundle = ModelBundle.load("default")
    root, spec = folder / "tables", bundle.info.features
    if is_interrupted:
        # The worst case: it was killed just before an update.
        def update() -> None:
            update_index(Tables(str(root)), lambda: None)

        write_interrupted_run(root, n_tracks, bundle.model, spec, EVERY_RESULTS, update)
    else:
        write_product_tables(root, n_tracks, bundle.model, spec, run_tracks=run_tracks)
    pq.write_table(make_listing(0, n_tracks + n_tracks // 1000), folder / "listing.parquet")


def plan(folder: Path) -> None:
    """Plan a night with 0.1 % new tracks."""
    from pipeline.catalogs.planning import Goal
    from pipeline.models.bundle import ModelBundle
    from pipeline.storage.table_on_disk import collect_on_disk
    from pipeline.tables.tables import Tables
    from schemas.tables import LISTING
    from tests.plans import plan_tables

    pages = pq.ParquetFile(folder / "listing.parquet").iter_batches(1000)
    listing = collect_on_disk((batch.cast(LISTING) for batch in pages), LISTING)
    bundle = ModelBundle.load("default")
    made = plan_tables(listing, Tables(str(folder / "tables")), Goal(bundle.info.features, bundle.model))
    print(f"{made.to_featurize.num_rows:,} to featurize, {made.n_failed:,} failed before")


def build_index(folder: Path) -> None:
    """Build the index, as the first run of this version does."""
    from pipeline.tables.index import update_index
    from pipeline.tables.tables import Tables

    update_index(Tables(str(folder / "tables")), lambda: None)


def command_of(question: str, folder: Path) -> list[str]:
    """Return the command that answers a question."""
    tables = str(folder / "tables")
    if question in ("plan", "first plan"):
        return [sys.executable, __file__, "--plan", str(folder)]
    if question == "index":
        return [sys.executable, __file__, "--index", str(folder)]
    options = {"labels": ["--format", "parquet", "--out", os.devnull]}
    return [str(EARMARK), question, tables, *options.get(question, [])]


def private_memory(pid: int) -> int:
    """Return the kilobytes of a process that are not pages of files; 0 if it has just ended."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def measure(question: str, folder: Path) -> None:
    """Answer a question in a process of its own, and print what it cost."""
    if question == "first plan":
        shutil.rmtree(folder / "tables" / "_index", ignore_errors=True)
    begun = time.perf_counter()
    process = subprocess.Popen(command_of(question, folder), stdout=subprocess.DEVNULL, cwd=ROOT)
    private_kb, pid = 0, 0
    while not pid:
        private_kb = max(private_kb, private_memory(process.pid))
        time.sleep(0.01)
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - begun
    cpu_s = usage.ru_utime + usage.ru_stime
    print(
        f"{question:<10} {cpu_s:7.1f} s CPU {wall_s:7.1f} s wall "
        f"{private_kb / 1024:7,.0f} MB, {usage.ru_maxrss / 1024:,.0f} MB with mapped files"
        + (f"  exit {process.returncode}" if process.returncode else ""),
        flush=True,
    )


def main() -> None:
    """Make the tables and measure all questions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tracks", type=int, nargs="*", default=[200_000, 1_000_000])
    parser.add_argument("--keep", type=Path, help="write the tables there, or use those that are there")
    parser.add_argument("--night", type=int, default=RUN_TRACKS, help="tracks that a run added")
    parser.add_argument("--interrupted", action="store_true", help="one run of all tracks that was killed")
    parser.add_argument("--only", choices=QUESTIONS, nargs="+", default=QUESTIONS)
    parser.add_argument("--plan", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--index", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.plan:
        plan(arguments.plan)
        return
    if arguments.index:
        build_index(arguments.index)
        return
    with tempfile.TemporaryDirectory() as scratch:
        for n_tracks in arguments.tracks:
            folder = (arguments.keep or Path(scratch)) / f"{n_tracks}"
            prepare(folder, n_tracks, arguments.night, arguments.interrupted)
            print(f"{n_tracks:,} tracks", flush=True)
            for question in arguments.only:
                measure(question, folder)


if __name__ == "__main__":
    main()
