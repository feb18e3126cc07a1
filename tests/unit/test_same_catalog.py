"""Tables recognize their catalog in other spellings."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.run.request import list_job, make_job
from pipeline.catalogs.catalog import is_same
from pipeline.tables.runs import write_report
from pipeline.tables.tables import Tables
from schemas.config import RunConfig
from schemas.errors import EarmarkError, MisuseError
from schemas.report import Counts, RunReport


def tables_of(catalog: str, tables: Path) -> str:
    report = RunReport(
        run="20250101T000000-0000", command="run", catalog=catalog, outcome="done",
        started_at=datetime.now(UTC), counts=Counts(listed=1, labeled=1), feature_set="x",
    )  # fmt: skip
    write_report(Tables(str(tables)), report)
    return str(tables)


@pytest.fixture
def music(tmp_path: Path) -> Path:
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "a.mp3").touch()
    (tmp_path / "link").symlink_to(tmp_path / "music")
    return tmp_path / "music"


@pytest.mark.parametrize("recorded", ["music", "link", "x/../music"])
@pytest.mark.parametrize("given", ["music/", "link", "music/../music", "file:music", "./link/."])
def test_the_same_catalog_is_recognized(
    music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: str, given: str
) -> None:
    """A link or a ".." made a night's run end with "holds the tables of …, not of …"."""
    (tmp_path / "x").mkdir()
    monkeypatch.chdir(tmp_path)
    tables = tables_of(f"{tmp_path}/{recorded}", tmp_path / "tables")
    given = given.replace("file:", f"file:{tmp_path}/")
    job = make_job("run", given, tables, RunConfig())
    assert job.catalog == f"{tmp_path}/{recorded}"
    assert list_job(job).tracks["uri"].to_pylist() == [f"{tmp_path}/{recorded}/a.mp3"]


@pytest.mark.parametrize(
    ("location", "other", "same"),
    [
        ("s3://b/x", "S3A://b/x/", True),
        ("gs://b/x", "gcs://b/x", True),
        ("az://b/x", "abfss://b/x", True),
        ("s3://b/x", "gs://b/x", False),
        ("s3://b/x", "s3://b//x", False),
        ("/b/x", "s3://b/x", False),
    ],
)
def test_protocols_of_the_same_store_are_equal(location: str, other: str, same: bool) -> None:
    """A catalog that was az:// yesterday and abfs:// today is the same, and its tables are continued."""
    assert is_same(location, other) is same


def test_another_catalog_is_refused(music: Path, tmp_path: Path) -> None:
    """With two catalogs in the same tables, tracks would be gone and back night after night."""
    tables = tables_of(str(music), tmp_path / "tables")
    (tmp_path / "music2").mkdir()
    with pytest.raises(MisuseError, match=r"holds the tables of .*/music, not of .*/music2"):
        make_job("run", str(tmp_path / "music2"), tables, RunConfig())
    moved = make_job("run", str(tmp_path / "music2"), tables, RunConfig(), moved=True)
    assert moved.catalog == str(tmp_path / "music2")


def test_new_tables_are_not_the_catalog_itself(music: Path, tmp_path: Path) -> None:
    """`earmark run MUSIC MUSIC` mixed the tables with the music; tables that were made so are continued."""
    with pytest.raises(MisuseError, match="is the catalog itself, where the tables would lie"):
        make_job("run", str(music), f"{music}/", RunConfig())
    assert make_job("run", str(music), tables_of(str(music), music), RunConfig()).catalog == str(music)


def test_an_empty_catalog_lists_its_other_files(tmp_path: Path) -> None:
    """A folder of covers is not an empty one."""
    (tmp_path / "covers").mkdir()
    (tmp_path / "covers" / "a.jpg").touch()
    job = make_job("run", str(tmp_path / "covers"), str(tmp_path / "tables"), RunConfig())
    with pytest.raises(
        EarmarkError, match=r"no audio files \(left out: 1 file without an audio extension \(jpg 1\)\)"
    ):
        list_job(job)


def test_a_manifest_whose_disk_is_not_mounted_is_refused(music: Path, tmp_path: Path) -> None:
    """Each of its tracks would be recorded as changed and failed, and its published label removed."""
    manifest = tmp_path / "list.csv"
    manifest.write_text("uri\nmusic/a.mp3\nmusic/b.mp3\n")
    job = make_job("run", str(manifest), str(tmp_path / "tables"), RunConfig())
    assert list_job(job).tracks.num_rows == 2, "one of them is missing, which is a failure of this track"
    music.rename(tmp_path / "unmounted")
    with pytest.raises(EarmarkError, match=r"none of the 2 tracks .*/list.csv .* is its disk mounted"):
        list_job(job)
