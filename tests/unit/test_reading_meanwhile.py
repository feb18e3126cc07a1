"""Who reads while a run or a compaction merges parts gets the rows, not an error."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow.dataset as ds
import pytest

import earmark
from jobs.compact import compact_job
from pipeline.storage.cache_folder import CACHE_VARIABLE
from tests.table_history import TableHistory, tracks


@pytest.fixture
def history(tmp_path: Path) -> TableHistory:
    """Tracks with embeddings, each in parts of its own."""
    history = TableHistory(tmp_path)
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
    "features": lambda opened: opened._tables.read("features").num_rows,
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
    _once_parts_are_listed(monkeypatch, merge)
    assert QUESTIONS[name](opened) == expected
    assert len(parts - set(tmp_path.rglob("*.parquet"))) > 20, "nothing was merged"


def _once_parts_are_listed(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let something happen once, after the first listing of parts and before they are read."""
    from pipeline.tables import keys

    waiting = [act]

    def then_act(result: object) -> object:
        if waiting:
            waiting.pop()()
        return result

    dataset, list_objects = ds.dataset, keys.list_objects
    monkeypatch.setattr(ds, "dataset", lambda *a, **k: then_act(dataset(*a, **k)))
    monkeypatch.setattr(keys, "list_objects", lambda tables: then_act(list_objects(tables)))
