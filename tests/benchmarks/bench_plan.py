"""The cost of a night with almost nothing new: ``python tests/benchmarks/bench_plan.py [TRACKS …]``.

For catalogs of 1,000 and 100,000 files, of which the tables hold all but 0.1 %: the seconds of listing, and
their ratio to a walk of the folder with a stat of each file; the seconds of planning; and the seconds and
peak memory of the whole ``earmark run --dry-run``.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pyarrow as pa

from pipeline.catalogs.catalog import canonical, list_catalog
from pipeline.catalogs.planning import Goal
from pipeline.catalogs.track_refs import from_table
from pipeline.models.bundle import ModelBundle
from pipeline.shards.rows import track_rows
from pipeline.storage import storage
from pipeline.tables.runs import write_report
from pipeline.tables.tables import Tables, encode_part
from schemas.report import Counts, RunReport
from schemas.tables import LABELS
from tests.plans import plan_tables

_TRACKS_PER_PART = 256


def write_catalog(folder: Path, n_tracks: int) -> None:
    """Write one-byte files named like audio, a hundred in each folder."""
    for number in range(n_tracks):
        path = folder / f"{number // 100:05}" / f"{number:07}.mp3"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def write_history(tables: Tables, catalog: Path, model: str, feature_set: str, n_done: int) -> None:
    """Write the tables of a run that labeled the first `n_done` tracks."""
    now = datetime.now(UTC)
    listing = list_catalog(str(catalog))
    for number, start in enumerate(range(0, n_done, _TRACKS_PER_PART)):
        rows = listing.slice(start, min(_TRACKS_PER_PART, n_done - start))
        labels = pa.Table.from_pylist(
            [
                {
                    "track_id": track_id, "uri": uri, "etag": etag, "genre": "rock", "confidence": 0.5,
                    "probabilities": [0.1] * 10, "top3": [], "n_segments": 3, "feature_set": feature_set,
                    "labeled_at": now, "run": "bench",
                }
                for track_id, uri, etag in zip(
                    *(rows[name].to_pylist() for name in ("track_id", "uri", "etag")), strict=True
                )
            ],
            LABELS,
        )  # fmt: skip
        part = tables.part("labels", f"{number:06}", model=model, run_date="2026-01-01")
        storage.write_bytes(part, encode_part(labels))
        tracks = track_rows(from_table(rows), {}, now)
        storage.write_bytes(tables.part("tracks", f"{number:06}", run="bench"), encode_part(tracks))
    report = RunReport(
        run="bench", command="run", catalog=canonical(str(catalog)), outcome="done", started_at=now,
        counts=Counts(listed=len(listing)), feature_set=feature_set,
    )  # fmt: skip
    write_report(tables, report)


def bare_walk(folder: Path) -> float:
    """Return the seconds of a walk of the folder with a stat of each file."""
    start = time.perf_counter()
    for parent, _, names in os.walk(folder):
        for name in names:
            os.stat(f"{parent}/{name}")
    return time.perf_counter() - start


def measure(n_tracks: int) -> None:
    """Measure a catalog and print one row."""
    folder = Path(tempfile.mkdtemp(prefix="earmark-bench-"))
    try:
        bundle = ModelBundle.load("default")
        spec, tables = bundle.info.features, Tables(str(folder / "tables"))
        write_catalog(folder / "catalog", n_tracks)
        write_history(tables, folder / "catalog", bundle.model, spec.feature_set, n_tracks - n_tracks // 1000)
        bare = bare_walk(folder / "catalog")
        start = time.perf_counter()
        listing = list_catalog(str(folder / "catalog"))
        listed = time.perf_counter()
        plan = plan_tables(listing, tables, Goal(spec, bundle.model))
        planned = time.perf_counter()
        if plan.n_todo != n_tracks // 1000:
            raise SystemExit(f"planned {plan.n_todo} tracks, not {n_tracks // 1000}")
        command: list[str | Path] = [
            Path(sys.executable).with_name("earmark"),
            "run",
            folder / "catalog",
            tables.root,
            "--dry-run",
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        whole = time.perf_counter() - planned
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000
        print(
            f"{n_tracks:>9,}  {bare:>6.2f}  {listed - start:>9.2f}  {(listed - start) / bare:>8.1f}  "
            f"{planned - listed:>10.2f}  {whole:>11.2f}  {peak:>7.0f}",
            flush=True,
        )
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Measure all catalogs."""
    print("   tracks  walk s  listing s  × a walk  planning s  whole run s  peak MB")
    for argument in sys.argv[1:] or ("1000", "100000"):
        measure(int(argument))


if __name__ == "__main__":
    main()
