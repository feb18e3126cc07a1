"""Who is to blame: a track, a node, or the environment of all of them. On a real Ray, with real faults."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.demo.demo_catalog import N_BROKEN, write_demo_catalog
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables
from tests.broken import (
    BROKEN_LIBRARY,
    SPOILED_WORKERS,
    WRONG_BUILD,
    with_nan_model,
    with_soxr,
    without,
    without_mount,
)
from tests.chaos.damage import endless_flac
from tests.chaos.watch import CatalogWatch
from tests.e2e.earmark import EARMARK, outcomes, read_table
from tests.unit.test_importers import make_table

N_TRACKS = 6


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blame") / "catalog"
    write_demo_catalog(folder, n_tracks=N_TRACKS, duration_s=6)
    return folder


@pytest.fixture(scope="module")
def head() -> Iterator[Any]:
    """A cluster whose head takes no work."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            yield cluster
        finally:
            cluster.shutdown()


@pytest.fixture
def nodes(head: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The cluster, to which a test adds nodes of its own."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    yield head
    for node in list(head.worker_nodes):
        head.remove_node(node, allow_graceful=False)


def add_node(nodes: Any, *, python_path: Path | None = None) -> None:
    environment = {} if python_path is None else {"PYTHONPATH": str(python_path)}
    nodes.add_node(num_cpus=1, object_store_memory=100 << 20, env_vars=environment)


def run(catalog: Path, tables: Path, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [EARMARK, "run", catalog, tables, *arguments]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=500, **options)


def failed_as_a_run(done: subprocess.CompletedProcess[str], tables: Path) -> str:
    """The one sentence that a run failed with, which blamed no track."""
    assert done.returncode == 1, done.stdout + done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("earmark: error: ")]
    assert len(said) == 1
    assert "Traceback" not in done.stderr
    named = read_table(tables, "failures")
    assert named.empty or set(named["error_type"]) <= {"EmptyFileError"}, "a track was blamed"
    assert read_reports(Tables(str(tables)), last=1)[0].outcome == "failed"
    return said[0]


def labels_all(done: subprocess.CompletedProcess[str], tables: Path, n_tracks: int, n_bad: int) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(outcomes(tables).values()) == {1}
    assert (len(read_table(tables, "labels")), len(read_table(tables, "failures"))) == (n_tracks, n_bad)


@pytest.mark.thorough
@pytest.mark.parametrize("n_tracks", [3, 30])
def test_a_node_without_earmark_is_named(nodes: Any, tmp_path: Path, n_tracks: int) -> None:
    """Fails: the tracks that met that node are remembered as bad, and never tried again."""
    write_demo_catalog(tmp_path / "catalog", n_tracks=n_tracks, duration_s=6)
    add_node(nodes, python_path=without(tmp_path / "bare", "pipeline", "jobs", "schemas"))
    done = run(tmp_path / "catalog", tmp_path / "tables", "--address", nodes.address)
    said = failed_as_a_run(done, tmp_path / "tables")
    assert "lacks Earmark" in said
    assert "install Earmark" in said


@pytest.mark.thorough
@pytest.mark.parametrize("module", ["av", "tensorflow"])
def test_a_module_that_a_node_lacks_is_named(nodes: Any, catalog: Path, tmp_path: Path, module: str) -> None:
    """An operator must read what to install, and where."""
    add_node(nodes, python_path=without(tmp_path / "bare", module))
    done = run(catalog, tmp_path / "tables", "--address", nodes.address)
    assert done.returncode == 1
    assert f"lacks the module {module}; install Earmark" in done.stderr
    assert len(read_table(tmp_path / "tables", "failures")) <= N_BROKEN, "a track was blamed"


