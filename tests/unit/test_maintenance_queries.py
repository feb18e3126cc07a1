"""The queries of ``earmark verify`` and ``earmark vacuum`` against the functions that they replaced."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.catalogs.track_refs import to_batch
from pipeline.shards.segment_rows import embedding_rows
from pipeline.tables.index import refresh_index
from pipeline.tables.keys import KEY_COLUMNS, open_keys
from pipeline.tables.maintenance.stale_parts import find_stale_parts
from pipeline.tables.maintenance.verify import inspection
from pipeline.tables.maintenance.verify import rows as verified_rows
from pipeline.tables.maintenance.verify.findings import EXAMPLES, Finding
from pipeline.tables.maintenance.verify.label_values import check_labels
from pipeline.tables.maintenance.verify.verification import verify
from pipeline.tables.objects import list_objects
from pipeline.tables.runs import read_reports, write_report
from pipeline.tables.tables import Tables
from schemas.errors import DecodeError, LabelError
from schemas.genres import GTZAN_GENRES
from schemas.tables import LISTING
from tests import slow_maintenance
from tests.matrix import each_value_once
from tests.table_history import MODEL, TableHistory, failed, refs, tracks

pytestmark = pytest.mark.slow

OTHER = "other-9876543210"
TABLES = ("tracks", "features", "labels", "embeddings", "failures")

versions = st.dictionaries(st.sampled_from("abcdefg"), st.sampled_from(["1", "2"]), max_size=6)
runs = st.fixed_dictionaries(
    {
        "good": versions,
        "bad": versions,
        "gone": st.sets(st.sampled_from("abcdefg"), max_size=2),
        "outcome": st.sampled_from(["done", "done", "done", "running", "failed", "interrupted"]),
        "model": st.sampled_from([MODEL, MODEL, OTHER]),
        "command": st.sampled_from(["run", "run", "run", "label", "featurize"]),
        "config": st.sampled_from([{}, {}, {"limit": 3}, {"embeddings": True}]),
        "error": st.sampled_from([DecodeError("no"), LabelError("nan")]),
        "miscounted": st.sampled_from([0, 0, 0, 1, -1]),
    }
)
faults = st.lists(
    st.tuples(
        st.sampled_from(["repeat a row", "remove a row", "remove a part", "rename a run", "rename a track"]),
        st.sampled_from(TABLES),
        st.integers(0, 1000),
    ),
    max_size=3,
)


def play(history: TableHistory, run: dict[str, Any]) -> None:
    """Write the tables of a run as the real one would: its rows, its plan and its report."""
    good, model = run["good"], run["model"]
    bad = {name: etag for name, etag in run["bad"].items() if name not in good}
    gone = {name: "1" for name in run["gone"] if name not in good and name not in bad}
    name = history.run(
        good, failing=bad, gone=gone, outcome=run["outcome"], model=model, shard_tracks=2, n_frames=1
    )
    if run["error"].stage == "label" and bad:
        for part in Path(history.tables.folder("failures", run=name)).iterdir():
            part.unlink()
        history.write(
            "failures", "0", failed(list(bad.items()), run["error"], model=model, at=history.now), run=name
        )
    if run["config"].get("embeddings") and good:
        embed(history, good, model, name)
    (report,) = [report for report in read_reports(history.tables) if report.run == name]
    if run["command"] == "featurize":
        for part in Path(history.tables.folder("labels")).rglob(f"{name}-*.parquet"):
            part.unlink()
    counts = report.counts.model_copy(update={"labeled": report.counts.labeled + run["miscounted"]})
    write_report(
        history.tables,
        report.model_copy(
            update={
                "command": run["command"],
                "config": run["config"],
                "counts": counts,
                "model": None if run["command"] == "featurize" else model,
            }
        ),
    )


def embed(history: TableHistory, embedded: dict[str, str], model: str, run: str, n_numbers: int = 3) -> None:
    segments = [
        {"track_id": name, "etag": etag, "segment": number, "start_s": 0.0, "n_frames": 1, "range_db": 80.0}
        for name, etag in embedded.items()
        for number in range(2)
    ]
    rows = embedding_rows(segments, np.ones((len(segments), n_numbers), np.float32))
    history.write("embeddings", "0", rows, model=model, run=run)


def spoil(tables: Tables, kind: str, table: str, at: int) -> None:
    """Do to one part what a crash, another program or a careless hand would."""
    parts = sorted(Path(tables.folder(table)).rglob("*.parquet"))
    if not parts:
        return
    part = parts[at % len(parts)]
    if kind == "remove a part":
        part.unlink()
        return
    file = pq.ParquetFile(part)
    rows, row = file.read(), at // len(parts) % max(1, file.metadata.num_rows)
    if kind == "repeat a row":
        rows = pa.concat_tables([rows, rows.slice(row, 1)])
    elif kind == "remove a row":
        rows = pa.concat_tables([rows.slice(0, row), rows.slice(row + 1)])
    elif rows.num_rows:
        column = "track_id" if kind == "rename a track" or table != "labels" else "run"
        values = rows[column].to_pylist()
        values[row : row + 1] = ["zzz"]
        field = rows.schema.field(column)
        rows = rows.set_column(rows.schema.get_field_index(column), field, pa.array(values, field.type))
    pq.write_table(rows, part)


def compare_stale_parts(history: TableHistory) -> None:
    stored = list_objects(history.tables)
    parts = [part for table in ("features", "embeddings") for part in stored.parts[table]]
    for days in (0, 2, 100):
        since = (history.now - timedelta(days=days)).timestamp()
        gone = slow_maintenance.read_gone_versions(stored, since)
        found = find_stale_parts(stored, parts, since)
        for table in ("features", "embeddings"):
            assert found[table] == slow_maintenance.find_stale_parts(stored, table, gone)


def listing(listed: dict[str, str]) -> pa.Table | None:
    return pa.Table.from_batches([to_batch(refs(list(listed.items())))], LISTING) if listed else None


def comparable(findings: list[Finding]) -> list[tuple[object, ...]]:
    """Findings with their examples sorted or, of more than there is room for, counted: any may be shown."""
    return sorted(
        (
            found.kind,
            found.table,
            found.message,
            found.count,
            found.fault,
            sorted(found.examples) if found.count <= EXAMPLES else len(found.examples),
        )
        for found in findings
    )


PLAIN = {
    "good": {"a": "1", "b": "1"},
    "bad": {"c": "1"},
    "gone": set(),
    "outcome": "done",
    "model": MODEL,
    "command": "run",
    "config": {"embeddings": True},
    "error": DecodeError("no"),
    "miscounted": 0,
}


@pytest.mark.slow
@given(st.lists(runs, min_size=1, max_size=5), faults, versions)
@example([PLAIN], [("remove a part", "embeddings", 0), ("rename a run", "labels", 0)], {})
@example([PLAIN], [("repeat a row", "embeddings", 0), ("rename a track", "embeddings", 0)], {})
@example([PLAIN], [("repeat a row", "failures", 0)], {})
@example([PLAIN | {"command": "featurize"}], [], {"a": "1", "c": "1", "d": "1"})
@example([PLAIN | {"good": {"a": "1"}, "bad": {}}], [("remove a row", "labels", 0)], {})
@settings(max_examples=10, deadline=None)
def test_any_history_gives_the_findings_that_the_slow_functions_give(
    happened: list[dict[str, Any]],
    spoiled: list[tuple[str, str, int]],
    listed: dict[str, str],
) -> None:
    """A lost label would go unnoticed, a sound night raise an alarm, or vacuum remove what is needed."""
    with TemporaryDirectory() as folder:
        history = TableHistory(folder)
        for model in (MODEL, OTHER):
            history.model(model)
        for run in happened:
            play(history, run)
        compare_stale_parts(history)
        for kind, table, at in spoiled:
            spoil(history.tables, kind, table, at)
        reports, now = read_reports(history.tables), listing(listed)
        accounts, findings = slow_maintenance.check_rows(history.tables, reports, now)
        found = verify(history.tables, reports, listing=now)
        assert list(found.accounts) == accounts
        others = {"killed run", "unknown run tables"}
        assert comparable(
            [f for f in found.findings if f.kind not in others and f"{f.kind} {f.table}" not in others]
        ) == comparable(findings)


def refresh(tables: Tables) -> None:
    with open_keys(tables) as keys:
        keys.load(*KEY_COLUMNS)
        refresh_index(keys, lambda: None)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> TableHistory:
    """Sound tables of two nights, each indexed, with rows in every table that has keys."""
    made = TableHistory(tmp_path_factory.mktemp("indexed"))
    made.model()
    for start in (0, 100):
        run = made.run(tracks(8, start=start), failing=tracks(2, start=start + 8), unchanged=start // 10)
        embed(made, tracks(8, start=start), MODEL, run)
        (report,) = read_reports(made.tables, last=1)
        write_report(made.tables, report.model_copy(update={"config": {"embeddings": True}}))
        refresh(made.tables)
    return made


@pytest.fixture
def history(indexed: TableHistory, tmp_path: Path) -> TableHistory:
    return indexed.copy(tmp_path / "tables")  # which keeps the times of the parts


def check(history: TableHistory) -> dict[str, tuple[int, bool]]:
    """Findings by kind: how many things each affects, and whether it is a fault."""
    found = verify(history.tables, read_reports(history.tables))
    assert not found.unchecked
    return {finding.kind: (finding.count, finding.fault) for finding in found.findings}


def key_files(history: TableHistory, table: str = "*") -> list[Path]:
    return sorted(Path(history.tables.root).glob(f"_index/{table}/*.parquet"))


def forge(file: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Replace a key file with one that is sound by itself."""
    sink = pa.BufferOutputStream()
    pq.write_table(change(pq.read_table(file)), sink)
    data = sink.getvalue().to_pybytes()
    file.unlink()
    file.with_name(f"{hashlib.sha256(data).hexdigest()[:32]}.parquet").write_bytes(data)


