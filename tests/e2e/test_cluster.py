"""On a Ray cluster that is there already, by address and by `ray job submit`."""

import contextlib
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from jobs.engine import lease as leases
from jobs.engine import lease_acquisition
from jobs.engine.metrics import METRICS, STATES, error_types
from pipeline.demo.demo_catalog import N_BROKEN, write_demo_catalog
from pipeline.tables.runs import read_reports, write_report
from pipeline.tables.tables import Tables
from schemas.report import Counts, RunReport
from tests.chaos.damage import endless_flac
from tests.chaos.watch import CatalogWatch
from tests.e2e.earmark import EARMARK, earmark, outcomes, read_table, succeed
from tests.ports import free_port
from tests.ray_cluster import RAY, Cluster, running_head
from tests.webhook import webhook


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_head() as running:
        yield running


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cluster") / "catalog"
    write_demo_catalog(folder, n_tracks=6, duration_s=15)
    return folder


def test_a_submitted_job(cluster: Cluster, catalog: Path, tmp_path: Path) -> None:
    """`ray job submit` is how it runs on a cluster: the same command, lines instead of a bar. The operator is
    told how it ended, and Prometheus finds every metric that the dashboard and the alerts ask for."""
    with webhook() as hook, scraped(cluster) as samples:
        command: list[str | Path] = [EARMARK, "run", catalog, tmp_path / "tables", "--notify", hook.url]
        for _ in range(5):
            done = subprocess.run(
                [RAY, "job", "submit", "--address", cluster.dashboard, "--", *command],
                capture_output=True, text=True, timeout=500, env=cluster.environment,
            )  # fmt: skip
            # `ray start` returns before the node's agent takes jobs.
            if "No available agent" not in done.stdout + done.stderr:
                break
            time.sleep(2)
        exported = {metric.exported for metric in METRICS}
        for _ in range(30):  # the last values arrive with the end of the driver
            if exported <= {name_of(sample) for sample in samples.copy()}:
                break
            time.sleep(0.5)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{6 + N_BROKEN} tracks listed: 6 labeled, {N_BROKEN} failed" in done.stdout
    assert "succeeded" in done.stdout
    assert set(outcomes(tmp_path / "tables").values()) == {1}
    (message,) = hook.posted
    assert (message["outcome"], message["counts"]["labeled"]) == ("done", 6)
    assert message["report"].endswith(".json")
    assert hook.url not in Path(message["report"]).read_text() + done.stderr
    assert exported <= {name_of(sample) for sample in samples}
    for state in STATES:
        assert any(f'state="{state}"' in sample for sample in samples)
    for error_type in error_types():  # those that did not happen too
        assert any(f'error_type="{error_type}"' in sample for sample in samples)


@pytest.mark.thorough
def test_submit_exits_as_the_run_does(cluster: Cluster, catalog: Path, tmp_path: Path) -> None:
    """Ray's own client returns 1 for everything: a scheduler takes a wrong command for a store that failed,
    and tries it again all night."""
    tables = tmp_path / "tables"
    with leases.hold(str(tables), "run-1", say=print):
        held = earmark("submit", catalog, tables, "--address", cluster.dashboard, **cluster.environment)
    assert held.returncode == 5, held.stderr
    assert "run run-1 of" in held.stdout
    write_report(Tables(str(tables)), report_of("/another/catalog"))
    refused = earmark("submit", catalog, tables, "--address", cluster.dashboard, **cluster.environment)
    assert refused.returncode == 2, refused.stderr
    assert "holds the tables of /another/catalog" in refused.stdout
    unknown = earmark("submit", "--follow", "nobody", "--address", cluster.dashboard, **cluster.environment)
    assert unknown.returncode == 1
    assert "knows no such job" in unknown.stderr


def report_of(catalog: str) -> RunReport:
    return RunReport(
        run="20260101T000000-0000", command="run", catalog=catalog, outcome="done", feature_set="",
        started_at=datetime.now(UTC), counts=Counts(listed=0),
    )  # fmt: skip


