"""The index is updated while a run works, so that the plan after a killed run is no slower than others."""

import itertools
import threading
from pathlib import Path

import pytest

from jobs.engine.lease import LeaseLostError
from jobs.run import index_updates
from jobs.run.index_updates import EVERY_RESULTS, IndexUpdates
from pipeline.storage import storage
from pipeline.tables.keys import KEY_COLUMNS, open_keys
from pipeline.tables.tables import Tables
from tests.table_history import TableHistory, tracks


@pytest.fixture
def history(tmp_path: Path) -> TableHistory:
    made = TableHistory(tmp_path / "tables")
    made.model()
    made.run(tracks(8), shard_tracks=4)
    return made


def n_fresh(tables: Tables) -> int:
    """How many parts the next plan must read by themselves."""
    with open_keys(tables) as keys:
        keys.load(*KEY_COLUMNS)
        return sum(map(len, keys.fresh.values()))


def allow() -> None:
    """Find the lease held."""


def lose() -> None:
    raise LeaseLostError("another run has taken the tables over")


def refuse(*arguments: object, **options: object) -> None:
    raise OSError("the store is away")


def wait(updates: IndexUpdates) -> None:
    """Wait for the update under way, as the end of the run does, but let others follow."""
    assert updates._thread is not None
    updates._thread.join()


def test_what_was_finished_is_indexed_and_what_follows_waits_for_enough(history: TableHistory) -> None:
    updates = IndexUpdates(history.tables, allow)
    updates.begin_if_due(EVERY_RESULTS - 1)
    assert updates._thread is None
    before = n_fresh(history.tables)
    assert before >= 5
    updates.begin_if_due(EVERY_RESULTS)
    wait(updates)
    assert n_fresh(history.tables) == 0
    history.run(tracks(2, start=8))
    added = n_fresh(history.tables)
    assert added > 0
    updates._not_before = 0.0
    updates.begin_if_due(2 * EVERY_RESULTS - 1)
    wait(updates)
    assert n_fresh(history.tables) == added
    updates.begin_if_due(2 * EVERY_RESULTS)
    updates.stop()
    assert n_fresh(history.tables) in (0, added)  # stopped before it wrote, or after


def test_slow_updates_are_rare(history: TableHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of ten million tracks take longer to update than five hundred shards take to finish."""
    n_updates = 0

    def count(*arguments: object) -> None:
        nonlocal n_updates
        n_updates += 1

    clock = itertools.chain([0.0, 100.0, 130.0, 729.0, 731.0], itertools.repeat(800.0))
    monkeypatch.setattr(index_updates, "update_index", count)
    monkeypatch.setattr(index_updates.time, "monotonic", lambda: next(clock))
    updates = IndexUpdates(history.tables, allow)
    for n_results in (1, 2, 3):
        updates.begin_if_due(n_results * EVERY_RESULTS)
        wait(updates)
    assert n_updates == 2  # from 100 s to 130 s, not at 729 s, and at 731 s


def test_a_lost_lease_or_a_failing_store_ends_no_run(
    history: TableHistory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The index is a cache: the run finds out by itself what it has to."""
    before = n_fresh(history.tables)
    updates = IndexUpdates(history.tables, lose)
    updates.begin_if_due(EVERY_RESULTS)
    updates.stop()
    assert n_fresh(history.tables) == before
    monkeypatch.setattr(storage, "write_bytes", refuse)
    updates = IndexUpdates(history.tables, allow)
    updates.begin_if_due(EVERY_RESULTS)
    updates.stop()
    assert n_fresh(history.tables) == before


def test_nothing_is_written_once_the_run_has_stopped(
    history: TableHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is free by then, and another run may be merging."""
    before = n_fresh(history.tables)
    stopping, checked = threading.Event(), threading.Event()

    def check() -> None:
        checked.set()

    def wait_for_stop(tables: Tables, check: storage.Check) -> None:
        assert stopping.wait(10)
        check()

    monkeypatch.setattr(index_updates, "update_index", wait_for_stop)
    updates = IndexUpdates(history.tables, check)
    updates.begin_if_due(EVERY_RESULTS)
    updates._stopped.set()
    stopping.set()
    updates.stop()
    assert not checked.is_set()
    assert n_fresh(history.tables) == before
