"""Publishing: one row for each labeled track, in what other tools read, and never twice or half."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

import earmark
from jobs.cli.summaries.publish import print_publication
from jobs.publish import publish_job
from jobs.purge import purge_job
from jobs.run.publishing import publish_after_run
from jobs.run.request import make_job
from pipeline.publish import delta, parquet
from pipeline.publish.current_rows import CurrentRows
from pipeline.publish.destination import Format
from pipeline.shards.rows import track_rows
from pipeline.tables.current import current_tracks
from pipeline.tables.maintenance.purge.selection import PurgeRequest
from pipeline.tables.runs import read_reports
from schemas.config import RunConfig
from schemas.errors import EarmarkError, MisuseError, StoreError
from schemas.published import published_schema
from schemas.report import Publication
from schemas.tables import TRACKS
from tests.matrix import each_value_once
from tests.slow_joins import read_whole
from tests.table_history import MODEL, TableHistory, refs, tracks, uri

pytestmark = pytest.mark.slow

FORMATS: tuple[Format, ...] = ("delta", "parquet")
OTHER = "other-89abcdef"


@pytest.fixture
def history(tmp_path: Path) -> TableHistory:
    """Twenty labeled tracks in five parts, and one that failed."""
    history = TableHistory(tmp_path / "tables")
    history.run(tracks(20), failing={"broken": "1"})
    return history


@pytest.fixture(params=FORMATS)
def form(request: pytest.FixtureRequest) -> Format:
    form: Format = request.param
    return form


def publish(
    history: TableHistory, form: Format, *, model: str | None = None, embeddings: bool | None = None
) -> Publication:
    destination = destination_of(history, form)
    return publish_job(history.tables.root, destination, form, model, embeddings=embeddings)


def destination_of(history: TableHistory, form: Format) -> str:
    return f"{history.tables.root}-published-{form}"


def read(location: str, form: Format) -> list[dict[str, Any]]:
    """The published rows in order of their ids, as Arrow reads them."""
    if form == "delta":
        rows = pa.table(DeltaTable(location).scan())
    else:
        rows = pq.read_table(f"{location}/{parquet.FILE}")
    return in_order(rows)


def in_order(rows: pa.Table) -> list[dict[str, Any]]:
    return sorted(rows.to_pylist(), key=lambda row: row["track_id"])


def expected(history: TableHistory, model: str = MODEL) -> list[dict[str, Any]]:
    """What the documented commands say of each labeled track, joined by hand."""
    opened = earmark.open_tables(history.tables.root)
    facts = {row["track_id"]: row for row in opened.tracks().to_pylist()}
    seen: dict[str, Any] = {}
    for row in read_whole(history.tables, "tracks").to_pylist():
        seen[row["track_id"]] = min(row["listed_at"], seen.get(row["track_id"], row["listed_at"]))
    labels = sorted(opened.labels(model).to_pylist(), key=lambda row: row["track_id"])
    names = published_schema(embeddings=False).names
    rows = [label | facts[label["track_id"]] | {"first_seen": seen[label["track_id"]]} for label in labels]
    return [{name: row[name] for name in names} for row in rows]


def test_the_rows_are_those_of_the_labels(history: TableHistory, form: Format) -> None:
    """A dashboard shows another genre than the command line does."""
    done = publish(history, form)
    assert (done.rows, done.changed, done.removed, done.written) == (20, 20, 0, True)
    assert read(done.location, form) == expected(history)


def test_tags_and_columns_of_the_manifest_are_published(history: TableHistory, form: Format) -> None:
    """An analyst has genres, and no artist, year or id of their own to group them by."""
    history.now += pd.Timedelta(days=1)
    row = track_rows(refs([("t0003", "1")]), {}, history.now).to_pylist()[0]
    row |= {"artist": "Ä", "title": "x'y", "year": 1999, "carried": [("isrc", "DE1"), ("label", "")]}
    history.write("tracks", "listing", pa.Table.from_pylist([row], TRACKS), run="20260109T030000-0000")
    rows = read(publish(history, form).location, form)
    found = next(each for each in rows if each["track_id"] == "t0003")
    assert {name: found[name] for name in ("artist", "title", "year", "carried")} == {
        name: row[name] for name in ("artist", "title", "year", "carried")
    }
    assert found["first_seen"] < found["listed_at"]


def readers(location: str, form: Format) -> Iterator[tuple[str, pd.DataFrame]]:
    """The published table as other tools read it."""
    if form == "delta":
        table = DeltaTable(location)
        files = table.file_uris()
        yield "polars", pl.read_delta(location).to_pandas()
        yield "pandas", table.to_pandas()
        yield "duckdb", duckdb.from_arrow(table.to_pyarrow_dataset()).df()
        yield "duckdb on its files", duckdb.read_parquet(files).df()
    else:
        yield "polars", pl.read_parquet(f"{location}/*.parquet").to_pandas()
        yield "pandas", pd.read_parquet(location)
        yield "duckdb", duckdb.read_parquet(f"{location}/*.parquet").df()


def test_other_tools_read_it(history: TableHistory, form: Format) -> None:
    """An analyst would need Earmark, or a window function, to read the labels."""
    publish(history, form)
    history.run({"t0001": "2", "new": "1"}, gone={"t0002": "1"}, unchanged=18)
    location = publish(history, form).location
    wanted = [(row["track_id"], row["genre"], row["etag"]) for row in expected(history)]
    for name, rows in readers(location, form):
        found = rows.sort_values("track_id")[["track_id", "genre", "etag"]].itertuples(index=False, name=None)
        assert list(found) == wanted, name


def test_what_did_not_change_is_not_published_again(history: TableHistory, form: Format) -> None:
    """Every night would write a version, and every reader of changes would see all rows change."""
    location = publish(history, form).location
    before = {path: path.stat().st_mtime_ns for path in Path(location).rglob("*")}
    again = publish(history, form)
    assert (again.written, again.rows, again.version) == (False, 20, None)
    history.run({}, unchanged=20)
    assert not publish(history, form).written
    assert {path: path.stat().st_mtime_ns for path in Path(location).rglob("*")} == before


def test_changed_new_gone_and_returned_tracks_follow(history: TableHistory, form: Format) -> None:
    """A deleted track stays in the charts, or a replaced one stands in them twice."""
    publish(history, form)
    history.run({"t0001": "2", "new": "1"}, gone={"t0002": "1", "t0003": "1"}, unchanged=17)
    done = publish(history, form)
    assert (done.rows, done.changed, done.removed) == (19, 2, 2)
    assert read(done.location, form) == expected(history)
    row = track_rows(refs([("t0002", "1")]), {}, history.now + pd.Timedelta(days=1))
    history.write("tracks", "listing", row, run="20260201T030000-0000")
    done = publish(history, form)
    assert (done.changed, done.removed) == (1, 0)
    assert read(done.location, form) == expected(history)


def test_a_moved_catalog_is_published_with_its_new_locations(history: TableHistory, form: Format) -> None:
    """A player would open files that are no longer there: labels keep the location they were made at."""
    publish(history, form)
    history.now += pd.Timedelta(days=1)
    rows = track_rows(refs([("t0005", "1")]), {}, history.now).to_pylist()
    moved = [row | {"uri": "/elsewhere/t0005.mp3"} for row in rows]
    history.write("tracks", "listing", pa.Table.from_pylist(moved, TRACKS), run="20260110T030000-0000")
    done = publish(history, form)
    assert (done.changed, done.removed) == (1, 0)
    assert {row["uri"] for row in read(done.location, form)} == {
        uri(name) for name in tracks(20) if name != "t0005"
    } | {"/elsewhere/t0005.mp3"}


def test_another_model_replaces_the_labels(history: TableHistory, form: Format) -> None:
    """Two models' labels in one table would count every track twice."""
    publish(history, form)
    history.run(tracks(12), model=OTHER)
    done = publish(history, form)
    assert (done.model, done.rows, done.changed, done.removed) == (OTHER, 12, 12, 8)
    assert read(done.location, form) == expected(history, OTHER)
    assert publish(history, form, model=MODEL).rows == 20
    assert read(done.location, form) == expected(history)