def test_a_sound_index_is_sound(history: TableHistory) -> None:
    """A false alarm would have people remove an index that takes half an hour to build."""
    assert {file.parent.name for file in key_files(history)} == set(KEY_COLUMNS)
    assert check(history) == {}


CHANGES: dict[str, Callable[[pa.Table], pa.Table]] = {
    "another version": lambda rows: rows.set_column(
        rows.schema.get_field_index("etag"), "etag", pa.array(["9", *rows["etag"].to_pylist()[1:]])
    ),
    "a row lacks": lambda rows: rows.slice(1),
    "a row twice": lambda rows: pa.concat_tables([rows, rows.slice(0, 1)]),
    "rows in another order": lambda rows: rows.set_column(
        rows.schema.get_field_index("row"), "row", pa.array(rows["row"].to_pylist()[::-1], pa.int32())
    ),
}


@pytest.mark.parametrize(("table", "change"), each_value_once(list(KEY_COLUMNS), list(CHANGES)))
def test_an_index_that_holds_other_keys_than_the_parts_is_a_fault(
    history: TableHistory, table: str, change: str
) -> None:
    """Every night would trust it, and label tracks twice or never; nothing else would notice."""
    forge(key_files(history, table)[0], CHANGES[change])
    found = check(history)
    count, fault = found.pop("wrong index")
    assert (count >= 1, fault) == (True, True)
    assert found == {}
    shutil.rmtree(Path(history.tables.root) / "_index")
    assert check(history) == {}