@pytest.mark.thorough
def test_a_training_names_the_node_that_lacks_earmark(nodes: Any, tmp_path: Path) -> None:
    """A traceback of Ray says what could not be unpickled, and neither where nor what to do."""
    add_node(nodes, python_path=without(tmp_path / "bare", "pipeline", "jobs", "schemas"))
    make_table(24).to_csv(tmp_path / "features.csv", index=False)
    command = [
        EARMARK, "train", tmp_path / "features.csv", "--arch", "dense", "--seeds", "0,1", "--threads", 1,
        "--out", tmp_path / "model", "--address", nodes.address,
    ]  # fmt: skip
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "earmark: error: node " in done.stderr
    assert "lacks Earmark" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.thorough
def test_a_file_that_hides_a_package_on_a_node_is_named(nodes: Any, catalog: Path, tmp_path: Path) -> None:
    """A jobs.py on the workers' PYTHONPATH: the sentence must say which file is in the way."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "jobs.py").write_text("# a user's own\n")
    add_node(nodes, python_path=tmp_path / "mine")
    done = run(catalog, tmp_path / "tables", "--address", nodes.address)
    said = failed_as_a_run(done, tmp_path / "tables")
    assert f"{tmp_path / 'mine' / 'jobs.py'} hides Earmark's package 'jobs'" in said


@pytest.mark.thorough
def test_an_older_earmark_on_a_node_is_said(nodes: Any, catalog: Path, tmp_path: Path) -> None:
    """Two versions at once would mix what they make."""
    info = tmp_path / "old" / "earmark-0.0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: earmark\nVersion: 0.0.1\n")
    add_node(nodes, python_path=tmp_path / "old")
    done = run(catalog, tmp_path / "tables", "--address", nodes.address)
    assert done.returncode == 1
    assert "has Earmark 0.0.1" in done.stderr


@pytest.mark.thorough
def test_what_lies_in_the_working_directory_is_not_imported(catalog: Path, tmp_path: Path) -> None:
    """Run from a folder with modules of one's own: Ray's workers must not take those for what they need."""
    mine = with_soxr(tmp_path / "mine", "raise RuntimeError('a user's own')\n")
    for name in ("pipeline", "schemas"):
        (mine / name).mkdir()
        (mine / name / "__init__.py").write_text("raise RuntimeError('a user's own')\n")
    for name in ("jobs", "random", "av"):
        (mine / f"{name}.py").write_text("raise RuntimeError('a user's own')\n")
    labels_all(run(catalog, tmp_path / "tables", cwd=mine), tmp_path / "tables", N_TRACKS, N_BROKEN)


@pytest.mark.parametrize("library", [WRONG_BUILD, pytest.param(BROKEN_LIBRARY, marks=pytest.mark.thorough)])
def test_a_node_that_cannot_decode_costs_no_track(
    nodes: Any, catalog: Path, tmp_path: Path, library: str
) -> None:
    """One node of a wrong build, or with a full disk, must not condemn what it was given: others can."""
    add_node(nodes, python_path=with_soxr(tmp_path / "wrong", library))
    add_node(nodes)
    done = run(catalog, tmp_path / "tables", "--address", nodes.address)
    labels_all(done, tmp_path / "tables", N_TRACKS, N_BROKEN)


@pytest.mark.parametrize("n_good", [0, pytest.param(2, marks=pytest.mark.thorough)])
def test_a_node_whose_network_returns_nan_costs_no_track(nodes: Any, tmp_path: Path, n_good: int) -> None:
    """Fails: a broken GPU condemns, for good, each track that it was given."""
    write_demo_catalog(tmp_path / "catalog", n_tracks=60, duration_s=6)
    add_node(nodes, python_path=with_nan_model(tmp_path / "nan", n_good))
    add_node(nodes)
    done = run(tmp_path / "catalog", tmp_path / "tables", "--address", nodes.address, "--actors", 2)
    labels_all(done, tmp_path / "tables", 60, N_BROKEN)


def test_a_node_that_cannot_see_the_catalog_costs_no_track(nodes: Any, tmp_path: Path) -> None:
    """Fails: a node without the mount fails in milliseconds, and so draws most of a backfill to itself."""
    write_demo_catalog(tmp_path / "catalog", n_tracks=60, duration_s=6)
    add_node(nodes, python_path=without_mount(tmp_path / "bare", tmp_path / "catalog"))
    add_node(nodes)
    done = run(tmp_path / "catalog", tmp_path / "tables", "--address", nodes.address)
    labels_all(done, tmp_path / "tables", 60, N_BROKEN)
    assert (
        "tracks that failed there pass on another node"
        in (tmp_path / "tables")
        .joinpath("_runs", f"{read_reports(Tables(str(tmp_path / 'tables')), last=1)[0].run}.log.jsonl")
        .read_text()
    )


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("library", "words"), [(WRONG_BUILD, "SIGILL"), (BROKEN_LIBRARY, "no room left in the cache")]
)
def test_where_no_node_can_decode_the_run_fails(
    catalog: Path, tmp_path: Path, library: str, words: str
) -> None:
    """A broken installation fails for every track: none of them may be remembered as bad."""
    wrong = with_soxr(tmp_path / "wrong", library)
    done = run(catalog, tmp_path / "tables", env=os.environ | {"PYTHONPATH": str(wrong)})
    said = failed_as_a_run(done, tmp_path / "tables")
    assert "no track is to blame" in said
    assert words in said


@pytest.mark.thorough
def test_workers_that_a_track_has_spoiled_cost_nothing(catalog: Path, tmp_path: Path) -> None:
    """A file that uses up what its worker has, not the machine, must not end the run every night."""
    spoiled = with_soxr(tmp_path / "spoiled", SPOILED_WORKERS)
    environment = os.environ | {"PYTHONPATH": str(spoiled)}
    done = run(catalog, tmp_path / "tables", "--cpus", 1, env=environment)
    labels_all(done, tmp_path / "tables", N_TRACKS, N_BROKEN)


def crashing_album(folder: Path, n_tracks: int) -> list[str]:
    """Write an album of which each track decodes long enough to be ended."""
    folder.mkdir(parents=True)
    first = folder / "00.flac"
    first.write_bytes(endless_flac())
    for number in range(1, n_tracks):
        os.link(first, folder / f"{number:02}.flac")
    return sorted(str(path) for path in folder.iterdir())


@pytest.mark.thorough
def test_an_album_that_crashes_its_decoder_costs_its_rows(catalog: Path, tmp_path: Path) -> None:
    """26 files of one broken encoder must not end the run, night after night."""
    folder = tmp_path / "catalog"
    album = crashing_album(folder / "album", 26)
    for path in catalog.rglob("*.*"):
        if path.is_file():
            (folder / path.relative_to(catalog)).parent.mkdir(parents=True, exist_ok=True)
            os.link(path, folder / path.relative_to(catalog))
    with CatalogWatch(folder, album):
        labels_all(
            run(folder, tmp_path / "tables", "--max-failure-rate", 1),
            tmp_path / "tables", N_TRACKS, N_BROKEN + len(album),
        )  # fmt: skip
    failures = read_table(tmp_path / "tables", "failures").set_index("uri")
    assert set(failures.loc[album, "error_type"]) == {"DecoderCrashedError"}


@pytest.mark.thorough
def test_a_catalog_of_nothing_but_crashing_tracks_is_decided(tmp_path: Path) -> None:
    """Where no other track shows that the machine is in order, known-good sounds do."""
    album = crashing_album(tmp_path / "catalog", 3)
    with CatalogWatch(tmp_path / "catalog", album) as watch:
        done = run(tmp_path / "catalog", tmp_path / "tables", "--max-failure-rate", 1)
        labels_all(done, tmp_path / "tables", 0, 3)
        assert watch.crashes >= 2 * len(album), "one process alone has judged"
        again = run(tmp_path / "catalog", tmp_path / "tables", "--max-failure-rate", 1)
    assert again.stdout.startswith("nothing to do"), again.stdout
