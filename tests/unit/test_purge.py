"""The right to be forgotten: after `purge`, nothing in the tables tells of the tracks."""

import errno
import json
import multiprocessing
import os
import shutil
import signal
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from typer.testing import CliRunner

from jobs.cli.main import app
from jobs.purge import PurgeResult, purge_job
from jobs.read_tables import read_status
from jobs.vacuum import vacuum_job
from pipeline.catalogs.planning import Goal
from pipeline.pages.run_page_writer import rewrite_page
from pipeline.redaction import redact
from pipeline.storage import storage
from pipeline.tables.current import current_labels, current_tracks
from pipeline.tables.gather import gather
from pipeline.tables.index import update_index
from pipeline.tables.keys import open_keys
from pipeline.tables.maintenance.compact import replacement
from pipeline.tables.maintenance.compact.atomic_swap import swap
from pipeline.tables.maintenance.purge.mentions import Mentions
from pipeline.tables.maintenance.purge.selection import PurgeRequest
from pipeline.tables.maintenance.vacuum import VacuumOptions
from pipeline.tables.maintenance.verify.verification import verify
from pipeline.tables.runs import log_location, read_reports, write_report
from pipeline.tables.tables import Tables, encode_part
from schemas.errors import EarmarkError
from schemas.report import FailureExample, Publication, SlowTrack
from schemas.tables import LISTING, SEGMENT_LABELS, TRACKS, embeddings_schema
from tests.e2e.earmark import earmark
from tests.plans import plan_tables
from tests.slow_joins import read_whole
from tests.table_history import MODEL, SPEC, TableHistory, tracks, uri
from tests.traces import find_in_tables

pytestmark = pytest.mark.slow

RELEASES = Path(__file__).parent.parent / "releases"
FORGOTTEN = ("t0001", "t0003", "t0011", "t0020")
"""Labeled once, labeled in two versions and embedded, failed, and gone from the catalog."""
TEXTS = [*FORGOTTEN, *map(uri, FORGOTTEN)]
BY_ID = PurgeRequest(track_ids=frozenset(FORGOTTEN))


def test_a_reader_that_has_found_its_rows_fails_rather_than_takes_others(tmp_path: Path) -> None:
    """`earmark publish` beside a purge would give tracks the labels of others, and never correct them."""
    made = TableHistory(tmp_path / "tables")
    made.run(tracks(4))  # one part
    with open_keys(made.tables) as keys:
        keys.load("labels")
        places = keys.query("SELECT part, row FROM labels WHERE row < 3")
        purge_job(made.tables, PurgeRequest(track_ids=frozenset({"t0001"})), delete=True, say=print)
        with pytest.raises(EarmarkError, match="labels"):
            gather(keys.stored, "labels", places, ["track_id", "genre"])


def make_history(root: object) -> TableHistory:
    """Tables of two runs with all that a run leaves: every table, pages, logs, an index and leftovers."""
    made = TableHistory(root)
    made.model()
    first = made.run(tracks(10) | tracks(2, start=20), failing=tracks(2, start=10))
    last = made.run(tracks(4, etag="2"), unchanged=8, gone=tracks(2, start=20))
    ids = ["t0003", "t0004"]
    segments = {"track_id": ids, "etag": ["1", "1"], "segment": [0, 0], "start_s": [0.0, 0.0]}
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(8, np.float16)), 4)
    rows = pa.table(segments | {"vector": vectors}).cast(embeddings_schema(4))
    made.write("embeddings", "000000", rows, model=MODEL, run=first)
    named = segments | {
        "genre": ["jazz"] * 2,
        "confidence": [0.5] * 2,
        "run": [first] * 2,
        "is_music": [None] * 2,
    }
    made.write(
        "segment_labels",
        f"{first}-000000",
        pa.table(named).cast(SEGMENT_LABELS),
        model=MODEL,
        run_date="2026-01-02",
    )
    for report in read_reports(made.tables):
        examples = tuple(
            FailureExample(uri=uri(name), message=f"{uri(name)} is empty") for name in ("t0010", "t0011")
        )
        slowest = tuple(SlowTrack(uri=uri(name), seconds=9.0) for name in ("t0002", "t0003"))
        report = report.model_copy(
            update={
                "slowest": slowest,
                "failure_examples": {"DecodeError": examples},
                "failures": {"DecodeError": 2},
                "error": f"the part of {uri('t0001')} is damaged",
                "publication": Publication(
                    location="/published", format="delta", model=MODEL, error=f"{uri('t0003')}: no room"
                ),
            }
        )
        write_report(made.tables, report)
        rewrite_page(made.tables, report.run, None)
        lines = [{"message": "run begins"}, {"message": "track failed", "track": uri("t0011"), "error": "x"}]
        lines.append({"message": "work failed", "error": f"x: {uri('t0003')} timed out"})
        text = "".join(f"{json.dumps(line)}\n" for line in lines) + f'{{"cut off": "{uri("t0001")}'
        storage.write_bytes(log_location(made.tables, report.run), text.encode())
    storage.write_bytes(f"{made.tables.root}/labels/.tmp-1-x", f"half a part {uri('t0001')}".encode())
    update_index(made.tables, lambda: None)
    assert last != first
    return made


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> TableHistory:
    return make_history(tmp_path_factory.mktemp("original"))


