"""Estimates of real catalogs on a disk and on S3, compared with the run, and that they write nothing."""

import shutil
from pathlib import Path

import pytest

from jobs.estimate import estimate_run
from pipeline.demo.demo_catalog import write_demo_catalog
from pipeline.models.bundle import ModelBundle
from pipeline.storage import storage
from pipeline.tables.kept_models import keep_model
from pipeline.tables.objects import list_objects
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables
from schemas.config import RunConfig
from schemas.errors import EarmarkError, MisuseError
from tests.e2e.earmark import succeed

CONFIG = RunConfig(model="default")


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pieces of music and three broken files."""
    folder = tmp_path_factory.mktemp("music") / "catalog"
    write_demo_catalog(folder, n_tracks=6, duration_s=12)
    return folder


def _largest(folder: Path, n: int) -> list[Path]:
    """The largest files, none of which is broken."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(files, key=lambda path: path.stat().st_size)[-n:]


def _sizes(tables: str) -> dict[str, int]:
    """Bytes of each table."""
    found: dict[str, int] = {}
    for entry in list_objects(Tables(tables)).objects:
        table = entry.path.partition("/")[0]
        found[table] = found.get(table, 0) + entry.size
    return found


def _files(folder: Path) -> set[tuple[Path, int]]:
    return {(path, path.stat().st_mtime_ns) for path in folder.rglob("*")}


@pytest.mark.thorough
def test_broken_files_are_counted_and_nothing_is_written(music: Path, tmp_path: Path) -> None:
    """One broken file would end the estimate, or the catalog would not be as it was."""
    catalog = tmp_path / "catalog"
    shutil.copytree(music, catalog)
    before = _files(catalog)
    found = estimate_run(str(catalog), CONFIG, n_sample=50, cpus=(2, 64))
    assert _files(tmp_path) - {(catalog, catalog.stat().st_mtime_ns)} <= before
    assert found.failures == {"DecodeError": 1, "EmptyFileError": 1, "TooShortError": 1}
    assert found.estimate is not None
    assert (found.n_listed, found.n_to_featurize, found.left_out.total) == (9, 9, 1)
    assert sum(each.n_sampled for each in found.formats) == 9
    assert found.estimate.n_failed.value == 3
    assert found.estimate.storage_bytes["failures"].value > 0
    assert {"read", "decode", "featurize", "write", "label"} < set(found.estimate.cpu_s)
    assert found.estimate.cpu_s["decode"].value > 0
    assert not found.estimate.requests
    assert [each.cpus for each in found.estimate.run_times] == [2, 64]


@pytest.mark.thorough
def test_tracks_that_exceed_their_time_are_failures(music: Path, tmp_path: Path) -> None:
    """A file that ends a worker would end the estimate too."""
    for path in _largest(music, 2):
        shutil.copy(path, tmp_path)
    found = estimate_run(str(tmp_path), CONFIG.model_copy(update={"track_timeout_s": 1e-3}), n_sample=2)
    assert found.failures == {"TimedOutError": 2}
    assert found.estimate is not None
    assert found.estimate.cpu_s["decode"].value > 0


def test_catalogs_without_music_and_wrong_names_are_refused(tmp_path: Path) -> None:
    """A misspelled name would cost nothing."""
    (tmp_path / "notes.txt").write_text("no music")
    with pytest.raises(EarmarkError, match="contains no audio files"):
        estimate_run(str(tmp_path), CONFIG, n_sample=2)
    with pytest.raises(MisuseError, match="does not exist"):
        estimate_run(str(tmp_path / "missing"), CONFIG, n_sample=2)
    with pytest.raises(MisuseError, match="there is no model"):
        estimate_run(str(tmp_path), RunConfig(model="nothing"), n_sample=2)


