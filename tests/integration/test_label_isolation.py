"""A part that kills the actors which label it costs its own tracks and nobody else's."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from jobs.engine import lease as leases
from jobs.engine.assignment import Assignment, Totals
from jobs.engine.cluster import connected
from pipeline.catalogs.catalog import list_catalog
from pipeline.demo.demo_catalog import write_demo_catalog
from pipeline.models.model import INFO_FILE, WEIGHTS_FILE, ModelBundle
from pipeline.shards.featurize_shard import Shard, featurize_shard
from pipeline.shards.label_part import LabelTask
from pipeline.stores import storage
from pipeline.tables.tables import Tables
from schemas.config import RunConfig
from tests.e2e.earmark import read_table

RUN = "20260101-000000-test"


@contextmanager
def crashing_its_readers(part: Path) -> Iterator[list[str]]:
    """Put a pipe where a part was, and send SIGSEGV to each process that reads it; their command lines."""
    part.unlink()
    os.mkfifo(part)
    ours = os.open(part, os.O_RDWR)  # so that readers get past opening it, and are known by it
    stop, crashed = threading.Event(), []

    def watch() -> None:
        signalled: set[int] = set()
        while not stop.wait(0.05):
            for process in psutil.process_iter():
                if process.pid not in {os.getpid(), *signalled} and _reads(process.pid, part):
                    signalled.add(process.pid)
                    crashed.append(" ".join(process.cmdline()))
                    process.send_signal(signal.SIGSEGV)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield crashed
    finally:
        stop.set()
        watcher.join()
        os.close(ours)


def _reads(pid: int, path: Path) -> bool:
    try:
        return any(os.readlink(link) == str(path) for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """Tables with features and no labels: a part of two tracks and one of four."""
    write_demo_catalog(tmp_path / "catalog", n_tracks=6, duration_s=12)
    listing = list_catalog(str(tmp_path / "catalog"))
    sound = pc.invert(pc.match_substring_regex(listing["uri"], "Silence|Upload|notes"))
    listing = listing.filter(sound)
    listing = listing.append_column("attempts", pa.array([0] * listing.num_rows, pa.int32()))
    tables, spec = Tables(str(tmp_path / "tables")), ModelBundle.load("default").info.features
    for name, tracks in (("a", listing.slice(0, 2)), ("b", listing.slice(2))):
        shard = Shard(name, "20251231-000000-test", spec.feature_set, tracks, datetime.now(UTC))
        assert featurize_shard(shard, tables, spec, lambda: None).n_featurized == tracks.num_rows
    return tables


def test_a_part_that_kills_actors_is_halved_to_its_tracks(tables: Tables) -> None:
    """A poisonous part must not take the actors, and with them the labels of the whole catalog."""
    from jobs.engine.engine import Engine

    bundle = ModelBundle.load("default")
    location = storage.join(tables.root, "_models", bundle.model)
    storage.write_bytes(storage.join(location, WEIGHTS_FILE), bundle.weights)
    storage.write_bytes(storage.join(location, INFO_FILE), bundle.info.model_dump_json().encode())
    parts = sorted(Path(tables.root, "features").rglob("*.parquet"))
    listing = tables.read("tracks", ["track_id", "uri", "etag"])
    listing = listing.append_column("attempts", pa.array([0] * listing.num_rows, pa.int32()))
    tasks = [task_of(part, listing, tables, bundle) for part in parts]
    poisoned = min(tasks, key=lambda task: task.tracks.num_rows)
    config = RunConfig(cpus=1)
    with (
        leases.hold(tables.root, RUN, say=print) as lease,
        connected(config),
        crashing_its_readers(Path(poisoned.part)) as crashed,
    ):
        assignment = Assignment(
            RUN, "2026-01-01", tables, lease, bundle.info.features, bundle.model, location, config
        )
        totals = Engine(assignment, Totals(), lambda totals: None).run([], tasks)
    n_poisoned = poisoned.tracks.num_rows
    assert (totals.failed, totals.labelled) == (
        n_poisoned,
        sum(t.tracks.num_rows for t in tasks) - n_poisoned,
    )
    failures = read_table(tables.root, "failures")
    assert set(failures["uri"]) == set(poisoned.tracks["uri"].to_pylist())
    assert set(failures["error_type"]) == {"LabelerCrashedError"}
    assert all("SIGSEGV" in message for message in failures["message"])
    assert sum("isolated_process" in command for command in crashed) == n_poisoned


def task_of(part: Path, listing: pa.Table, tables: Tables, bundle: ModelBundle) -> LabelTask:
    """The task that labels all tracks of a part."""
    ids = pq.read_table(part, columns=["track_id"])["track_id"]
    tracks = listing.filter(pc.is_in(listing["track_id"], ids))
    return LabelTask(
        name=part.stem, run=RUN, run_date="2026-01-01", model=bundle.model, part=str(part),
        feature_set=bundle.info.features.feature_set, tracks=tracks,
    )  # fmt: skip
