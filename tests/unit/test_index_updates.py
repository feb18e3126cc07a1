"""The index is updated while a run works, so that the plan after a killed run is no slower than others."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.engine.lease import LeaseLostError
from jobs.run import index_updates
from jobs.run.index_updates import EVERY_RESULTS, IndexUpdates
from pipeline.storage import storage
from pipeline.tables import keys as keys_module
from pipeline.tables import parts
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


def at_leisure() -> bool:
    return False


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
    wait(updates)
    assert n_fresh(history.tables) == 0


def test_slow_updates_are_rare(history: TableHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of ten million tracks take longer to update than five hundred shards take to finish."""
    n_updates, now = 0, 0.0

    def take_30_s(*arguments: object) -> None:
        nonlocal n_updates, now
        n_updates += 1
        now += 30.0

    monkeypatch.setattr(index_updates, "update_index", take_30_s)
    monkeypatch.setattr(index_updates, "_now", lambda: now)
    updates = IndexUpdates(history.tables, allow)
    for n_results, at_s, expected in ((1, 100.0, 1), (2, 279.0, 1), (3, 281.0, 2)):
        now = at_s
        updates.begin_if_due(n_results * EVERY_RESULTS)
        wait(updates)
        assert n_updates == expected


def test_a_lost_lease_or_a_failing_store_ends_no_run(
    history: TableHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is a cache: the run finds out by itself what it has to."""
    before = n_fresh(history.tables)
    updates = IndexUpdates(history.tables, lose)
    updates.begin_if_due(EVERY_RESULTS)
    updates.stop(at_leisure)
    assert n_fresh(history.tables) == before
    monkeypatch.setattr(storage, "write_bytes", refuse)
    updates = IndexUpdates(history.tables, allow)
    updates.begin_if_due(EVERY_RESULTS)
    updates.stop(at_leisure)
    assert n_fresh(history.tables) == before


def test_an_update_reads_and_writes_nothing_once_the_run_has_ended(
    history: TableHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is free by then, another run may be merging, and on a failing store each read takes long."""
    before = n_fresh(history.tables)
    updates = IndexUpdates(history.tables, allow)
    n_read = 0

    def read_one_part(*arguments: Any) -> Iterator[object]:
        nonlocal n_read
        for rows in parts.read_columns(*arguments):
            n_read += 1
            updates._stopped.set()
            yield rows

    monkeypatch.setattr(keys_module, "read_columns", read_one_part)
    updates.begin_if_due(EVERY_RESULTS)
    updates.stop(at_leisure)
    monkeypatch.undo()
    assert (n_read, updates.is_under_way) == (1, False)
    assert n_fresh(history.tables) == before


@pytest.mark.parametrize(("is_urgent", "expected_s"), [(True, 0.2), (False, 0.8)])
def test_a_stuck_update_holds_nobody_up(
    history: TableHistory, monkeypatch: pytest.MonkeyPatch, is_urgent: bool, expected_s: float
) -> None:
    """``ray job stop`` kills after three seconds, and a store that is away answers after minutes."""
    released = threading.Event()
    monkeypatch.setattr(index_updates, "update_index", lambda *_: released.wait(60))
    monkeypatch.setattr(index_updates, "_MOMENT_S", 0.2)
    monkeypatch.setattr(index_updates, "_STOP_S", 0.8)
    updates = IndexUpdates(history.tables, allow)
    updates.begin_if_due(EVERY_RESULTS)
    begun = time.monotonic()
    updates.stop(lambda: is_urgent)
    took_s = time.monotonic() - begun
    assert updates.is_under_way
    assert took_s >= expected_s
    if is_urgent:
        assert took_s < 30
    released.set()
    wait(updates)


def test_a_system_without_threads_runs_without_updates(
    history: TableHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container with a limit of processes would lose a night to a cache."""

    def refuse_to_start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    updates = IndexUpdates(history.tables, allow)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse_to_start)
        updates.begin_if_due(EVERY_RESULTS)
    updates.stop(at_leisure)
    assert not updates.is_under_way