def name_of(sample: str) -> str:
    return re.split(r"[{ ]", sample)[0]


@contextlib.contextmanager
def scraped(cluster: Cluster) -> Iterator[set[str]]:
    """All samples of Earmark's that Prometheus would find during a ``with`` block."""
    samples: set[str] = set()
    ended = threading.Event()

    def scrape() -> None:
        while not ended.wait(0.5):
            with contextlib.suppress(requests.RequestException):
                lines = requests.get(f"{cluster.metrics}/metrics", timeout=5).text.splitlines()
                samples.update(line for line in lines if line.startswith("ray_earmark_"))

    thread = threading.Thread(target=scrape, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


@pytest.mark.thorough
def test_a_job_that_is_stopped(cluster: Cluster, catalog: Path, tmp_path: Path) -> None:
    """`ray job stop` sends SIGTERM and kills soon after, however long a track still decodes: the report must
    not say `running` for ever, nor the next run wait for a lease that nobody holds."""
    folder, tables = tmp_path / "catalog", tmp_path / "tables"
    shutil.copytree(catalog, folder)
    endless = folder / "endless.flac"
    endless.write_bytes(endless_flac())
    server = ["--address", cluster.dashboard]
    with webhook() as hook:
        with CatalogWatch(folder) as watch:
            options = ["--", "--track-timeout", 600, "--notify", hook.url]
            job = succeed("submit", folder, tables, *server, "--no-wait", *options, **cluster.environment)
            job = job.strip()
            while not watch.opened[str(endless)]:
                time.sleep(0.01)
        time.sleep(1)
        assert succeed("submit", *server, "--stop", job, **cluster.environment) == ""
        hook.wait()
    assert [message["outcome"] for message in hook.posted] == ["interrupted"]
    assert "has already ended" in earmark("submit", *server, "--stop", job, **cluster.environment).stderr
    ended = earmark("submit", *server, "--follow", job, **cluster.environment)
    assert ended.returncode == 130, ended.stderr
    assert f"{tables}/labels" in ended.stdout, "not the log of the run"
    (report,) = read_reports(Tables(str(tables)))
    assert report.outcome == "interrupted"
    assert lease_acquisition.free_number(str(tables)) is not None, "the lease was not released"
    assert str(endless) not in outcomes(tables), "it was waited for"


@pytest.mark.thorough
def test_a_run_by_address(cluster: Cluster, catalog: Path, tmp_path: Path) -> None:
    """From outside the cluster, with --address."""
    succeed("run", catalog, tmp_path / "tables", "--address", cluster.address, RAY_AUTH_MODE="disabled")
    assert len(outcomes(tmp_path / "tables")) == 6 + N_BROKEN
    assert set(outcomes(tmp_path / "tables").values()) == {1}


@pytest.mark.thorough
def test_a_node_that_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spot node that goes without a word takes its worker along: its shard is done again elsewhere."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster as TestCluster

    write_demo_catalog(tmp_path / "catalog", n_tracks=40, duration_s=35)
    nodes = TestCluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        spot = nodes.add_node(num_cpus=1)
        run = subprocess.Popen(
            [EARMARK, "run", tmp_path / "catalog", tmp_path / "tables", "--address", nodes.address],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        while not (tmp_path / "tables" / "tracks").exists() and run.poll() is None:
            time.sleep(0.01)
        nodes.remove_node(spot, allow_graceful=False)
        output, _ = run.communicate(timeout=240)
    finally:
        nodes.shutdown()
    assert run.returncode == 0, output
    assert len(outcomes(tmp_path / "tables")) == 40 + N_BROKEN
    assert set(outcomes(tmp_path / "tables").values()) == {1}
    assert len(read_table(tmp_path / "tables", "failures")) == N_BROKEN


def test_no_cluster_at_the_address(catalog: Path, tmp_path: Path) -> None:
    """A mistyped address is said, and the run is reported as failed."""
    done = earmark("run", catalog, tmp_path / "tables", "--address", f"127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "cannot reach a Ray cluster at 127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr
