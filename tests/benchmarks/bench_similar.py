"""The cost of similar tracks: ``python tests/benchmarks/bench_similar.py [TRACKS [NUMBERS]]``.

For tables of 100,000 tracks (or as many as said) of one segment with 384 numbers, made up but in the layout
of the product: the seconds of copying all embeddings into the cache, of comparing the copies with one vector
and looking up the nearest tracks, and of the whole ``earmark similar``, with its peak memory.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import pyarrow as pa

from pipeline.shards.rows import track_rows
from pipeline.storage import storage
from pipeline.storage.cache_folder import CACHE_VARIABLE
from pipeline.tables.index import update_index
from pipeline.tables.keys import open_keys
from pipeline.tables.runs import write_report
from pipeline.tables.similar import find_nearest, score
from pipeline.tables.tables import Tables, encode_part
from pipeline.tables.track_vectors import as_array, read_track_vectors
from schemas.features import FeatureSpec
from schemas.report import Counts, RunReport
from schemas.tables import embeddings_schema
from schemas.tracks import TrackRef

MODEL, RUN = "audioset-00000000", "20260101T000000-0000"
_PART_TRACKS = 10_000


def write_tables(root: str, n_tracks: int, n_numbers: int) -> Tables:
    """Write tracks and embeddings as a run does, with vectors made up."""
    tables, now = Tables(root), datetime.now(UTC)
    rng = np.random.default_rng(0)
    for part, start in enumerate(range(0, n_tracks, _PART_TRACKS)):
        names = [f"{number:016x}" for number in range(start, min(n_tracks, start + _PART_TRACKS))]
        refs = [TrackRef(name, f"/music/{name}.mp3", 1, "1") for name in names]
        rows = track_rows(refs, {}, now)
        storage.write_bytes(tables.part("tracks", f"{part:06}", run=RUN), encode_part(rows))
        schema = embeddings_schema(n_numbers)
        levels = np.maximum(rng.normal(0.1, 0.5, (len(names), n_numbers)), 0).astype(np.float16)
        vector = pa.FixedSizeListArray.from_arrays(pa.array(levels.ravel()), type=schema.field("vector").type)
        columns = [
            pa.array(names), pa.array(["1"] * len(names)), pa.array([0] * len(names), pa.int16()),
            pa.array([0.0] * len(names), pa.float32()), vector,
        ]  # fmt: skip
        data = encode_part(pa.Table.from_arrays(columns, schema=schema))
        storage.write_bytes(tables.part("embeddings", f"{part:06}", model=MODEL, run=RUN), data)
    spec = FeatureSpec()
    report = RunReport(
        run=RUN, command="run", catalog="/music", outcome="done", started_at=now,
        counts=Counts(listed=n_tracks), model=MODEL, feature_set=spec.feature_set, features=spec.model_dump(),
    )  # fmt: skip
    write_report(tables, report)
    update_index(tables, lambda: None)
    return tables


def main(n_tracks: int = 100_000, n_numbers: int = 384) -> None:
    """Write tables and print what reading and comparing cost."""
    with tempfile.TemporaryDirectory(prefix="earmark-similar-") as root:
        tables = write_tables(root, n_tracks, n_numbers)
        size = sum(path.stat().st_size for path in Path(root, "embeddings").rglob("*.parquet"))
        print(f"{n_tracks:,} tracks × {n_numbers} numbers, {size / 1e6:,.0f} MB")
        os.environ[CACHE_VARIABLE] = str(Path(root, "cache"))
        with open_keys(tables) as keys:
            start, cpu_s = time.perf_counter(), time.process_time()
            vectors = read_track_vectors(keys.stored, MODEL)
            cpu_s = time.process_time() - cpu_s
            print(f"copying, once     {time.perf_counter() - start:8.2f} s, {cpu_s:.2f} s of CPU")
            start = time.perf_counter()
            vectors = read_track_vectors(keys.stored, MODEL)
            query = as_array(vectors[0])[0]
            score(vectors, query)
            print(f"comparing         {time.perf_counter() - start:8.2f} s")
            start = time.perf_counter()
            nearest = find_nearest(keys, vectors, query, 10)
            print(f"… and looking up  {time.perf_counter() - start:8.2f} s")
        if nearest["track_id"][0].as_py() != "0" * 16:
            raise SystemExit("the track is not the nearest to itself")
        del vectors
        command = [sys.executable, "-m", "earmark", "similar", "0" * 16, root, "--format", "csv"]
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        elapsed, usage = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
        print(f"earmark similar   {elapsed:8.2f} s, {cpu_s:.2f} s of CPU, {peak:,.0f} MiB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
