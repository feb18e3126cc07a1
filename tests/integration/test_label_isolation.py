"""Actors die of a part, or with their node: it costs that part's tracks alone, or none."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
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
from pipeline.models.bundle import INFO_FILE, WEIGHTS_FILE, ModelBundle
from pipeline.models.shared_classifier import SharedClassifier
from pipeline.shards.featurize_shard import Shard, featurize_shard
from pipeline.shards.isolation import Isolated, ProcessDiedError
from pipeline.shards.label_part import LabelTask, label_part
from pipeline.shards.limits import TIMED_OUT, TrackLimits, time_limit
from pipeline.storage import storage
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
        signaled: set[int] = set()
        while not stop.wait(0.05):
            for process in psutil.process_iter():
                if process.pid not in {os.getpid(), *signaled} and _reads(process.pid, part):
                    signaled.add(process.pid)
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
    tables, spec = Tables(str(tmp_path / "tables")), ModelBundle.load("gtzan").info.features
    limits = TrackLimits.of(RunConfig())
    for name, tracks in (("a", listing.slice(0, 2)), ("b", listing.slice(2))):
        shard = Shard(name, "20251231-000000-test", spec.feature_set, tracks, datetime.now(UTC))
        done = featurize_shard(shard, tables, spec, lambda: None, limits=limits)
        assert done.n_featurized == tracks.num_rows
    return tables


@pytest.mark.thorough
def test_a_part_that_kills_actors_is_halved_to_its_tracks(tables: Tables) -> None:
    """A poisonous part must not take the actors, and with them the labels of the whole catalog."""
    from jobs.engine.engine import Engine

    tasks = label_tasks(tables)
    poisoned = min(tasks, key=lambda task: task.tracks.num_rows)
    config = RunConfig(cpus=1)
    with (
        leases.hold(tables.root, RUN, say=print) as lease,
        connected(config),
        crashing_its_readers(Path(poisoned.part)) as crashed,
    ):
        totals = Engine(assignment(tables, lease, config), Totals(), lambda totals: None).run([], tasks)
    n_poisoned = poisoned.tracks.num_rows
    assert (totals.failed, totals.labeled) == (
        n_poisoned,
        sum(t.tracks.num_rows for t in tasks) - n_poisoned,
    )
    failures = read_table(tables.root, "failures")
    assert set(failures["uri"]) == set(poisoned.tracks["uri"].to_pylist())
    assert set(failures["error_type"]) == {"LabelerCrashedError"}
    assert all("SIGSEGV" in message for message in failures["message"])
    n_alone = sum("isolated_process" in command for command in crashed)
    assert n_alone >= 2 * n_poisoned, "one process alone has judged"
    assert len(crashed) - n_alone == 1, "more than one actor was lost"


def label_tasks(tables: Tables) -> list[LabelTask]:
    """The tasks that label all tracks of all parts; the model is put beside the tables."""
    bundle = ModelBundle.load("gtzan")
    location = storage.join(tables.root, "_models", bundle.model)
    storage.write_bytes(storage.join(location, WEIGHTS_FILE), bundle.weights)
    storage.write_bytes(storage.join(location, INFO_FILE), bundle.info.model_dump_json().encode())
    listing = tables.read("tracks", ["track_id", "uri", "etag"])
    listing = listing.append_column("attempts", pa.array([0] * listing.num_rows, pa.int32()))
    parts = sorted(Path(tables.root, "features").rglob("*.parquet"))
    return [task_of(part, listing, bundle) for part in parts]


def assignment(tables: Tables, lease: leases.Lease, config: RunConfig) -> Assignment:
    bundle = ModelBundle.load("gtzan")
    location = storage.join(tables.root, "_models", bundle.model)
    return Assignment("2026-01-01", tables, lease, bundle.info.features, bundle.model, location, config)


def task_of(part: Path, listing: pa.Table, bundle: ModelBundle) -> LabelTask:
    """The task that labels all tracks of a part."""
    ids = pq.read_table(part, columns=["track_id"])["track_id"]
    tracks = listing.filter(pc.is_in(listing["track_id"], ids))
    return LabelTask(
        name=part.stem, run=RUN, run_date="2026-01-01", model=bundle.model, part=str(part),
        feature_set=bundle.info.features.feature_set, tracks=tracks,
    )  # fmt: skip


def label_with_a_model_that_hangs(task: LabelTask, tables: Tables) -> None:
    classifier = SharedClassifier(ModelBundle.load("gtzan"), guard=lambda: time_limit(0.5))
    classifier.logits = lambda *inputs: time.sleep(600)
    label_part(task, tables, classifier, lambda: None)


def test_a_model_that_hangs_ends_its_process(tables: Tables) -> None:
    """A GPU's driver that never returns must cost one actor, as a crash does, not the night."""
    task = label_tasks(tables)[0]
    with closing(Isolated()) as process, pytest.raises(ProcessDiedError) as death:
        process.call(label_with_a_model_that_hangs, task, tables)
    assert death.value.code == TIMED_OUT
    assert not Path(tables.folder("labels")).exists()


_QUICK_TO_GIVE_UP = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 300,
    "health_check_timeout_ms": 300,
    "health_check_failure_threshold": 3,
}
"""Ray holds a node for dead that has not answered for about a second."""


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a cluster: a head that takes no actor, and two nodes that do."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": _QUICK_TO_GIVE_UP}
    nodes = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            nodes.add_node(num_cpus=8)  # of a cluster of more than four CPUs each actor takes one
        yield str(nodes.address)
    finally:
        nodes.shutdown()


class CutOff(threading.Thread):
    """Cuts off the node of the actor that is about to read a part, as when its network fails; the actor
    itself works on, and goes on when `heal` is called."""

    def __init__(self, part: Path) -> None:
        super().__init__()
        self._part, self._data = part, part.read_bytes()
        self._actor: psutil.Process | None = None
        part.unlink()
        os.mkfifo(part)
        self._pipe = os.open(part, os.O_RDWR)  # so that the actor gets past opening it, and waits

    def run(self) -> None:
        while self._actor is None:
            for process in psutil.process_iter():
                if process.pid != os.getpid() and _reads(process.pid, self._part):
                    self._actor = process
        self._part.unlink()
        self._part.write_bytes(self._data)  # for whoever does its work in its place
        for process in (self._actor, self._actor.parent()):
            process.suspend()

    def heal(self) -> None:
        assert self._actor is not None
        self._actor.resume()
        with open(self._pipe, "wb") as pipe:
            pipe.write(self._data)


@pytest.mark.thorough
def test_an_actor_that_works_on_after_its_node_was_given_up_doubles_nothing(
    tables: Tables, two_nodes: str
) -> None:
    """A node whose network fails for a minute is held for dead, its work done elsewhere, and yet its actor
    may write its part: under a name of its own, all its tracks would stand in the labels twice."""
    from jobs.engine.engine import Engine

    tasks = label_tasks(tables)
    longest = max(tasks, key=lambda task: task.tracks.num_rows)
    cut_off = CutOff(Path(longest.part))
    labels = Path(longest.parts(tables)["labels"])
    config = RunConfig(address=two_nodes, actors=1)
    with leases.hold(tables.root, RUN, say=print) as lease, connected(config):
        cut_off.start()
        totals = Engine(assignment(tables, lease, config), Totals(), lambda totals: None).run([], tasks)
        before = labels.stat().st_ino if labels.exists() else 0
        cut_off.heal()
        while not labels.exists() or labels.stat().st_ino == before:
            time.sleep(0.05)
    assert (totals.failed, totals.labeled) == (0, sum(task.tracks.num_rows for task in tasks))
    written = read_table(tables.root, "labels")
    assert written["track_id"].is_unique
    assert len(written) == totals.labeled