@pytest.fixture
def history(original: TableHistory, tmp_path: Path) -> TableHistory:
    return original.copy(tmp_path / "tables")


def purge(tables: Tables, request: PurgeRequest = BY_ID, *, delete: bool = True) -> PurgeResult:
    return purge_job(tables, request, delete=delete, say=print)


def others(tables: Tables) -> dict[str, list[Any]]:
    """All rows of all tables, apart from those of the tracks to forget."""
    found = {}
    for table in ("tracks", "features", "labels", "segment_labels", "embeddings", "failures"):
        rows = read_whole(tables, table)
        kept = rows.filter(pc.invert(pc.is_in(rows["track_id"], pa.array(FORGOTTEN))))
        found[table] = sorted(kept.to_pylist(), key=repr)
    return found


def assert_clean(tables: Tables) -> None:
    assert find_in_tables(tables, *TEXTS) == []
    assert verify(tables, read_reports(tables), deep=True).findings == ()
    assert not Path(tables.root, "_purge").exists()


def test_nothing_is_left_and_nothing_else_is_touched(history: TableHistory) -> None:
    """An artist who asked to be forgotten is found in a log a year later; or others lose their labels."""
    tables = history.tables
    kept = others(tables)
    places = {path.partition("/")[0] for path in find_in_tables(tables, *TEXTS)}
    assert places == {*kept, "_runs", "_index"}, "the test has lost its traces"
    looked = purge(tables, delete=False)
    assert others(tables) == kept
    assert {path.partition("/")[0] for path in find_in_tables(tables, *TEXTS)} == places
    done = purge(tables)
    assert done == looked
    assert done.tracks == 4
    assert {each.place: each.removed for each in done.places} == {
        "tracks": 7, "features": 15, "labels": 5, "segment_labels": 1, "embeddings": 1, "failures": 1,
        "_runs (reports)": 8, "_runs (plans)": 6, "_runs (logs)": 6,
    }  # fmt: skip
    assert_clean(tables)
    assert others(tables) == kept
    status = read_status(tables, last=2)
    assert (status.n_tracks, status.models[0].labeled, status.models[0].failed) == (9, 8, 1)
    assert current_labels(tables, MODEL).num_rows == 8
    assert purge(tables).places == []


def test_a_later_vacuum_brings_nothing_back_and_a_later_run_sees_new_tracks(history: TableHistory) -> None:
    """What was removed stands in a file that was kept for a month."""
    tables = history.tables
    listing = current_tracks(tables, tuple(LISTING.names)).select(LISTING.names)
    purge(tables)
    vacuum_job(tables, VacuumOptions(0, rewrite=True), delete=True, say=print)
    assert_clean(tables)
    plan = plan_tables(listing, tables, Goal(SPEC, MODEL))
    assert sorted(plan.to_featurize["track_id"].to_pylist()) == ["t0001", "t0003", "t0011"]