def test_compacted_tables_are_published_alike(
    history: TableHistory, form: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compaction moves every row: nothing would be found, or all of it would be published again."""
    from jobs.compact import compact_job
    from pipeline.publish import current_rows

    monkeypatch.setattr(current_rows, "_ROWS_AT_ONCE", 3)
    for number in range(3):
        history.run({f"t{number:04}": "2", f"new{number}": "1"}, unchanged=19, shard_tracks=1)
    location = publish(history, form).location
    assert read(location, form) == expected(history)
    compact_job(history.tables, older_than_days=0, target_mb=128, say=lambda _: None)
    assert not publish(history, form).written
    history.run(tracks(23, etag="3"), shard_tracks=5)
    publish(history, form)
    assert read(location, form) == expected(history)


def embed(history: TableHistory, run: str, versions: dict[str, str], scale: float = 1.0) -> None:
    vectors = {name: history.rng.normal(size=(3, 8)) * scale for name in versions}
    history.embed(f"{len(versions):06}", vectors, run=run, etags=versions)


def test_embeddings_are_the_means_that_similar_compares(history: TableHistory, form: Format) -> None:
    """A recommender would get the vector of the first thirty seconds, or of another track."""
    run = history.run({"new": "1"}, unchanged=20)
    embed(history, run, tracks(5, start=10))
    assert publish(history, form).rows == 21
    done = publish(history, form, embeddings=True)
    assert (done.changed, done.written) == (21, True)
    stored = read_whole(history.tables, "embeddings").to_pandas()
    means = stored.groupby("track_id")["vector"].apply(lambda each: pd.DataFrame(each.tolist()).mean())
    rows = {row["track_id"]: row for row in read(done.location, form)}
    assert {name for name, row in rows.items() if row["embedding"]} == set(tracks(5, start=10))
    for name in tracks(5, start=10):
        assert rows[name]["embedding"] == pytest.approx(means[name].to_numpy(), abs=2e-3)
        assert rows[name]["embedding_run"] == run
    embed(history, run, tracks(2))
    assert publish(history, form).changed == 2
    assert sum(row["embedding"] is not None for row in read(done.location, form)) == 7
    assert publish(history, form, embeddings=False).changed == 21
    assert "embedding" not in read(done.location, form)[0]


def test_silent_segments_do_not_shorten_the_mean_embedding(history: TableHistory, form: Format) -> None:
    """A recommender that compares lengths would set songs with a long pause apart from all others."""
    run = history.run({"new": "1"}, unchanged=20)
    vectors = {name: history.rng.normal(size=(3, 8)) for name in tracks(3)}
    vectors["t0000"][1:] = 0
    vectors["t0001"][:] = 0
    history.embed("000000", vectors, run=run, etags=tracks(3))
    rows = {row["track_id"]: row for row in read(publish(history, form, embeddings=True).location, form)}
    wanted = {"t0000": vectors["t0000"][0], "t0001": np.zeros(8), "t0002": vectors["t0002"].mean(axis=0)}
    for name, mean in wanted.items():
        assert rows[name]["embedding"] == pytest.approx(mean, abs=2e-3), name


def test_each_version_of_a_delta_table_says_what_it_was_made_from(history: TableHistory) -> None:
    """Nobody could tell which run a chart of last month was drawn from, or draw it again."""
    location = publish(history, "delta").location
    before = read(location, "delta")
    run = history.run({"t0001": "2"}, gone={"t0002": "1"}, unchanged=18)
    done = publish(history, "delta")
    table = DeltaTable(location)
    commit = table.history(1)[0]
    assert (commit["version"], commit["operation"]) == (done.version, "MERGE")
    assert (commit["earmark.run"], commit["earmark.model"]) == (run, MODEL)
    assert commit["earmark.tables"] == history.tables.root
    assert table.transaction_version(f"earmark {history.tables.root}") == int(run[:8] + run[9:15])
    assert in_order(pa.table(DeltaTable(location, version=1).scan())) == before
    comments = {field.name: field.metadata.get("comment", "") for field in table.schema().fields}
    assert comments["genre"].startswith("The most probable genre")


def interfere_once(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let something happen once, between the comparison of a publication and its first write."""
    compare = CurrentRows.compare
    first_time = threading.Event()

    def interfere(rows: CurrentRows, *arguments: Any) -> tuple[int, int]:
        found = compare(rows, *arguments)
        if not first_time.is_set():
            first_time.set()
            act()
        return found

    monkeypatch.setattr(CurrentRows, "compare", interfere)


def test_two_publications_at_once_do_not_double(
    history: TableHistory, form: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two crons that overlap would leave each new track in the table twice."""
    location = publish(history, form).location
    history.run({"new": "1"}, unchanged=20)
    interfere_once(monkeypatch, lambda: publish(history, form))
    with pytest.raises(EarmarkError, match="another program changed"):
        publish(history, form)
    assert read(location, form) == expected(history)
    assert not publish(history, form).written


@pytest.mark.parametrize(("form", "published_before"), each_value_once(FORMATS, [False, True]))
def test_a_publication_beside_the_end_of_a_run_is_read_again(
    history: TableHistory, form: Format, monkeypatch: pytest.MonkeyPatch, *, published_before: bool
) -> None:
    """A run merges its parts at its end; who publishes at that moment would be told that a store failed."""
    from jobs.compact import compact_job

    if published_before:
        publish(history, form)
    history.run({"new": "1"}, unchanged=20)
    merge = partial(compact_job, history.tables, older_than_days=0, target_mb=128, say=lambda _: None)
    interfere_once(monkeypatch, merge)
    published = publish(history, form)
    assert published.changed == (1 if published_before else published.rows)
    assert read(published.location, form) == expected(history)


def test_two_first_publications_at_once_leave_one_table(
    history: TableHistory, form: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first night of two schedulers would make a table of everything twice."""
    interfere_once(monkeypatch, lambda: publish(history, form))
    with pytest.raises(EarmarkError, match="publish again"):
        publish(history, form)
    assert read(destination_of(history, form), form) == expected(history)


_KILLED = """
import os, sys
from jobs.publish import publish_job
from jobs.purge import purge_job
from pipeline.publish import current_rows
gather = current_rows.CurrentRows._gather
left = [int(sys.argv[4])]
def die(*arguments):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), 9)
    return gather(*arguments)
current_rows._ROWS_AT_ONCE = 4
current_rows.CurrentRows._gather = die
publish_job(sys.argv[1], sys.argv[2], sys.argv[3], None, embeddings=None)
"""


@pytest.mark.parametrize(("form", "after", "again"), each_value_once(FORMATS, [0, 2], [False, True]))
def test_a_killed_publication_is_repeated(
    history: TableHistory, form: Format, after: int, again: bool
) -> None:
    """A reader would see half a catalog until somebody removed the folder by hand."""
    location, before = destination_of(history, form), None
    if again:
        publish(history, form)
        before = read(location, form)
        history.run({f"t{number:04}": "2" for number in range(9)}, gone={"t0019": "1"}, unchanged=10)
    command = [sys.executable, "-c", _KILLED, history.tables.root, location, form, str(after)]
    assert subprocess.run(command, check=False).returncode == -9
    if again:
        assert read(location, form) == before
    assert publish(history, form).written
    assert read(location, form) == expected(history)


def test_an_error_while_rows_are_read_is_said_as_it_is(
    history: TableHistory, form: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged part would be reported as a fault of the published table, in the words of a library."""
    damaged = EarmarkError("a part cannot be read")

    def fail(*_: object) -> None:
        raise damaged

    monkeypatch.setattr(CurrentRows, "_gather", fail)
    with pytest.raises(EarmarkError) as raised:
        publish(history, form)
    assert raised.value is damaged
    monkeypatch.undo()
    assert publish(history, form).written


def test_what_is_not_ours_is_left_alone(history: TableHistory, form: Format, tmp_path: Path) -> None:
    """A wrong path would replace somebody else's table, or lay files among their documents."""
    root = history.tables.root

    def refuse(destination: Path | str, message: str) -> None:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(MisuseError, match=message):
            publish_job(root, str(destination), form, None, embeddings=None)
        assert sorted(tmp_path.rglob("*")) == before

    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "thesis.txt").write_text("years of work")
    refuse(documents, r"it holds thesis\.txt")
    theirs = tmp_path / "theirs"
    write_deltalake(theirs, pa.table({"a": [1]}))
    refuse(theirs, "a Delta table of another program|it holds")
    (tmp_path / "file").mkdir()
    pq.write_table(pa.table({"a": [1]}), tmp_path / "file" / parquet.FILE)
    refuse(tmp_path / "file", "was not published by Earmark|is no Delta table")
    (tmp_path / "file" / parquet.FILE).write_text("no Parquet")
    refuse(tmp_path / "file", "no Parquet file|is no Delta table")
    for inside in (root, f"{root}/labels", f"{root}/x/../published", tmp_path, "/music", "/music/x", "/"):
        refuse(inside, "overlaps the")
    (tmp_path / "link").symlink_to(root)
    refuse(tmp_path / "link" / "published", "overlaps the")
    other = TableHistory(tmp_path / "other")
    other.now += timedelta(days=1)  # its run has another name
    other.run(tracks(2))
    publish(history, form)
    with pytest.raises(MisuseError, match="other tables of Earmark are published there"):
        publish_job(other.tables.root, destination_of(history, form), form, None, embeddings=None)
    wrong: Format = "parquet" if form == "delta" else "delta"
    with pytest.raises(MisuseError, match="it holds"):
        publish_job(root, destination_of(history, form), wrong, None, embeddings=None)


def test_the_change_data_feed_leads_to_the_published_rows(history: TableHistory) -> None:
    """A warehouse that follows the feed would drift away from the table, and nobody would see."""
    location = publish(history, "delta").location
    copy = {row["track_id"]: row for row in read(location, "delta")}
    DeltaTable(location).alter.set_table_properties({"delta.enableChangeDataFeed": "true"})
    first = DeltaTable(location).version() + 1
    history.run({"t0001": "2", "new": "1"}, gone={"t0002": "1"}, unchanged=18)
    publish(history, "delta")
    history.run({"t0002": "1"}, unchanged=20)
    embedded = history.run(tracks(15, etag="3"), unchanged=6)
    history.embed("e", {"new": np.ones((3, 4))}, run=embedded)
    publish(history, "delta", embeddings=True)
    changes = pl.DataFrame(DeltaTable(location).load_cdf(starting_version=first))
    deleted = pl.col("_change_type") == "delete"
    rows = changes.sort("_commit_version", ~deleted).drop("_commit_timestamp").to_arrow()
    kinds = set()
    for row in rows.to_pylist():
        version, kind = row.pop("_commit_version"), row.pop("_change_type")
        kinds.add((version - first, kind))
        if kind == "delete":
            del copy[row["track_id"]]
        elif kind != "update_preimage":
            copy[row["track_id"]] = row
    everything = {"insert", "delete", "update_preimage", "update_postimage"}
    assert kinds == {(0, kind) for kind in everything} | {(1, "delete"), (1, "insert")}
    assert sorted(copy.values(), key=lambda row: row["track_id"]) == read(location, "delta")


def test_rows_that_another_program_added_go(history: TableHistory) -> None:
    """Whoever appends an export of the table to it would count tracks twice forever, and with no word."""
    location = publish(history, "delta").location
    rows = pa.table(DeltaTable(location).scan())
    nameless = rows.slice(0, 1).set_column(0, "track_id", pa.nulls(1, pa.string()))
    for added in (rows.slice(0, 5), nameless):
        write_deltalake(location, added, mode="append")
        done = publish(history, "delta")
        assert (done.written, publish(history, "delta").written) == (True, False)
        assert read(location, "delta") == expected(history)


def test_a_table_that_refuses_changes_says_so(history: TableHistory) -> None:
    """Who is told to publish again would do so night after night, in vain."""
    location = publish(history, "delta").location
    DeltaTable(location).alter.set_table_properties({"delta.appendOnly": "true"})
    history.run({"t0001": "2"}, unchanged=19)
    with pytest.raises(StoreError, match="append-only"):
        publish(history, "delta")


def test_tables_that_were_moved_go_on_with_what_they_published(
    history: TableHistory, form: Format, tmp_path: Path
) -> None:
    """A move to another bucket would cost the table's versions, and every dashboard its address."""
    publish(history, form)
    destination = destination_of(history, form)
    if form == "delta":  # a commit that names no run
        DeltaTable(destination).optimize.compact()
    moved = history.copy(tmp_path / "moved")
    shutil.rmtree(history.tables.root)
    moved.run(tracks(2, start=30), unchanged=20)
    for written in (True, False):
        done = publish_job(moved.tables.root, destination, form, None, embeddings=None)
        assert done.written == written
    assert (done.rows, read(destination, form)) == (22, expected(moved))


def test_a_folder_with_an_unusual_name_works(history: TableHistory, form: Format, tmp_path: Path) -> None:
    """A space, a hash or a percent sign in a path would publish to a folder that nobody named."""
    name = "a b#c%41 ü" if form == "parquet" else "a b#c ü"
    destination = tmp_path / name / "published"
    publish_job(history.tables.root, str(destination), form, None, embeddings=None)
    assert read(str(destination), form) == expected(history)
    assert not publish_job(history.tables.root, str(destination), form, None, embeddings=None).written
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("a")] == [name]
    if form == "delta":
        with pytest.raises(MisuseError, match="take % in a path"):
            publish_job(history.tables.root, str(tmp_path / "a%41"), form, None, embeddings=None)


@pytest.mark.parametrize("path", ["a//b", "/a", "./a", "a/..", "a/../b", "a?b", "a#b", "a%41"])
def test_a_prefix_that_readers_take_for_another_is_refused(history: TableHistory, path: str) -> None:
    """The table would be created at another prefix, perhaps somebody's, and could never be written to."""
    with pytest.raises(MisuseError, match="in a path for something else"):
        delta.DeltaDestination(f"s3://bucket/{path}", history.tables)


def test_no_tracks_are_left_when_all_have_gone(history: TableHistory, form: Format) -> None:
    """An empty catalog would keep its last labels for ever, or end in an error of Parquet."""
    publish(history, form)
    history.run({}, gone=tracks(20))
    done = publish(history, form, model=MODEL)
    assert (done.rows, done.removed) == (0, 20)
    assert read(done.location, form) == []
    assert not publish(history, form).written


def test_nothing_stays_published_of_tracks_that_were_all_purged(history: TableHistory, form: Format) -> None:
    """A deleted artist's labels would stay in the lake for ever: `publish` would say that there are none."""
    location = publish(history, form).location
    purge_job(history.tables, PurgeRequest(track_ids=frozenset(tracks(20))), delete=True, say=print)
    with pytest.raises(EarmarkError, match=f"remove 20 rows and leave 0; .* --model {MODEL}'"):
        publish(history, form)
    history.run({}, failing={"broken": "2"}, model=OTHER)
    with pytest.raises(MisuseError, match=f"no labels of {OTHER}"):  # nor are the published ones of it
        publish(history, form, model=OTHER)
    assert len(read(location, form)) == 20
    done = publish(history, form, model=MODEL)
    assert (done.rows, done.removed) == (0, 20)
    assert read(location, form) == []
    assert not publish(history, form, model=MODEL).written


def test_a_delta_table_that_is_made_again_names_no_purged_track(history: TableHistory) -> None:
    """The log keeps the first id, artist and title of each file, however old versions are removed: what the
    purge says to do must leave none."""
    folder = Path(publish(history, "delta").location)

    def names_it() -> bool:
        return any(b"t0000" in path.read_bytes() for path in folder.rglob("*") if path.is_file())

    purge_job(history.tables, PurgeRequest(track_ids=frozenset(["t0000"])), delete=True, say=print)
    publish(history, "delta")
    table = DeltaTable(folder)
    table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    assert names_it()
    shutil.rmtree(folder)
    assert publish(history, "delta").rows == 19
    assert not names_it()


def test_most_rows_go_only_if_the_model_is_named(history: TableHistory, form: Format) -> None:
    """A trial of another model on a few tracks is the latest labeling: it would empty what others read."""
    before = publish(history, form)
    history.model("trial-0123456789")
    history.run(tracks(5), model="trial-0123456789")
    with pytest.raises(EarmarkError, match=r"remove 15 rows and leave 5; .* --model trial-0123456789"):
        publish(history, form)
    with pytest.raises(EarmarkError, match="remove 15 rows and leave 5"):
        publish(history, form, embeddings=True)
    assert len(read(before.location, form)) == 20
    done = publish(history, form, model="trial-0123456789", embeddings=True)
    assert (done.rows, done.changed, done.removed) == (5, 5, 15)


def test_a_run_in_which_too_many_tracks_failed_publishes_nothing(history: TableHistory) -> None:
    """If the disk of half a catalog is not mounted, readers are better off with yesterday's labels."""
    destination = destination_of(history, "parquet")
    job = make_job(
        "label", None, history.tables.root, RunConfig(publish=destination, publish_format="parquet")
    )
    report = read_reports(history.tables, last=1)[0].model_copy(update={"model": MODEL})
    counts = report.counts.model_copy(update={"listed": 20, "failed": 11})
    failing = publish_after_run(job, report.model_copy(update={"counts": counts}))
    assert failing.publication is not None
    assert failing.publication.error == "11 of 20 tracks have failed"
    assert not Path(destination).exists()
    assert publish_after_run(job, report).publication_error is None


def test_a_published_file_keeps_its_place_and_its_permissions(history: TableHistory, tmp_path: Path) -> None:
    """The group that was allowed to read the labels could not the next morning, nor those who linked them."""
    published = Path(publish(history, "parquet").location, parquet.FILE)
    elsewhere = published.rename(tmp_path / "other-disk.parquet")
    elsewhere.chmod(0o640)
    published.symlink_to(elsewhere)
    history.run({"t0001": "2"}, unchanged=19)
    assert publish(history, "parquet").written
    assert (published.readlink(), elsewhere.stat().st_mode & 0o777) == (elsewhere, 0o640)
    assert in_order(pq.read_table(elsewhere)) == expected(history)


def test_a_reader_sees_one_whole_file_at_any_time(
    history: TableHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query that runs while the file is replaced would count tracks twice or not at all."""
    location = publish(history, "parquet").location
    history.run({"new": "1"}, unchanged=20)
    seen = []
    write = parquet._write

    def watch(path: Path, *arguments: Any) -> None:
        write(path, *arguments)
        seen.append(len(duckdb.read_parquet(f"{location}/*.parquet")))
        seen.append(len(pd.read_parquet(location)))

    monkeypatch.setattr(parquet, "_write", watch)
    publish(history, "parquet")
    assert seen == [20, 20]
    assert [path.name for path in Path(location).iterdir()] == [parquet.FILE]
    assert len(read(location, "parquet")) == 21


def test_without_deltalake_the_command_to_install_it_is_said(
    history: TableHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user of the plain package would get a traceback about a module."""
    monkeypatch.setitem(sys.modules, "deltalake", None)
    with pytest.raises(MisuseError, match=r"pip install deltalake'"):
        publish(history, "delta")
    monkeypatch.undo()
    assert publish(history, "parquet").written


def test_a_damaged_delta_log_is_named(history: TableHistory) -> None:
    """The reader is told of an internal error, and not which table is broken."""
    location = publish(history, "delta").location
    for file in (Path(location) / "_delta_log").glob("*.json"):
        file.write_text("{")
    with pytest.raises(StoreError, match=f"cannot read the Delta table {location}"):
        publish(history, "delta")


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        ("No space (os error 28)", "the disk is full (No space left on device); free some space"),
        ("Read-only file system (os error 30)", "Generic error: Read-only file system (os error 30)"),
    ],
)
def test_the_cause_of_a_failed_write_is_said(
    history: TableHistory, monkeypatch: pytest.MonkeyPatch, cause: str, said: str
) -> None:
    """On a full disk, all that was said is "Generic LocalFileSystem error"."""

    def fail(*_: object, **__: object) -> None:
        arrow = "\x1b[31m\u21b3\x1b[0m"
        raise OSError(f"Generic error\n    {arrow} Unable to copy\n     {arrow} {cause}\n  2: clone3\n")

    monkeypatch.setattr("deltalake.write_deltalake", fail)
    with pytest.raises(StoreError) as failed:
        publish(history, "delta")
    assert str(failed.value).partition(": ")[2] == said


