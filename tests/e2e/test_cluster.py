"""On a Ray cluster that is there already, by address and by `ray job submit`."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.engine import lease_acquisition
from pipeline.demo.demo_catalog import N_BROKEN, write_demo_catalog
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables
from tests.chaos.damage import endless_flac
from tests.chaos.watch import CatalogWatch
from tests.e2e.earmark import EARMARK, earmark, outcomes, read_table, succeed
from tests.ray_cluster import RAY, Cluster, free_port, running_head


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
    """`ray job submit` is how it runs on a cluster: the same command, lines instead of a bar."""
    command = [EARMARK, "run", catalog, tmp_path / "tables"]
    for _ in range(5):
        done = subprocess.run(
            [RAY, "job", "submit", "--address", cluster.dashboard, "--", *command],
            capture_output=True, text=True, timeout=300, env=cluster.environment,
        )  # fmt: skip
        # `ray start` returns before the node's agent takes jobs.
        if "No available agent" not in done.stdout + done.stderr:
            break
        time.sleep(2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{6 + N_BROKEN} tracks listed: 6 labeled, {N_BROKEN} failed" in done.stdout
    assert "succeeded" in done.stdout
    assert set(outcomes(tmp_path / "tables").values()) == {1}


def test_a_job_that_is_stopped(cluster: Cluster, catalog: Path, tmp_path: Path) -> None:
    """`ray job stop` sends SIGTERM and kills soon after, however long a track still decodes: the report must
    not say `running` for ever, nor the next run wait for a lease that nobody holds."""
    folder, tables = tmp_path / "catalog", tmp_path / "tables"
    shutil.copytree(catalog, folder)
    endless = folder / "endless.flac"
    endless.write_bytes(endless_flac())
    job = [
        RAY,
        "job",
        "submit",
        "--no-wait",
        "--address",
        cluster.dashboard,
        "--submission-id",
        "stopped",
        "--",
    ]
    with CatalogWatch(folder) as watch:
        subprocess.run(
            [*job, EARMARK, "run", folder, tables, "--track-timeout", "600"],
            check=True, capture_output=True, timeout=120, env=cluster.environment,
        )  # fmt: skip
        while not watch.opened[str(endless)]:
            time.sleep(0.01)
    time.sleep(1)
    stop = [RAY, "job", "stop", "--address", cluster.dashboard, "stopped"]
    subprocess.run(stop, check=True, capture_output=True, timeout=200, env=cluster.environment)
    (report,) = read_reports(Tables(str(tables)))
    assert report.outcome == "interrupted"
    assert lease_acquisition.free_number(str(tables)) is not None, "the lease was not released"
    assert str(endless) not in outcomes(tables), "it was waited for"
    endless.unlink()
    again = earmark("run", folder, tables, "--address", cluster.address, RAY_AUTH_MODE="disabled")
    assert again.returncode == 0, again.stderr
    assert "is writing to" not in again.stderr
    assert len(outcomes(tables)) == 6 + N_BROKEN
    assert set(outcomes(tables).values()) == {1}


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
