"""The log of a run: what happened on its workers, with run, shard, node and track. On a real Ray, and S3."""

import json
import logging
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray

from jobs.engine.cluster import connected
from jobs.engine.workers import Answer, events_of, run_work
from pipeline.demo.demo_catalog import N_BROKEN, write_demo_catalog
from pipeline.log import get_logger
from pipeline.shards.label_part import LabelResult, LabelTask
from pipeline.storage import storage
from pipeline.storage.errors import StoreFailingError
from pipeline.tables.runs import log_location, read_reports
from pipeline.tables.tables import Tables
from schemas.config import RunConfig
from schemas.errors import LabelError
from tests.chaos.damage import endless_flac
from tests.chaos.watch import CatalogWatch
from tests.e2e.earmark import EARMARK, earmark
from tests.s3_proxy import FaultyProxy, faulty_proxy

Line = dict[str, Any]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logged") / "catalog"
    write_demo_catalog(folder, n_tracks=4, duration_s=6)
    return folder


def file_of(tables: object) -> list[Line]:
    """The lines of the last run's log."""
    opened = Tables(str(tables))
    run = read_reports(opened, last=1)[0].run
    lines = storage.read_bytes(log_location(opened, run)).decode().splitlines()
    parsed: list[Line] = [json.loads(line) for line in lines]
    assert {line.get("run") for line in parsed} == {run}
    return parsed


def logged(done: "subprocess.CompletedProcess[str]") -> list[Line]:
    """The lines of JSON on stderr; the others are those of a run that logs nothing."""
    lines = done.stderr.splitlines()
    others = [line for line in lines if not line.startswith("{")]
    assert all(line.startswith(("labeling: ", "listing: ", "earmark: ")) for line in others), others
    return [json.loads(line) for line in lines if line.startswith("{")]


def only(lines: list[Line], message: str) -> list[Line]:
    return [line for line in lines if line["message"] == message]


@pytest.mark.thorough
def test_a_track_that_kills_its_worker_is_seen(catalog: Path, tmp_path: Path) -> None:
    """Fails: the row of the failure is all there is, and the operator cannot tell which node met it, when."""
    folder, tables = tmp_path / "catalog", tmp_path / "tables"
    for path in (path for path in catalog.rglob("*.*") if path.is_file()):
        (folder / path.relative_to(catalog)).parent.mkdir(parents=True, exist_ok=True)
        os.link(path, folder / path.relative_to(catalog))
    poison = folder / "00 Poison.flac"
    poison.write_bytes(endless_flac())
    with CatalogWatch(folder, [str(poison)]):
        done = earmark("--log-format", "json", "run", folder, tables, "--cpus", 2, "--log-level", "info")
    assert done.returncode == 0, done.stderr
    kept = file_of(tables)
    (died,) = only(kept, "worker died, isolating its tracks")
    assert (died["level"], bool(died["shard"])) == ("warning", True)
    ended = only(kept, "track crashed its process")
    assert len(ended) == 2, "it is to blame when a second process fails on it too"
    for line in (*ended, *only(kept, "track is suspected, another process is to confirm")):
        assert line["track"] == str(poison)
        assert line["shard"].startswith(died["shard"])
        assert line["node"]
        assert "SIGSEGV" in line["error"]
    failed = {line["track"]: line["error_type"] for line in only(kept, "track failed")}
    assert failed[str(poison)] == "DecoderCrashedError"
    assert len(failed) == N_BROKEN + 1
    (loaded,) = only(kept, "model loaded")
    assert loaded["node"]
    assert only(kept, "connected to Ray")[0]["cpus"] == 2
    assert sum(line["tracks"] for line in only(kept, "part labeled")) == 4
    (end,) = only(kept, "run ends")
    assert (end["outcome"], end["labeled"], end["failed"]) == ("done", 4, N_BROKEN + 1)
    # All of it was on stderr too; the file was closed while the run still had its lease.
    *shown, last = logged(done)
    assert sorted(shown, key=lambda line: line["time"]) == kept
    assert last["message"] == "lease released"


@pytest.mark.thorough
def test_a_run_says_nothing_new_unless_it_is_asked(catalog: Path, tmp_path: Path) -> None:
    """Fails: cron mails a page every night."""
    done = earmark("run", catalog, tmp_path / "tables", "--cpus", 1)
    assert done.returncode == 0
    assert all(line.startswith("labeling: ") for line in done.stderr.splitlines()), done.stderr
    assert only(file_of(tmp_path / "tables"), "run ends")
    again = earmark("--log-level", "error", "run", catalog, tmp_path / "tables", EARMARK_LOG_LEVEL="debug")
    assert again.stderr == ""
    listed = earmark("run", catalog, tmp_path / "tables", EARMARK_LOG_LEVEL="INFO", EARMARK_LOG_FORMAT="json")
    assert [line["message"] for line in logged(listed)] == [
        "lease acquired", "run begins", "run ends", "lease released"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "arguments", [("--log-level", "loud", "status", "x"), ("status", "x", "--log-format", "xml")]
)
def test_a_wrong_level_or_format_is_misuse(arguments: tuple[str, ...]) -> None:
    """Fails: the command runs for a night, and logs nothing."""
    done = earmark(*arguments)
    assert done.returncode == 2
    assert arguments[-1] in done.stderr or "loud" in done.stderr