def test_only_listed_tracks_are_published(history: TableHistory, form: Format) -> None:
    """Labels of files that failed in their new version would be those of the old one."""
    publish(history, form)
    history.run({}, failing={"t0004": "2"}, unchanged=20)
    done = publish(history, form)
    assert (done.rows, done.removed) == (19, 1)
    listed = set(current_tracks(history.tables)["track_id"].to_pylist())
    assert {row["track_id"] for row in read(done.location, form)} == listed - {"t0004", "broken"}


def test_one_row_is_said_in_the_singular(capsys: pytest.CaptureFixture[str]) -> None:
    """A message that says "1 rows are" looks like one that nobody has read."""
    done = Publication(location="/lake", format="parquet", model=MODEL, rows=1, changed=1, written=True)
    for each in (done, done.model_copy(update={"written": False})):
        print_publication(each)
    assert capsys.readouterr().out.splitlines() == [
        "1 row published to /lake: 1 new or changed, 0 removed",
        "nothing to publish: 1 row in /lake is up to date",
    ]


def test_the_delta_table_is_known_by_its_name(history: TableHistory) -> None:
    """Whoever lists a lake's tables finds which one is Earmark's."""
    metadata = DeltaTable(publish(history, "delta").location).metadata()
    assert metadata.name == delta.NAME
    assert "Earmark" in (metadata.description or "")
