"""What analysts and collectors do with labels, by the installed command: trends, playlists, tags, SQL."""

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from pipeline.catalogs.catalog import list_catalog
from pipeline.catalogs.track_refs import from_table
from pipeline.models.bundle import ModelBundle
from pipeline.shards.rows import track_rows
from pipeline.storage import storage
from pipeline.tables.runs import write_report
from pipeline.tables.tables import Tables, encode_part
from schemas.genres import GTZAN_GENRES
from schemas.report import Counts, RunReport
from schemas.tables import labels_schema
from tests.e2e.earmark import ask, call, earmark, succeed
from tests.trend_tables import write_trend_tables
from tests.unit.test_tags import tagged

pytestmark = pytest.mark.usefixtures("on_running_ray")

N_TRACKS = 600


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of invented labels."""
    folder = tmp_path_factory.mktemp("handing on") / "tables"
    write_trend_tables(Tables(str(folder)), N_TRACKS, seed=2)
    return folder


def test_trends_are_printed(tables: Path) -> None:
    """An analyst would not see what rises, or what share a genre has."""
    printed = ask("trends", tables)
    assert f"{N_TRACKS} labeled tracks" in printed
    assert "rising and falling" in printed
    assert "agree with the file's genre tag" in printed
    assert [line.split()[0] for line in printed.splitlines() if line.startswith("20")][:2] == ["2000", "2001"]
    changes = ask("trends", tables, "--show", "changes")
    assert changes.startswith("rising and falling")
    assert "expected shares" not in changes
    assert ask("trends", tables, "--show", "tags").split()[:3] == ["tag", "genre", "tracks"]
    folders = ask("trends", tables, "--by", "folder", "--top", 2)
    assert "rising" not in folders
    assert sum(line.startswith("shelf ") for line in folders.splitlines()) == 2


def test_trends_are_written(tables: Path, tmp_path: Path) -> None:
    """A program would read other columns than the documentation names, or nothing."""
    ask("trends", tables, "--format", "csv", "--out", tmp_path / "shares.csv")
    shares = pd.read_csv(tmp_path / "shares.csv")
    columns = ["year", "tracks", "genre", "count", "expected", "expected_sd", "share", "low", "high"]
    assert list(shares.columns) == columns
    assert shares.groupby("year")["share"].sum().to_numpy() == pytest.approx(1, abs=1e-5)
    ask("trends", tables, "--show", "tags", "--format", "parquet", "--out", tmp_path / "tags.parquet")
    assert list(pd.read_parquet(tmp_path / "tags.parquet").columns) == ["tag", "genre", "tracks"]
    changes = json.loads(ask("trends", tables, "--show", "changes", "--format", "json"))
    assert {change["genre"] for change in changes} == set(GTZAN_GENRES)
    done = earmark("trends", tables, "--html", tmp_path / "page.html")
    assert (done.returncode, done.stdout) == (0, "")
    assert (tmp_path / "page.html").read_text("utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("trends", "--by", "nothing"), "no track has a column 'nothing'"),
        (("trends", "--by", "artist", "--show", "changes", "--format", "csv"), "changes need groups in time"),
        (("trends", "--model", "nothing"), "nothing"),
        (("trends", "--by", "artist", "--show", "changes"), "changes need groups in time"),
        (("trends", "--html", "same", "--out", "same"), "both name same"),
        (("report", "--list", "--out", "page.html"), "--list prints the runs"),
        (("labels", "--format", "m3u"), "name a folder"),
        (("labels", "--write-tags", "copies", "--format", "csv"), "cannot be combined with --write-tags"),
        (("labels", "--genre", "rok"), "has no genre 'rok' (it has blues"),
        (("labels", "--among", "jazz", "--among", "rok"), "has no genre 'rok' (it has blues"),
        (("labels", "--yes"), "add --write-tags DIR or --in-place"),
        (("labels", "--write-tags", "x", "--in-place"), "choose one"),
        (("ddl", "--dialect", "oracle"), "oracle"),
    ],
)
def test_misuse_is_one_sentence(tables: Path, arguments: tuple[str, ...], message: str) -> None:
    """A typing error would end in a traceback, or in something that was not asked for."""
    command, *options = arguments
    done = call(command, tables, *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_genres_are_chosen_among_those_named(tables: Path) -> None:
    """Who sells jazz and rock could not have each track called one of them."""
    labels = json.loads(ask("labels", tables, "--among", "Jazz", "--among", "rock", "--format", "json"))
    assert {label["genre"] for label in labels} == {"jazz", "rock"}
    assert len(labels) == N_TRACKS


def test_no_track_makes_no_playlist(tables: Path, tmp_path: Path) -> None:
    """An empty table would leave open whether playlists were written."""
    done = earmark("labels", tables, "--min-confidence", 1, "--format", "m3u", "--out", tmp_path / "lists")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no playlist was written" in done.stderr
    assert not (tmp_path / "lists").exists()


def test_one_table_is_printed_beside_the_page(tables: Path, tmp_path: Path) -> None:
    """`--show` would be taken, and nothing shown."""
    printed = ask("trends", tables, "--html", tmp_path / "page.html", "--show", "tags")
    assert printed.split()[:3] == ["tag", "genre", "tracks"]
    assert (tmp_path / "page.html").exists()


def _label(tables: Tables, catalog: Path) -> None:
    """Tables as a run of the shipped model leaves them that called every track jazz."""
    bundle = ModelBundle.load("gtzan")
    listing = list_catalog(str(catalog))
    now = pd.Timestamp.now(tz="UTC").to_pydatetime()
    tracks = track_rows(from_table(listing), {}, now)
    storage.write_bytes(tables.part("tracks", "p", run="20260101T000000-aaaa"), encode_part(tracks))
    rows = [
        {
            "track_id": row["track_id"], "uri": row["uri"], "etag": row["etag"], "genre": "jazz",
            "confidence": 0.9, "probabilities": [0.1] * 10, "top3": [], "n_segments": 1, "feature_set": "x",
            "labeled_at": now, "run": "x",
        }
        for row in listing.to_pylist()
    ]  # fmt: skip
    labels = pa.Table.from_pylist(rows, labels_schema(GTZAN_GENRES))
    part = tables.part("labels", "p", model=bundle.model, run_date="2026-01-01")
    storage.write_bytes(part, encode_part(labels))
    report = RunReport(
        run="20260101T000000-aaaa", command="run", catalog=str(catalog), outcome="done", started_at=now,
        counts=Counts(listed=len(rows), labeled=len(rows)), feature_set="x", model=bundle.model,
    )  # fmt: skip
    write_report(tables, report)


def test_tags_are_written_only_when_asked_for(tmp_path: Path) -> None:
    """A look at what would change would change a collection, or the next run surprise its owner."""
    catalog, folder = tmp_path / "catalog", tmp_path / "tables"
    for name in ("a.mp3", "b/c.flac"):
        (catalog / name).parent.mkdir(parents=True, exist_ok=True)
        (catalog / name).write_bytes(tagged(name.rpartition(".")[2]).getvalue())
    _label(Tables(str(folder)), catalog)
    before = {path: path.read_bytes() for path in catalog.rglob("*.*")}
    assert "2 to write" in succeed("labels", folder, "--write-tags", tmp_path / "copies")
    assert "2 to write" in succeed("labels", folder, "--in-place")
    assert not (tmp_path / "copies").exists()
    assert {path: path.read_bytes() for path in catalog.rglob("*.*")} == before

    assert "2 written" in succeed("labels", folder, "--write-tags", tmp_path / "copies", "--yes")
    assert sorted(path.name for path in (tmp_path / "copies").rglob("*.*")) == ["a.mp3", "c.flac"]
    assert {path: path.read_bytes() for path in catalog.rglob("*.*")} == before

    done = earmark("labels", folder, "--in-place", "--yes")
    assert done.returncode == 0
    assert "decodes and labels them again" in done.stderr
    assert "2 unchanged" in succeed("labels", folder, "--in-place", "--yes"), "the genres are there already"
    plan = succeed("run", catalog, folder, "--dry-run")
    assert [line.split()[0] for line in plan.splitlines() if "to featurize" in line] == ["2"]
    again = earmark("labels", folder, "--write-tags", tmp_path / "more", "--yes")
    assert again.returncode == 1
    assert "changed since it was labeled" in again.stdout
    assert "2 of 2 files could not be written\n" in again.stderr, "there are no others that are done"