def test_key_files_that_nothing_reads_are_a_note(history: TableHistory) -> None:
    """They change only how long planning takes, so they must not look like a fault of the tables."""
    damaged = key_files(history, "labels")[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    for part in Path(history.tables.folder("features")).rglob("*.parquet"):
        os.utime(part, (0, 0))  # which makes it another version
    n_ignored = 1 + len(key_files(history, "features"))
    assert check(history) == {"ignored index": (n_ignored, False)}


def test_the_index_is_not_blamed_for_a_damaged_part(history: TableHistory) -> None:
    """The advice to remove the index would not help, and hide which part is broken."""
    part = sorted(Path(history.tables.folder("features")).rglob("*.parquet"))[0]
    times = (part.stat().st_atime_ns, part.stat().st_mtime_ns)
    part.write_bytes(b"x" * part.stat().st_size)
    os.utime(part, ns=times)
    assert check(history) == {"unreadable part": (1, True)}


def test_verification_reads_the_parts_and_not_the_index(history: TableHistory) -> None:
    """A label that was lost behind the back of the index would be counted as there for ever."""
    path = sorted(Path(history.tables.folder("labels")).rglob("*.parquet"))[-1]
    before = list_objects(history.tables).parts["labels"][-1]
    pq.write_table(pq.ParquetFile(path).read().slice(1), path)
    now = list_objects(history.tables).parts["labels"][-1]

    def name_new_version(rows: pa.Table) -> pa.Table:
        header = rows.schema.metadata[b"earmark"].decode().replace(before.version, now.version)
        return rows.replace_schema_metadata({b"earmark": header})

    for file in key_files(history, "labels"):
        forge(file, name_new_version)
    found = check(history)
    assert found.pop("wrong index") == (1, True)
    # The report counts one label more than there is; that this track now only has embeddings follows from it.
    assert found == {"missing": (1, True), "report mismatch": (1, True)}


def test_large_parts_are_read_in_pieces(history: TableHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys of a compacted part of millions of rows would be in memory three times."""
    monkeypatch.setattr(inspection, "_BATCH_ROWS", 2)
    monkeypatch.setattr(verified_rows, "_ROWS_AT_ONCE", 3)
    assert check(history) == {}  # which compares the numbers of all rows with those in the index
    spoil(history.tables, "repeat a row", "features", 0)
    assert check(history)["duplicate"] == (1, True)


def test_values_are_held_against_the_model_and_not_only_against_their_part(history: TableHistory) -> None:
    """A part of another network, sound in itself, would give wrong genres or vectors to whoever reads it."""
    labels = sorted(Path(history.tables.folder("labels")).rglob("*.parquet"))[0]
    rows = pq.ParquetFile(labels).read()
    pq.write_table(
        rows.replace_schema_metadata({"genres": json.dumps([f"x-{name}" for name in GTZAN_GENRES])}), labels
    )
    embeddings = sorted(Path(history.tables.folder("embeddings")).rglob("*.parquet"))[-1]
    embed(history, tracks(8, start=100), MODEL, embeddings.parent.name.partition("=")[2], n_numbers=5)
    found = verify(history.tables, read_reports(history.tables)).findings
    assert {finding.kind: finding.count for finding in found if finding.fault} == {
        "wrong genres": 1,
        "invalid embedding": 16,
    }
    genres = [f"x-{name}" for name in GTZAN_GENRES]
    changed = rows.set_column(
        rows.schema.get_field_index("genre"),
        rows.schema.field("genre"),
        pa.array([genres[0]] * rows.num_rows),
    )
    pq.write_table(changed.replace_schema_metadata({"genres": json.dumps(genres)}), labels)
    found = verify(history.tables, read_reports(history.tables)).findings
    (invalid,) = [finding for finding in found if finding.kind == "invalid label"]
    assert invalid.count == check_labels(history.tables, MODEL, GTZAN_GENRES)[0].count == rows.num_rows