def test_tracks_are_found_by_their_path_below_the_catalog(history: TableHistory) -> None:
    """`earmark similar` prints it; that of another track, which ends alike, is not meant."""
    (catalog,) = {report.catalog for report in read_reports(history.tables)}
    path = uri("t0003").removeprefix(f"{catalog}/")
    for unknown in ("t00", ".", "~nobody/a.mp3"):
        found = purge_job(history.tables, PurgeRequest(uris=frozenset([unknown])), delete=False, say=print)
        assert (found.places, found.unknown) == ([], (unknown,)), "what begins alike is not meant either"
    result = purge(history.tables, PurgeRequest(uris=frozenset([path, path[1:]])))
    assert (result.tracks, result.unknown) == (1, (path[1:],))
    assert find_in_tables(history.tables, "t0003", uri("t0003")) == []


def set_artists(tables: Tables, artists: dict[str, str]) -> None:
    """Write artist tags into the rows of some tracks; the others are by Another."""
    for part in sorted(Path(tables.folder("tracks")).rglob("*.parquet")):
        rows = pa.parquet.read_table(part, partitioning=None)
        tags = [artists.get(name, "Another") for name in rows["track_id"].to_pylist()]
        place = rows.schema.get_field_index("artist")
        part.write_bytes(encode_part(rows.set_column(place, rows.schema.field(place), pa.array(tags))))


@pytest.mark.parametrize("kind", ["uris", "artists", "both"])
def test_tracks_are_found_by_location_and_by_artist(history: TableHistory, kind: str) -> None:
    """Who asks to be forgotten knows neither ids nor paths, and a Mac may have written letters in parts."""
    tables = history.tables
    set_artists(tables, {"t0001": unicodedata.normalize("NFD", "Sigrún Þórs Tríó ")})
    request = PurgeRequest(
        uris=frozenset([uri("t0003"), "/no/such.mp3"] if kind != "artists" else []),
        artists=frozenset(["sigrún þórs tríó"] if kind != "uris" else []),
    )
    wanted = {"uris": ["t0003"], "artists": ["t0001"], "both": ["t0001", "t0003"]}[kind]
    result = purge(tables, request)
    assert result.tracks == len(wanted)
    assert result.unknown == (() if kind == "artists" else ("/no/such.mp3",))
    assert find_in_tables(tables, *wanted, *map(uri, wanted)) == []
    left = set(FORGOTTEN).difference(wanted)
    assert all(find_in_tables(tables, name) for name in left)
    assert verify(tables, read_reports(tables)).findings == ()


def test_an_artist_whom_only_the_manifest_names_is_found(history: TableHistory) -> None:
    """Files without tags: the request would be answered with "nothing to purge"."""
    tables = history.tables
    kind = TRACKS.field("carried").type
    for part in sorted(Path(tables.folder("tracks")).rglob("*.parquet")):
        rows = pa.parquet.read_table(part, partitioning=None)
        named = {"t0001": {"artist": "The Half Measures"}, "t0003": {"artist": "Guest", "label": "jazz"}}
        carried = [list(named.get(name, {}).items()) or None for name in rows["track_id"].to_pylist()]
        place = rows.schema.get_field_index("carried")
        part.write_bytes(
            encode_part(rows.set_column(place, rows.schema.field(place), pa.array(carried, kind)))
        )
    result = purge(tables, PurgeRequest(artists=frozenset(["the half measures"])))
    assert result.tracks == 1
    assert find_in_tables(tables, "t0001") == []
    assert find_in_tables(tables, "t0003")


def test_a_track_by_several_artists_is_found_by_each(history: TableHistory) -> None:
    """The artist who asked to be forgotten stays in the tables, as one of two."""
    tables = history.tables
    tags = {
        "t0000": "Guest;the half measures",
        "t0001": "The Half Measures; Guest",
        "t0003": "The Half Measures feat. Guest",
        "t0004": "Guest; Others & The Half Measures",
        "t0005": "The Half Measuresmen",
    }
    set_artists(tables, tags)
    request = PurgeRequest(artists=frozenset(["The Half Measures", ""]))
    looked = earmark("purge", tables.root, "--artist", "The Half Measures")
    for line in (
        "not purged: 2 tracks whose artist tag is longer; purge them by the whole tag, or --uri:",
        "      The Half Measures feat. Guest: 1",
        "2 tracks of these by several artists:",
        "      The Half Measures; Guest: 1",
    ):
        assert f"{line}\n" in looked.stdout
    result = purge(tables, request)
    assert result.tracks == 2
    assert result.shared == {tags[name]: {name} for name in ("t0000", "t0001")}
    assert result.not_meant == {tags[name]: {name} for name in ("t0003", "t0004")}
    assert find_in_tables(tables, "t0000", "t0001") == []
    rest = purge(tables, PurgeRequest(artists=frozenset(result.not_meant)))
    assert (rest.tracks, rest.not_meant) == (2, {})
    assert find_in_tables(tables, "t0003", "t0004") == []
    assert find_in_tables(tables, "t0005")
    assert verify(tables, read_reports(tables)).findings == ()