def test_a_model_that_only_the_tables_keep_is_estimated(music: Path, tmp_path: Path) -> None:
    """Somebody whose trained model is gone from its folder can run it, but hears that there is none."""
    catalog = tmp_path / "catalog"
    catalog.mkdir()
    for path in _largest(music, 2):
        shutil.copy(path, catalog)
    shipped = ModelBundle.load("default")
    mine = ModelBundle(shipped.info.model_copy(update={"name": "mine"}), shipped.weights)
    tables = Tables(str(tmp_path / "tables"))
    keep_model(mine, tables.model_folder(mine.model), lambda: None)
    config = RunConfig(model=mine.model)
    found = estimate_run(str(catalog), config, n_sample=2, tables=tables.root)
    assert found.model == mine.model
    assert found.estimate is not None
    assert found.estimate.cpu_s["label"].value > 0


def _near(found: float, truth: float, within: float, constant: float = 0.0) -> bool:
    return abs(found - truth) <= within * truth + constant


@pytest.mark.s3
@pytest.mark.thorough
def test_an_estimate_of_a_bucket_is_what_the_run_then_takes(bucket: str, music: Path) -> None:
    """Whoever pays by the request and the gigabyte would get another bill, and every night would be priced as
    if nothing had been done."""
    for path in music.rglob("*.*"):
        storage.write_bytes(f"{bucket}/music/{path.name}", path.read_bytes())
    catalog, tables = f"{bucket}/music", f"{bucket}/tables"
    found = estimate_run(catalog, CONFIG, n_sample=9, cpus=(2,)).estimate
    assert found is not None
    succeed("run", catalog, tables, "--model", "default", "--cpus", 2)
    (report,) = read_reports(Tables(tables))
    # Renewals of the lease, every five seconds, depend on how busy this machine is.
    renewals = (report.wall_s - found.run_times[0].wall_s.value) / 5
    for kind in ("LIST", "GET", "PUT", "HEAD"):
        expected = found.requests[kind].value + (renewals if kind != "HEAD" else 0)
        assert _near(expected, report.requests[kind], 0.2, constant=6), kind
    assert found.received_bytes.value >= sum(each.stat().st_size for each in music.rglob("*.flac"))
    sizes = _sizes(tables)
    for table in ("tracks", "features", "labels", "failures"):
        # A part more or less: in which shards the broken files are, no sample tells.
        assert _near(found.storage_bytes[table].value, sizes[table], 0.1, constant=10_000), table
    assert _near(found.total_bytes.value, sum(sizes.values()), 0.05)
    again = estimate_run(catalog, CONFIG, n_sample=2, tables=tables)
    assert again.estimate is None
    assert (again.n_labeled, again.n_failed, again.n_to_featurize, again.n_to_label) == (6, 3, 0, 0)
    _check_stored_features(catalog, tables)


def _check_stored_features(catalog: str, tables: str) -> None:
    """Estimate embeddings, which the tables lack: they need no decoding."""
    before = _sizes(tables)
    found = estimate_run(catalog, CONFIG.model_copy(update={"embeddings": True}), tables=tables, n_sample=2)
    assert found.estimate is not None
    assert (found.n_to_featurize, found.n_to_label) == (0, 6)
    assert "decode" not in found.estimate.cpu_s
    assert found.estimate.storage_bytes["embeddings"].value > 0
    assert "labels" not in found.estimate.storage_bytes
    assert _sizes(tables) == before


@pytest.mark.thorough
def test_a_manifest_is_estimated_as_it_is_run(music: Path, tmp_path: Path) -> None:
    """Manifests, which large catalogs have, would be refused."""
    manifest = tmp_path / "catalog.csv"
    rows = [f"{path},{at}\n" for at, path in enumerate(_largest(music, 2))]
    manifest.write_text("uri,track_id\n" + "".join(rows))
    found = estimate_run(str(manifest), CONFIG, n_sample=2)
    assert found.n_listed == 2
    assert found.estimate is not None
    assert found.estimate.n_failed.value == 0
