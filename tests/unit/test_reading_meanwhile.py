"""Who reads while a run or a compaction merges parts gets the rows, not an error."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

import earmark
from jobs import export
from jobs.compact import compact_job
from jobs.publish import publish_job
from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.publish.destination import Format
from pipeline.storage.cache_folder import CACHE_VARIABLE
from pipeline.tables import tables as reading
from pipeline.tables.stored_features import read_features
from pipeline.tables.tables import stored_schema
from schemas.errors import MisuseError, StoreError
from tests.table_history import SPEC, TableHistory, tracks

N_PAUSES = 4


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PAUSES_S", (0.0,) * N_PAUSES)


@pytest.fixture
def history(tmp_path: Path) -> TableHistory:
    """Tracks with embeddings, each in parts of its own."""
    history = TableHistory(tmp_path / "tables")
    run = history.run(tracks(8), shard_tracks=1)
    for name in tracks(8):
        history.embed(name, {name: history.rng.normal(size=(1, 3))}, run=run)
    return history


QUESTIONS: dict[str, Callable[[earmark.Tables], object]] = {
    "labels": lambda opened: opened.labels().sort_by("uri").drop_columns(["run", "run_date"]),
    "tracks": lambda opened: opened.tracks(),
    "failures": lambda opened: opened.failures().num_rows,
    "embeddings": lambda opened: opened.embeddings().drop_columns(["run"]),
    "similar": lambda opened: opened.similar("t0000", 7)["track_id"].to_pylist(),
    "models": lambda opened: opened.models(),
    "features": lambda opened: opened._tables.read("features", ["track_id"]).num_rows,
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_parts_that_are_merged_meanwhile_are_read_again(
    history: TableHistory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A dashboard that asks each minute would fail once a night, and wake somebody."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    opened = earmark.open_tables(history.tables.root)
    expected = QUESTIONS[name](opened)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "another cache"))
    parts = set(tmp_path.rglob("*.parquet"))
    merge = partial(compact_job, history.tables, older_than_days=0, target_mb=128, say=lambda _: None)
    _when_parts_are_listed(monkeypatch, [merge])
    assert QUESTIONS[name](opened) == expected
    assert len(parts - set(tmp_path.rglob("*.parquet"))) > 20, "nothing was merged"


@pytest.mark.parametrize("name", ["labels", "embeddings", "features"])
def test_parts_that_are_replaced_one_after_another_are_read_in_the_end(
    history: TableHistory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """On a bucket, merging takes minutes: who asks meanwhile would meet another missing part each time."""
    opened = earmark.open_tables(history.tables.root)
    expected = QUESTIONS[name](opened)
    waiting = _when_parts_are_listed(monkeypatch, _rename_parts(tmp_path, name)[:N_PAUSES])
    assert QUESTIONS[name](opened) == expected
    assert not waiting


@pytest.mark.parametrize("form", ["delta", "parquet"])
def test_labels_whose_parts_are_replaced_one_after_another_are_published(
    history: TableHistory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Format
) -> None:
    """A publication that is repeated must not count on what it did before: rows would be there twice."""
    destination = str(tmp_path / "published")
    publish = partial(publish_job, history.tables.root, destination, form, None, embeddings=True)
    waiting = _when_parts_are_listed(monkeypatch, _rename_parts(tmp_path, "labels")[:N_PAUSES], after=1)
    done = publish()
    assert not waiting
    assert (done.rows, done.changed, done.removed, done.written) == (8, 8, 0, True)
    history.run({"t0001": "2", "new": "1"}, gone={"t0002": "1"}, unchanged=6)
    waiting += [*_rename_parts(tmp_path, "tracks")[:2], *_rename_parts(tmp_path, "labels")[-2:]]
    done = publish()
    assert not waiting
    assert (done.rows, done.changed, done.removed, done.written) == (8, 2, 1, True)
    assert not publish().written


def test_descriptors_of_a_track_that_leaves_the_catalog_meanwhile_are_left_out(
    history: TableHistory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export that a nightly run overtakes would end in an internal error."""
    spec = SPEC.only_descriptors
    versions = list(tracks(2).items())
    rows = [
        row | dict.fromkeys(DESCRIPTOR_NAMES, 0.5)
        for row in history.features(versions).to_pylist()
        if row["segment"] == 0
    ]
    table = pa.Table.from_pylist(rows, stored_schema("features"))
    history.write("features", "d", table, feature_set=spec.feature_set, run="r")
    monkeypatch.setattr(export, "computed_specs", lambda tables: [spec])

    def read_and_lose(*arguments: Any) -> pa.Table:
        found = read_features(*arguments)
        history.run({}, gone=dict(versions[:1]))
        return found

    monkeypatch.setattr(export, "read_features", read_and_lose)
    assert export.export_descriptors(history.tables, str(tmp_path / "d.csv")) == 1


def test_what_stays_away_is_an_error_after_all_pauses(
    history: TableHistory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads within reads would each repeat: a part that is lost would be told after ten minutes, not one."""
    opened = earmark.open_tables(history.tables.root)
    waiting = _when_parts_are_listed(monkeypatch, _rename_parts(tmp_path, "tracks"))
    n_parts = len(waiting)
    monkeypatch.setattr(type(opened._tables), "dataset", lambda *_: None)  # so that only an inner read lists
    with pytest.raises(StoreError, match="it does not exist"):
        opened.embeddings()
    assert n_parts - len(waiting) == N_PAUSES + 1


def test_a_model_that_does_not_exist_is_refused_at_once(
    history: TableHistory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistyped folder would be told after a minute: the cause is a missing file too."""
    listings: list[None] = []
    _when_parts_are_listed(monkeypatch, [lambda: listings.append(None)] * 100)
    with pytest.raises(MisuseError, match="contain no embeddings of the model"):
        earmark.open_tables(history.tables.root).similar("t0000", model=str(tmp_path / "no model"))
    assert len(listings) == 1


def _rename_parts(folder: Path, table: str) -> list[Callable[[], object]]:
    """Functions that each give another part of a table a new name, as if it was merged."""

    def rename(part: Path) -> None:
        part.rename(part.with_name(f"{part.stem}x.parquet"))

    return [partial(rename, part) for part in sorted(folder.glob(f"**/{table}/**/*.parquet"))]


def _when_parts_are_listed(
    monkeypatch: pytest.MonkeyPatch, acts: Sequence[Callable[[], object]], after: int = 0
) -> list[Callable[[], object]]:
    """Let something happen after each listing of parts, before they are read; return what is left."""
    from pipeline.tables import keys
    from pipeline.tables.objects import list_objects

    waiting: list[Callable[[], object]] = [*([lambda: None] * after), *acts]

    def then_act(result: object) -> object:
        if waiting:
            waiting.pop(0)()
        return result

    dataset = ds.dataset
    monkeypatch.setattr(ds, "dataset", lambda *a, **k: then_act(dataset(*a, **k)))
    monkeypatch.setattr(keys, "list_objects", lambda tables: then_act(list_objects(tables)))
    return waiting
