"""Things die: the driver, a decoder's process, the actor, by kill -9; Ctrl-C; two runs at once."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.demo.demo_catalog import N_BROKEN, write_demo_catalog
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables
from tests.chaos.damage import endless_flac
from tests.chaos.nodes import Nodes
from tests.chaos.watch import CatalogWatch
from tests.e2e.earmark import EARMARK, earmark, outcomes, read_table, succeed
from tests.ray_cluster import Cluster

N_TRACKS = 16


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crashes") / "catalog"
    write_demo_catalog(folder, n_tracks=N_TRACKS, duration_s=15)
    return folder


@pytest.fixture
def shared_ray(running_ray: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands of a test use a Ray that runs already: its start is not what the test is about."""
    monkeypatch.setenv("RAY_ADDRESS", running_ray.address)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")


def start(*arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [EARMARK, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_a_driver_that_is_killed_three_times_loses_and_doubles_nothing(catalog: Path, tmp_path: Path) -> None:
    """kill -9 at a random moment, three times, then the same command again: every track once."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    moments = random.Random(seed)
    tables = tmp_path / "tables"
    for _ in range(3):
        run = start("run", catalog, tables)
        with pytest.raises(subprocess.TimeoutExpired):
            run.wait(timeout=moments.uniform(1.5, 9))
        run.kill()
        run.communicate()
    succeed("run", catalog, tables)
    assert outcomes(tables) == dict.fromkeys(outcomes(tables), 1)
    assert len(outcomes(tables)) == N_TRACKS + N_BROKEN
    assert succeed("run", catalog, tables).startswith("nothing to do")


def ray_processes(driver: int, title: str) -> Iterator[psutil.Process]:
    """Processes of a driver's local Ray by what they are at."""
    for process in psutil.Process(driver).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name().startswith(title):
                yield process


def with_endless_track(catalog: Path, folder: Path) -> str:
    """Copy a catalog and add a track that takes minutes to decode; where it is."""
    shutil.copytree(catalog, folder)
    track = folder / "endless.flac"
    track.write_bytes(endless_flac())
    return str(track)


@pytest.mark.usefixtures("shared_ray")
@pytest.mark.thorough
def test_a_file_that_crashes_its_decoder_costs_one_row(catalog: Path, tmp_path: Path) -> None:
    """A decoder that crashes the process must cost the one file, named, and none of its neighbors."""
    poison = with_endless_track(catalog, tmp_path / "catalog")
    with CatalogWatch(tmp_path / "catalog", [poison]) as watch:
        succeed("run", tmp_path / "catalog", tmp_path / "tables")
    assert watch.crashes >= 2
    failures = read_table(tmp_path / "tables", "failures").set_index("uri")
    assert failures.loc[poison, "error_type"] == "DecoderCrashedError"
    assert "SIGSEGV" in str(failures.loc[poison, "message"])
    assert len(failures) == N_BROKEN + 1
    assert len(read_table(tmp_path / "tables", "labels")) == N_TRACKS
    assert set(outcomes(tmp_path / "tables").values()) == {1}
    assert watch.opened.total() - len(watch.opened) <= 3 * 5, "decodes repeated: more than a few a halving"


def test_an_actor_that_dies_is_replaced(catalog: Path, tmp_path: Path) -> None:
    """A preempted GPU node costs a moment, no track."""
    n_copies = 30  # so many that the first labels are not the last
    for copy in range(n_copies):
        shutil.copytree(catalog, tmp_path / "catalog" / str(copy))
    run = start("run", tmp_path / "catalog", tmp_path / "tables")
    deadline = time.monotonic() + 120
    actor = None
    while actor is None and time.monotonic() < deadline:
        labels = (tmp_path / "tables" / "labels").exists()
        actors = list(ray_processes(run.pid, "ray::Labeler"))
        actor = actors[0] if labels and actors else None
        time.sleep(0.1)
    assert actor is not None
    actor.kill()
    output, _ = run.communicate(timeout=300)
    assert run.returncode == 0, output
    assert set(outcomes(tmp_path / "tables").values()) == {1}
    assert len(read_table(tmp_path / "tables", "labels")) == n_copies * N_TRACKS


@pytest.mark.thorough
def test_actors_that_are_killed_while_they_load_the_model_are_replaced(catalog: Path, tmp_path: Path) -> None:
    """Preempted again and again before it is ready: that is not a model that cannot be loaded."""
    run = start("run", catalog, tmp_path / "tables")
    killed: set[int] = set()
    while len(killed) < 4 and run.poll() is None:
        for process in ray_processes(run.pid, "ray::Labeler.__init__"):
            process.kill()
            killed.add(process.pid)
        time.sleep(0.01)
    output, _ = run.communicate(timeout=300)
    assert len(killed) == 4
    assert run.returncode == 0, output
    assert len(read_table(tmp_path / "tables", "labels")) == N_TRACKS
    assert set(outcomes(tmp_path / "tables").values()) == {1}


@pytest.mark.usefixtures("shared_ray")
@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.thorough), signal.SIGTERM])
def test_an_interrupted_run_ends_in_order(catalog: Path, tmp_path: Path, number: int) -> None:
    """Ctrl-C, and the SIGTERM of a preempted node: what is in flight ends, a report is left, exit 130."""
    run = start("run", catalog, tmp_path / "tables")
    while not (tmp_path / "tables" / "tracks").exists():
        time.sleep(0.01)
    run.send_signal(number)
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 130, output
    assert "run the same command again" in output
    assert "Traceback" not in output
    succeed("run", catalog, tmp_path / "tables")
    assert set(outcomes(tmp_path / "tables").values()) == {1}
    assert len(outcomes(tmp_path / "tables")) == N_TRACKS + N_BROKEN


