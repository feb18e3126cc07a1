"""Tables of any size in the layout that runs write: the same shards, columns, row groups and encodings.

Only the log-mels are short, so that a million tracks take gigabytes and not a hundred: no bookkeeping reads
them.
"""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.tables.maintenance.compact.compaction import compact, plan_run_compaction
from pipeline.tables.objects import list_objects
from pipeline.tables.runs import write_report
from pipeline.tables.tables import Tables, parquet_options
from schemas.config import RunConfig
from schemas.features import FeatureSpec
from schemas.genres import GTZAN_GENRES
from schemas.report import Counts, RunReport
from schemas.tables import FAILURES, LISTING, TRACKS, features_schema, labels_schema

SHARD_TRACKS = 128
SEGMENTS = 3
FAILED_OF = 1000
"""One track of so many has failed."""
RUN_TRACKS = 100_000
"""Tracks that a run processed: a catalog comes in over some nights."""

_FIRST_NIGHT = datetime(2026, 1, 1, 3, tzinfo=UTC)


def make_listing(start: int, stop: int, catalog: str = "/music") -> pa.Table:
    """Tracks `start` to `stop` as a catalog lists them."""
    numbers = range(start, stop)
    paths = [f"{n % 997:03}/artist {n // 40}/album {n // 10}/{n:08}.mp3" for n in numbers]
    return pa.table(
        [
            pa.array([hashlib.sha256(path.encode()).hexdigest()[:20] for path in paths]),
            pa.array([f"{catalog}/{path}" for path in paths]),
            pa.array(np.full(len(paths), 5_000_000)),
            pa.array([f"5000000-{1_700_000_000_000_000_000 + number * 1_000_003}" for number in numbers]),
            _repeat(_FIRST_NIGHT, len(paths), LISTING.field("modified_at").type),
            pa.nulls(len(paths), LISTING.field("carried").type),
        ],
        schema=LISTING,
    )


def write_product_tables(
    root: Path,
    n_tracks: int,
    model: str,
    spec: FeatureSpec,
    catalog: str = "/music",
    run_tracks: int = RUN_TRACKS,
) -> None:
    """Write the tables of runs that processed `n_tracks`, one track of a thousand with a failure."""
    tables = Tables(str(root))
    rng = np.random.default_rng(0)
    # Only features stay as they are cut here: a run merges the parts of the other tables.
    for night, start in enumerate(range(0, n_tracks, run_tracks)):
        stop = min(start + run_tracks, n_tracks)
        at = _FIRST_NIGHT + timedelta(days=night)
        run = f"{at:%Y%m%dT%H%M%S}-{night:04x}"
        n_failed = 0
        for shard, first in enumerate(range(start, stop, SHARD_TRACKS)):
            rows = make_listing(first, min(first + SHARD_TRACKS, stop), catalog)
            failed = np.arange(len(rows)) + first
            n_failed += _write_shard(
                tables, run, f"{shard:06}", rows, failed % FAILED_OF == 0, model, spec, at, rng
            )
        counts = Counts(listed=stop, labeled_before=start, labeled=stop - start - n_failed, failed=n_failed)
        report = RunReport(
            run=run, command="run", catalog=catalog, outcome="done", started_at=at, counts=counts,
            model=model, feature_set=spec.feature_set, features=spec.model_dump(),
        )  # fmt: skip
        write_report(tables, report)
        merge_as_runs_do(tables, run)


def write_interrupted_run(
    root: Path,
    n_tracks: int,
    model: str,
    spec: FeatureSpec,
    every_results: int,
    update_index: Callable[[], None],
) -> None:
    """Write the tables of one run of `n_tracks` that was killed just before it updated the index again.

    It did so after each `every_results` shards and parts of features, and merged nothing.
    """
    tables = Tables(str(root))
    rng = np.random.default_rng(0)
    run = f"{_FIRST_NIGHT:%Y%m%dT%H%M%S}-0000"
    starts = range(0, n_tracks, SHARD_TRACKS)
    for shard, first in enumerate(starts):
        rows = make_listing(first, min(first + SHARD_TRACKS, n_tracks))
        failed = (np.arange(len(rows)) + first) % FAILED_OF == 0
        _write_shard(tables, run, f"{shard:06}", rows, failed, model, spec, _FIRST_NIGHT, rng)
        n_results, n_left = 2 * (shard + 1), 2 * (len(starts) - shard - 1)
        if n_left >= every_results - 2 and n_results % every_results < 2:
            update_index()


def merge_as_runs_do(tables: Tables, run: str) -> None:
    """Merge the parts of a run, but not its features: the log-mels are too short for parts of real size."""
    stored = list_objects(tables)
    target_bytes = RunConfig().part_mb << 20
    plans = plan_run_compaction(stored, run, target_bytes=target_bytes, without=("features",))
    compact(stored, plans, target_bytes=target_bytes, check=lambda: None)


def _write_shard(
    tables: Tables,
    run: str,
    name: str,
    listing: pa.Table,
    failed: np.ndarray,
    model: str,
    spec: FeatureSpec,
    at: datetime,
    rng: np.random.Generator,
) -> int:
    _write(tables.part("tracks", name, run=run), _tracks(listing, at))
    good, bad = listing.filter(pa.array(~failed)), listing.filter(pa.array(failed))
    if bad.num_rows:
        _write(tables.part("failures", name, run=run), _failures(bad, at))
    place = tables.part("features", name, feature_set=spec.feature_set, run=run)
    _write(place, _features(good, spec), row_group_size=64)
    part = f"{run}-{name}"
    place = tables.part("labels", part, model=model, run_date=f"{at:%Y-%m-%d}")
    _write(place, _labels(good, run, spec.feature_set, at, rng))
    return int(bad.num_rows)


def _write(location: str, rows: pa.Table, **options: int) -> None:
    path = Path(location)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path, **parquet_options(rows.schema), **options)


def _tracks(listing: pa.Table, at: datetime) -> pa.Table:
    n = listing.num_rows
    artist = [uri.split("/")[3] for uri in listing["uri"].to_pylist()]
    columns = {name: listing[name] for name in LISTING.names}
    columns |= {
        "present": pa.repeat(pa.scalar(True), n),
        "listed_at": _repeat(at, n, TRACKS.field("listed_at").type),
        "artist": pa.array(artist),
        "codec": pa.repeat(pa.scalar("mp3"), n),
        "duration_s": pa.array(np.full(n, 240.0)),
        "sample_rate": pa.array(np.full(n, 44_100, np.int32)),
        "channels": pa.array(np.full(n, 2, np.int16)),
        "year": pa.array([1960 + len(name) * 7 % 60 for name in artist], pa.int16()),
    }
    return _fill(columns, n, TRACKS)


def _features(listing: pa.Table, spec: FeatureSpec) -> pa.Table:
    n = listing.num_rows * SEGMENTS
    each = pa.array(np.repeat(np.arange(listing.num_rows), SEGMENTS))
    segment = np.tile(np.arange(SEGMENTS), listing.num_rows)
    columns = {
        "track_id": listing["track_id"].take(each),
        "etag": listing["etag"].take(each),
        "segment": pa.array(segment.astype(np.int16)),
        "start_s": pa.array((segment * 80).astype(np.float32)),
        "duration_s": pa.array(np.full(n, 30.0, np.float32)),
        "log_mel": pa.array([b"12345678"] * n, pa.large_binary()),
        "n_frames": pa.array(np.full(n, 387, np.int32)),
        "range_db": pa.array(np.full(n, 80.0, np.float32)),
    }
    schema = features_schema(DESCRIPTOR_NAMES).with_metadata({"feature_spec": spec.model_dump_json()})
    return _fill(columns, n, schema)


def _labels(
    listing: pa.Table, run: str, feature_set: str, at: datetime, rng: np.random.Generator
) -> pa.Table:
    n, n_genres = listing.num_rows, len(GTZAN_GENRES)
    p = rng.dirichlet(np.ones(n_genres), n).astype(np.float32)
    order = np.argsort(-p, axis=1)[:, :3]
    names = pa.array(GTZAN_GENRES)
    best = pa.StructArray.from_arrays(
        [names.take(pa.array(order.ravel())), pa.array(np.take_along_axis(p, order, 1).ravel())],
        ["genre", "probability"],
    )
    schema = labels_schema(GTZAN_GENRES)
    columns = {name: listing[name] for name in ("track_id", "uri", "etag")}
    columns |= {
        "genre": names.take(pa.array(order[:, 0])),
        "confidence": pa.array(p.max(axis=1)),
        "probabilities": pa.ListArray.from_arrays(
            np.arange(0, n * n_genres + 1, n_genres, dtype=np.int32), p.ravel()
        ),
        "top3": pa.ListArray.from_arrays(np.arange(0, 3 * n + 1, 3, dtype=np.int32), best),
        "n_segments": pa.array(np.full(n, SEGMENTS, np.int16)),
        "feature_set": pa.repeat(pa.scalar(feature_set), n),
        "labeled_at": _repeat(at, n, schema.field("labeled_at").type),
        "run": pa.repeat(pa.scalar(run), n),
    }
    return _fill(columns, n, schema)


def _failures(listing: pa.Table, at: datetime) -> pa.Table:
    n = listing.num_rows
    columns = {name: listing[name] for name in ("track_id", "uri", "etag")}
    columns |= {
        "stage": pa.repeat(pa.scalar("decode"), n),
        "error_type": pa.repeat(pa.scalar("DecodeError"), n),
        "message": pa.repeat(pa.scalar("the file is damaged"), n),
        "attempts": pa.array(np.ones(n, np.int32)),
        "retryable": pa.repeat(pa.scalar(False), n),
        "failed_at": _repeat(at, n, FAILURES.field("failed_at").type),
    }
    return _fill(columns, n, FAILURES)


def _fill(columns: dict[str, pa.Array], n: int, schema: pa.Schema) -> pa.Table:
    """Return a table with the schema, null where no column is given."""
    return pa.table([columns.get(field.name, pa.nulls(n, field.type)) for field in schema], schema=schema)


def _repeat(value: object, n: int, kind: pa.DataType) -> pa.Array:
    return pa.repeat(pa.scalar(value, kind), n)