@pytest.mark.thorough
def test_a_run_that_is_stopped_leaves_its_log(catalog: Path, tmp_path: Path) -> None:
    """Kubernetes preempts the node of the driver: what had happened until then is what one wants to know."""
    folder, tables = tmp_path / "catalog", tmp_path / "tables"
    folder.mkdir()
    endless = folder / "endless.flac"
    endless.write_bytes(endless_flac())
    with CatalogWatch(folder) as watch:
        run = subprocess.Popen(
            [EARMARK, "run", folder, tables, "--cpus", "1", "--track-timeout", "600"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        while not watch.opened[str(endless)]:
            assert run.poll() is None
            signal.sigtimedwait([], 0.05)
        run.send_signal(signal.SIGTERM)
        output, _ = run.communicate(timeout=120)
    assert run.returncode == 130, output
    kept = file_of(tables)
    assert only(kept, "stopping") or only(kept, "closed: report and lease are in order")
    assert kept[-1]["message"] == "run ends"
    assert kept[-1]["outcome"] == "interrupted"


def test_what_a_worker_logs_before_it_fails_reaches_the_driver() -> None:
    """A part that cannot be written fails with its task: the retries before that say why."""

    def fail(task: LabelTask) -> Answer:
        def work() -> LabelResult:
            get_logger("jobs").warning("before it failed", track="t")
            raise StoreFailingError("the store is down")

        return run_work(work, task, logging.INFO)

    tracks = pa.table({"track_id": ["t"]})
    task = LabelTask("000001", "r", "2026-01-01", "m", "part", "f", tracks)
    with connected(RunConfig(cpus=1)), pytest.raises(ray.exceptions.RayTaskError, match="is down") as caught:
        ray.get(ray.remote(max_retries=0)(fail).remote(task))
    (event,) = events_of(caught.value.cause)
    assert event.message == "before it failed"
    assert event.fields.keys() == {"run", "shard", "node", "track"}


def test_work_is_scheduled_as_a_batch() -> None:
    """Actor, workers and Ray's processes interrupt each other whenever one wakes: a run takes longer."""

    def ask(task: LabelTask) -> list[int]:
        policies = []

        def work() -> LabelError:
            policies.append(os.sched_getscheduler(0))
            return LabelError("no output")

        run_work(work, task, logging.INFO)
        return policies

    task = LabelTask("000001", "r", "2026-01-01", "m", "part", "f", pa.table({"track_id": ["t"]}))
    with connected(RunConfig(cpus=1)):
        assert ray.get(ray.remote(max_retries=0)(ask).remote(task)) == [os.SCHED_BATCH]


@pytest.fixture
def proxy(s3_environment: dict[str, str]) -> Iterator[FaultyProxy]:
    with faulty_proxy(s3_environment["AWS_ENDPOINT_URL"], seed=5) as running:
        yield running


@pytest.mark.thorough
@pytest.mark.s3
def test_retries_of_a_store_are_seen(catalog: Path, bucket: str, proxy: FaultyProxy) -> None:
    """A night takes three times as long: the log says that it was the store, for which tracks and nodes."""
    piece = max(catalog.rglob("*.flac"), key=lambda path: path.stat().st_size).read_bytes()
    for number in range(24):
        storage.write_bytes(f"{bucket}/music/{number:02}.flac", piece)
    proxy.rate, proxy.kinds, proxy.below = 0.6, ("short_body", "short_body", "slow_down"), "/music/"
    done = earmark("run", f"{bucket}/music", f"{bucket}/tables", "--cpus", 2, AWS_ENDPOINT_URL=proxy.url)
    assert done.returncode == 0, done.stderr
    kept = file_of(f"{bucket}/tables")
    retried = only(kept, "store failed, retrying")
    assert retried, [line["message"] for line in kept]
    for line in retried:
        assert line["level"] == "warning"
        assert line["track"].startswith(f"{bucket}/music/")
        assert "location" not in line, "it would say the same twice"
        assert line["shard"]
        assert line["node"]
        assert line["attempt"] >= 1
        assert line["wait_s"] > 0
        assert line["error"]
    # A busy server makes the client retry too; a track is read and, where that breaks off, looked up.
    by_client = [line for line in only(kept, "store answered after retries") if "track" in line]
    assert {line["request"] for line in by_client} <= {"get_object", "head_object"}
    assert all(line["shard"] and line["node"] for line in by_client)
    # Warnings are on stderr without being asked for, as lines of text.
    assert done.stderr.count(" warning store failed, retrying run=") == len(retried)