def _killed_at(root: str, step: int, with_log: bool) -> None:
    """Purge in this process until its `step`-th write or removal, then die as if by kill -9."""
    left = step

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            if "_lease" in str(arguments[0]):
                return function(*arguments, **options)
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    patch = pytest.MonkeyPatch()
    patch.setattr(storage, "delete", counting(storage.delete))
    patch.setattr(storage, "write_bytes", counting(storage.write_bytes))
    patch.setattr(replacement, "swap", counting((lambda first, second: False) if with_log else swap))
    purge(Tables(root))


@pytest.mark.parametrize("with_log", [False, pytest.param(True, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.thorough)])
def test_a_purge_that_is_killed_at_any_step_is_finished_by_the_next(
    original: TableHistory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_log: bool, every: int
) -> None:
    """The rows are gone and the log still names the artist, since nobody knows any more whom it was about."""
    from jobs.engine import lease_acquisition

    monkeypatch.setattr(lease_acquisition, "TTL_S", 0.1)
    monkeypatch.setattr(lease_acquisition, "_SETTLE_S", 0.0)
    kept = others(original.tables)
    # Not forked from this process, whose threads of DuckDB and Arrow would be missing in the child.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    for step in range(1, 300, every):
        root = tmp_path / f"step-{step}"
        shutil.copytree(original.tables.root, root)
        process = context.Process(target=_killed_at, args=(str(root), step, with_log))
        process.start()
        process.join()
        tables = Tables(str(root))
        purge(tables, PurgeRequest(track_ids=frozenset(["another"])) if step % 2 and step > 1 else BY_ID)
        assert_clean(tables)
        assert others(tables) == kept
        shutil.rmtree(root)
        if process.exitcode == 0:
            break
    assert process.exitcode == 0
    assert step > 20