@pytest.mark.thorough
def test_ray_that_does_not_start_in_time_is_said(catalog: Path, tmp_path: Path) -> None:
    """On a machine that does too much else, Ray gives up starting; that is no fault inside Earmark."""
    run = start("run", catalog, tmp_path / "tables")
    stopped: list[psutil.Process] = []
    while not stopped and run.poll() is None:
        stopped = list(ray_processes(run.pid, "raylet"))
        for process in stopped:
            process.suspend()
    output, _ = run.communicate(timeout=240)
    assert run.returncode == 1, output
    assert "cannot start Ray on this machine" in output
    assert "run the same command again" in output
    assert "internal error" not in output
    assert read_reports(Tables(str(tmp_path / "tables")), last=1)[0].outcome == "failed"
    gone, alive = psutil.wait_procs(stopped, timeout=30)
    assert gone
    assert not alive, "Ray's processes outlive the run"


@pytest.mark.thorough
def test_a_cluster_that_is_lost_with_its_head(
    catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray ends a driver whose cluster is gone without a report: nothing would say what failed."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    nodes = Nodes()
    try:
        nodes.start()
        run = start("run", catalog, tmp_path / "tables", "--address", nodes.address)
        while not (tmp_path / "tables" / "tracks").exists() and run.poll() is None:
            time.sleep(0.01)
        nodes.kill_cluster()
        output, _ = run.communicate(timeout=120)
    finally:
        nodes.stop()
    assert run.returncode == 1, output
    said = [line for line in output.splitlines() if line.startswith("earmark: error:")]
    assert len(said) == 1, output
    assert "of the Ray cluster has not answered" in said[0]
    assert "Traceback" not in output
    report = read_reports(Tables(str(tmp_path / "tables")), last=1)[0]
    assert (report.outcome, report.error) == ("failed", said[0].removeprefix("earmark: error: "))
    succeed("run", catalog, tmp_path / "tables")
    assert set(outcomes(tmp_path / "tables").values()) == {1}
    assert len(outcomes(tmp_path / "tables")) == N_TRACKS + N_BROKEN


@pytest.mark.thorough
def test_a_run_that_planned_beside_another_one_plans_again(tmp_path: Path) -> None:
    """A large listing takes minutes; what another run has done meanwhile must not be done twice."""
    from jobs.engine import lease_objects
    from jobs.run.request import list_job, make_job
    from jobs.run.run import run_job
    from schemas.config import RunConfig

    write_demo_catalog(tmp_path / "catalog", n_tracks=4, duration_s=12)
    job = make_job("run", str(tmp_path / "catalog"), str(tmp_path / "tables"), RunConfig(cpus=1))

    def list_while_another_runs(asked: object) -> object:
        listing = list_job(job)
        if lease_objects.newest(job.tables.root) is None:
            succeed("run", tmp_path / "catalog", tmp_path / "tables")
        return listing

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("jobs.run.run.list_job", list_while_another_runs)
        report = run_job(job, print)
    assert (report.counts.labeled, report.counts.labeled_before) == (0, 4)
    assert set(outcomes(tmp_path / "tables").values()) == {1}


@pytest.mark.usefixtures("shared_ray")
def test_of_two_runs_at_once_one_works_and_one_says_who_does(catalog: Path, tmp_path: Path) -> None:
    """A scheduler that fires twice must not label twice."""
    runs = [start("run", catalog, tmp_path / "tables") for _ in range(2)]
    outputs = [run.communicate(timeout=300)[0] for run in runs]
    codes = sorted(run.returncode for run in runs)
    assert codes in ([0, 0], [0, 5]), outputs
    if codes == [0, 5]:
        refused = outputs[[run.returncode for run in runs].index(5)]
        assert f"process {runs[[run.returncode for run in runs].index(0)].pid}" in refused
    assert set(outcomes(tmp_path / "tables").values()) == {1}
    assert os.listdir(tmp_path / "tables" / "_lease") != []


@pytest.mark.thorough
def test_a_holder_is_named_while_it_lives_and_replaced_when_it_is_dead(catalog: Path, tmp_path: Path) -> None:
    """An operator must know whom to wait for, and need not remove a lock by hand after kill -9."""
    folder, tables = tmp_path / "catalog", tmp_path / "tables"
    endless = with_endless_track(catalog, folder)
    with CatalogWatch(folder) as watch:
        holder = start("run", folder, tables, "--track-timeout", 90)
        while not watch.opened[endless]:
            time.sleep(0.01)
    refused = earmark("run", folder, tables)
    assert refused.returncode == 5
    holders_name = read_reports(Tables(str(tables)), last=1)[0].run
    assert f"run {holders_name} of" in refused.stderr
    assert f"process {holder.pid}" in refused.stderr
    assert "wait until it has ended, or stop it" in refused.stderr
    holder.kill()
    holder.communicate()
    Path(endless).unlink()
    heir = earmark("run", folder, tables)
    assert heir.returncode == 0, heir.stderr
    assert f"process {holder.pid}" in heir.stderr
    assert "taking over" in heir.stderr
    assert set(outcomes(tables).values()) == {1}
    assert len(outcomes(tables)) == N_TRACKS + N_BROKEN


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("number", "times"),
    [(signal.SIGTERM, 1), (signal.SIGINT, 2)],
)
def test_a_run_is_interrupted_while_a_long_track_decodes(
    catalog: Path, tmp_path: Path, number: int, times: int
) -> None:
    """SIGTERM, after which ray job stop kills in three seconds, and Ctrl-C twice wait for no decoder: report,
    lease and tables are in order, and the next run begins at once."""
    folder, tables = tmp_path / "catalog", tmp_path / "tables"
    endless = with_endless_track(catalog, folder)
    with CatalogWatch(folder) as watch:
        run = start("run", folder, tables, "--cpus", 1, "--track-timeout", 600)
        while not watch.opened[endless]:
            time.sleep(0.01)
        begun = {path for path, times_opened in watch.opened.items() if times_opened}
        for _ in range(times):
            run.send_signal(number)
            time.sleep(1)
        output, _ = run.communicate(timeout=120)
        assert {path for path, times_opened in watch.opened.items() if times_opened} == begun, (
            "a shard was begun after the signal"
        )
    assert run.returncode == 130, output
    assert "Traceback" not in output
    report = read_reports(Tables(str(tables)), last=1)[0]
    assert report.outcome == "interrupted"
    assert report.balanced
    assert report.counts.left >= 1
    assert report.counts.labeled == len(read_table(tables, "labels"))
    assert report.counts.failed == len(read_table(tables, "failures"))
    assert endless not in outcomes(tables), "it was waited for"
    Path(endless).unlink()
    again = earmark("run", folder, tables)
    assert again.returncode == 0, again.stderr
    assert "is writing to" not in again.stderr, "the lease was not released"
    assert "waiting" not in again.stderr.replace("waiting for the model", "")
    assert set(outcomes(tables).values()) == {1}
    assert len(read_table(tables, "labels")) == N_TRACKS
