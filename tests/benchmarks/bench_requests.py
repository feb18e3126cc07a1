"""Requests of a night with nothing new: ``python tests/benchmarks/bench_requests.py [TRACKS …]``.

Tables of so many tracks, in the layout that runs write, in a bucket of the S3 server of the tests; the
catalog is a manifest with sizes and versions, which asks for nothing. (Listing a bucket costs one LIST more
for a thousand objects.) The first run writes the index; of the second, the requests are printed by kind.
"""

import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipeline.catalogs.catalog import canonical
from pipeline.models.bundle import ModelBundle
from pipeline.storage import storage
from pipeline.tables.runs import read_reports, write_report
from pipeline.tables.tables import Tables
from tests.benchmarks.product_tables import make_listing, write_product_tables
from tests.s3 import shared_s3_server

MUSIC = "s3://music"
EARMARK = Path(sys.executable).with_name("earmark")


def measure(folder: Path, bucket: str, n_tracks: int) -> None:
    """Put the tables into the bucket, run twice, and print the requests of the second run."""
    bundle = ModelBundle.load("default")
    write_product_tables(folder / "tables", n_tracks, bundle.model, bundle.info.features, MUSIC)
    manifest = str(folder / "manifest.parquet")
    pq.write_table(make_listing(0, n_tracks, MUSIC).drop_columns(["carried"]), manifest)
    files = [path for path in (folder / "tables").rglob("*") if path.is_file()]

    def put(path: Path) -> None:
        storage.write_bytes(f"{bucket}/{path.relative_to(folder)}", path.read_bytes())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, files))
    tables = Tables(f"{bucket}/tables")
    for report in read_reports(tables):
        write_report(tables, report.model_copy(update={"catalog": canonical(manifest)}))
    for _ in range(2):
        done = subprocess.run(
            [EARMARK, "run", manifest, tables.root], check=True, capture_output=True, text=True
        )
    (report,) = read_reports(tables, last=1)
    print(f"{n_tracks:,} tracks in {len(files):,} objects: {done.stdout.partition(':')[0]}")
    print(f"  {sum(report.requests.values()):,} requests: {report.requests}", flush=True)


def main(*sizes: int) -> None:
    """Measure tables of some sizes."""
    folder = Path(tempfile.mkdtemp(prefix="bench-requests-"))
    with shared_s3_server(folder / "server"):
        for n_tracks in sizes:
            bucket = f"s3://bench-{n_tracks}"
            storage.filesystem("s3").mkdir(bucket.removeprefix("s3://"))
            measure(folder / str(n_tracks), bucket, n_tracks)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(*(map(int, sys.argv[1:]) if len(sys.argv) > 1 else (20_000, 200_000)))