def test_a_full_disk_gets_room_from_the_index(history: TableHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has no byte left can neither vacuum nor purge, since the lease has to be written first."""
    index = Path(history.tables.root, "_index")

    def when_there_is_room(write: Callable[..., Any]) -> Callable[..., Any]:
        def writing(*arguments: Any, **options: Any) -> Any:
            if list(index.glob("*/*.parquet")):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(*arguments, **options)

        return writing

    with monkeypatch.context() as patched:
        patched.setattr(storage, "create", when_there_is_room(storage.create))
        said: list[str] = []
        vacuum_job(history.tables, VacuumOptions(older_than_days=0), delete=True, say=said.append)
        assert "the index was removed to make room" in said[0]
    update_index(history.tables, lambda: None)
    place = "pipeline.tables.maintenance.purge.purge.replace_parts"
    monkeypatch.setattr(place, when_there_is_room(replacement.replace_parts))
    purge(history.tables)
    assert_clean(history.tables)


def test_a_purge_that_was_killed_is_seen(history: TableHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows that traces are left; or somebody takes the rows that are gone for lost ones."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.tables.maintenance.purge.purge.replace_parts", fail)
        with pytest.raises(RuntimeError):
            purge(history.tables)
    kinds = {finding.kind for finding in verify(history.tables, read_reports(history.tables)).findings}
    assert "killed purge" in kinds
    said: list[str] = []
    purge_job(history.tables, BY_ID, delete=False, say=said.append)
    assert "an earlier purge was killed" in said[0]
    history.run(tracks(1, start=1, etag="3"), unchanged=11)  # meanwhile, a night finds the track again
    purge(history.tables)
    assert_clean(history.tables)


def test_purges_add_up(history: TableHistory) -> None:
    """The second artist of a night who asks to be forgotten makes its report look as if rows were lost."""
    for name in FORGOTTEN:
        purge(history.tables, PurgeRequest(track_ids=frozenset([name])))
        assert verify(history.tables, read_reports(history.tables)).findings == ()
    assert_clean(history.tables)
    first, last = (report.purged for report in read_reports(history.tables))
    assert (first.labeled, first.failed, last.labeled) == (3, 1, 2)
    assert first.embedded == 0, "it labeled the track too, and counts it once"


def test_tables_of_the_first_release_are_purged(tmp_path: Path) -> None:
    """Who has used Earmark from the start cannot do what the law asks for."""
    shutil.copytree(RELEASES / "0.1.0" / "tables", tmp_path / "tables")
    tables = Tables(str(tmp_path / "tables"))
    row = next(row for row in read_whole(tables, "labels").to_pylist() if row["uri"].endswith("jazz/two.wav"))
    failed = read_whole(tables, "failures").to_pylist()[0]
    texts = [row["track_id"], row["uri"], failed["track_id"], failed["uri"]]
    assert find_in_tables(tables, *texts)
    request = PurgeRequest(frozenset([row["track_id"]]), frozenset([failed["uri"]]))
    assert purge(tables, request).tracks == 2
    assert find_in_tables(tables, *texts) == []
    assert verify(tables, read_reports(tables), deep=True).sound
    assert len(read_reports(tables)) == 2


def test_the_command_looks_first_and_says_what_it_cannot_reach(history: TableHistory, tmp_path: Path) -> None:
    """Somebody deletes by mistake, or promises an artist more than was done."""
    root = history.tables.root
    (tmp_path / "names.txt").write_text(f"t0001\n\n{uri('t0003')}\nnobody\n")
    looked = earmark("purge", root, "--from", tmp_path / "names.txt")
    assert looked.returncode == 0, looked.stderr
    assert "2 tracks" in looked.stdout
    assert "such as nobody" in looked.stdout
    assert "nothing was removed; add --delete" in looked.stdout
    assert find_in_tables(history.tables, "t0001")
    done = earmark("purge", root, "--from", tmp_path / "names.txt", "--delete")
    assert done.returncode == 0, done.stderr
    assert "delete a Delta table, whose log names tracks" in " ".join(done.stdout.split())
    assert find_in_tables(history.tables, "t0001", uri("t0003")) == []
    assert earmark("purge", root).returncode == 2


def test_a_file_of_names_that_cannot_be_read_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """Python's own words name the file twice, or quote its bytes."""
    (tmp_path / "names.txt").write_bytes("Sigur Rós".encode("latin-1"))
    for name, said in (("names.txt", "it is not text in UTF-8"), ("other.txt", "it does not exist")):
        done = CliRunner().invoke(app, ["purge", str(tmp_path), "--from", str(tmp_path / name)])
        assert str(done.exception) == f"cannot read {tmp_path / name}: {said}"


def test_locations_are_recognized_in_all_their_forms() -> None:
    """A store's error names the key without the protocol, or quoted, and a log without the password; the id 7
    is in no other number."""
    signed = "https://user:password@store/bucket/d.mp3?X-Amz-Signature=0123"
    uris = ["s3://bucket/Sigrún/a b.mp3", "s3://bucket/x/c.mp3", signed]
    mentions = Mentions(["7", "0123456789abcdef"], uris)
    for text in (
        f"cannot read {redact(signed)}: 503",
        "cannot read s3://bucket/Sigrún/a b.mp3: 503",
        "GET https://store/bucket/Sigr%C3%BAn/a%20b.mp3",
        {"error": ["…", "bucket/x/c.mp3 timed out"]},
        "id=0123456789abcdef.",
        {"track_id": "7"},
    ):
        assert mentions.is_in(text), text
    assert signed not in redact(signed), "the log does not hide it"
    for other in ("17 of 70 tracks", "s3://bucket/x/d.mp3", {"n": 7}, "bucket/x"):
        assert not mentions.is_in(other), other
