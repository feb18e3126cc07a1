"""One run at a time a root."""

import contextlib
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs.engine import lease as leases
from jobs.engine import lease_acquisition, lease_objects
from pipeline.storage import storage
from schemas.errors import LeaseHeldError


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that is not renewed is stale at once."""
    monkeypatch.setattr(lease_acquisition, "TTL_S", 0.0)
    monkeypatch.setattr(leases, "RENEW_S", 0.3)
    monkeypatch.setattr(lease_acquisition, "_SETTLE_S", 0.1)


@pytest.fixture
def patient(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Watch a lease until it is renewed, however slow this machine is."""
    monkeypatch.setattr(lease_acquisition, "TTL_S", 600.0)


def test_a_live_lease_keeps_others_out_and_says_who_holds_it(tmp_path: Path, patient: None) -> None:
    """Two schedulers that fire at once must not both write."""
    with leases.hold(str(tmp_path), "run-1", say=print) as lease:
        lease.check()
        with (
            pytest.raises(LeaseHeldError, match=r"run-1 .* is writing to"),
            leases.hold(str(tmp_path), "run-2", say=print),
        ):
            pass
    with leases.hold(str(tmp_path), "run-3", say=print) as after:
        assert after.number == lease.number + 1


def test_a_dead_holders_lease_is_taken_over_and_its_workers_write_no_more(tmp_path: Path) -> None:
    """After kill -9 the next run goes on by itself; a worker that outlived its driver must notice."""
    location = storage.join(str(tmp_path), "_lease", "00000007.json")
    storage.write_bytes(location, b'{"run": "dead", "user": "u", "host": "h", "pid": 1, "since": "then"}')
    orphan = leases.Lease(str(tmp_path), 7)
    orphan.check()
    said: list[str] = []
    with leases.hold(str(tmp_path), "heir", say=said.append) as lease:
        assert lease.number == 8
        with pytest.raises(leases.LeaseLostError):
            orphan.check()
    assert "run dead of u on h" in said[0]
    assert "taking over" in said[1]
    with pytest.raises(leases.LeaseLostError):
        orphan.check()


@pytest.mark.parametrize("damaged", [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"run": "cut off"}'], ids=repr)
def test_a_damaged_lease_is_named_and_taken_over(tmp_path: Path, damaged: bytes) -> None:
    """A lease that a full disk cut short must not keep every later run out with an internal error."""
    location = storage.join(str(tmp_path), "_lease", "00000007.json")
    storage.write_bytes(location, damaged)
    storage.write_bytes(storage.join(str(tmp_path), "_lease", "notes.json"), b"not ours")
    leases.Lease(str(tmp_path), 7).check()
    said: list[str] = []
    with leases.hold(str(tmp_path), "heir", say=said.append) as lease:
        assert lease.number == 8
    assert location in said[0]
    assert "damaged" in said[0]
    assert "taking over" in said[1]


def test_a_live_holder_mends_its_damaged_lease(tmp_path: Path, patient: None) -> None:
    """Damage to its lease must not let another run in beside the one that is at work."""
    with leases.hold(str(tmp_path), "run-1", say=print) as lease:
        storage.write_bytes(storage.join(str(tmp_path), "_lease", f"{lease.number:08}.json"), b"{")
        with (
            pytest.raises(LeaseHeldError, match="run-1"),
            leases.hold(str(tmp_path), "run-2", say=print),
        ):
            pass


def _contend(
    root: str,
    barrier: "multiprocessing.synchronize.Barrier",
    decided: "multiprocessing.synchronize.Event",
    won: "multiprocessing.Queue[bool]",
) -> None:
    barrier.wait()
    try:
        with leases.hold(root, "run", say=lambda sentence: None):
            won.put(True)
            decided.wait()
    except LeaseHeldError:
        won.put(False)


def test_a_worker_that_outlives_its_run_writes_no_more(tmp_path: Path) -> None:
    """A second Ctrl-C ends the run at once; a part of it must not appear while the next run plans."""
    with leases.hold(str(tmp_path), "run-1", say=print) as lease:
        lease.check()
    with pytest.raises(leases.LeaseLostError, match="has ended"):
        lease.check()


def hold_number(root: Path, number: int) -> leases.Lease:
    """Write the lease of a run that is at work."""
    storage.write_bytes(lease_objects.location_of(str(root), number), b'{"run": "at work"}')
    return leases.Lease(str(root), number)


def test_a_lease_that_is_still_there_counts_no_more_once_there_is_a_newer_one(tmp_path: Path) -> None:
    """Removing it may fail: the workers of the dead run would write on, beside those of the new one."""
    lost, newer = hold_number(tmp_path, 7), hold_number(tmp_path, 8)
    with pytest.raises(leases.LeaseLostError, match=r"taken over .* \(lease 8, ours was 7\)"):
        lost.check()
    newer.check()


def test_a_machine_that_was_suspended_looks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its steady clock stood still: by what it saw before, it would write into the tables of the next run."""
    monkeypatch.setattr(leases, "storage", SimpleNamespace(is_local=lambda root: False))
    lost = hold_number(tmp_path, 7)
    lost.check()
    hold_number(tmp_path, 8)
    now = time.monotonic()
    clock = SimpleNamespace(monotonic=lambda: now, time=lambda: time.time() + 3600)
    monkeypatch.setattr(leases, "time", clock)
    with pytest.raises(leases.LeaseLostError, match="taken over"):
        lost.check()


def test_a_run_that_was_taken_over_writes_no_lease(tmp_path: Path) -> None:
    """Its lease, which the next run has removed, would come back, and say that the run is at work."""
    with leases.hold_for_workers(str(tmp_path), "run-1", say=print) as held:
        own = Path(lease_objects.location_of(str(tmp_path), held.lease.number))
        with held._writing:
            hold_number(tmp_path, held.lease.number + 1)
            own.unlink()
        time.sleep(1)  # several renewals
        assert not own.exists()
    assert not own.exists()


def test_of_many_contenders_one_wins(tmp_path: Path, patient: None) -> None:
    """The race is decided by the store, not by timing."""
    context = multiprocessing.get_context("fork")
    barrier, decided, won = context.Barrier(6), context.Event(), context.Queue()
    contenders = [
        context.Process(target=_contend, args=(str(tmp_path), barrier, decided, won)) for _ in range(6)
    ]
    for contender in contenders:
        contender.start()
    outcomes = [won.get(timeout=300) for _ in contenders]
    decided.set()
    for contender in contenders:
        contender.join()
    assert sorted(outcomes) == [False] * 5 + [True]


def test_no_worker_begins_to_write_when_the_lease_is_shut(tmp_path: Path) -> None:
    """A run that is stopped kills its workers: one that lives a moment longer must not write in it."""
    with leases.hold_for_workers(str(tmp_path), "run-1", say=print) as held:
        held.lease.check()
        held.stop_writes()
        with pytest.raises(leases.LeaseLostError, match="has ended"):
            held.lease.check()
        time.sleep(1)  # several renewals, which must not open it again
        with pytest.raises(leases.LeaseLostError):
            held.lease.check()
        assert lease_acquisition.free_number(str(tmp_path)) is None, "nobody else may have the tables yet"
    assert lease_acquisition.free_number(str(tmp_path)) == held.lease.number


def test_a_look_at_the_lease_in_a_store_holds_for_a_while_but_not_beyond_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part would cost two requests more; or a stopped run would write on, into the next run's tables."""
    monkeypatch.setattr(leases, "RENEW_S", 600.0)
    monkeypatch.setattr(leases, "FRESH_S", 600.0)
    with leases.hold_for_workers(str(tmp_path), "run-1", say=print) as held:
        monkeypatch.setattr(leases, "storage", SimpleNamespace(is_local=lambda root: False))
        held.lease.check()
        with monkeypatch.context() as patched:
            patched.setattr(lease_objects, "newest", lambda root: pytest.fail("it looks again"))
            held.lease.check()
        held.stop_writes()
        with pytest.raises(leases.LeaseLostError, match="has ended"):
            held.lease.check()


SETTLE_S = 600.0


def settle_with(monkeypatch: pytest.MonkeyPatch, during: Callable[[float], None]) -> None:
    """Instead of waiting for writes of the last run to end, call a function with the seconds."""

    def sleep(duration_s: float) -> None:
        (during if duration_s > SETTLE_S / 2 else time.sleep)(duration_s)

    clock = SimpleNamespace(monotonic=time.monotonic, time=time.time, sleep=sleep)
    monkeypatch.setattr(lease_acquisition, "_SETTLE_S", SETTLE_S)
    for module in (leases, lease_acquisition):
        monkeypatch.setattr(module, "time", clock)


def leave_unsettled(root: Path, fate: str) -> None:
    """Leave the lease of a run whose workers may still be writing."""
    if fate == "killed":
        storage.write_bytes(lease_objects.location_of(str(root), 1), b"{}")
    else:
        with leases.hold_for_workers(str(root), "run-1", say=print) as held:
            held.is_settled = False


def test_a_run_waits_for_what_killed_workers_may_have_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store may be at work on a part whose worker is dead: a plan made before it appears labels twice."""
    said: list[str] = []
    waited: list[float] = []
    settle_with(monkeypatch, waited.append)
    leave_unsettled(tmp_path, "unsettled")
    with leases.hold(str(tmp_path), "run-2", say=said.append):
        assert len(waited) == 1
    assert "the last run was stopped a moment ago" in said[0]
    # Only once, and only as long as it takes.
    with leases.hold(str(tmp_path), "run-3", say=said.append):
        pass
    with leases.hold_for_workers(str(tmp_path), "run-4", say=print) as held:
        held.is_settled = False
    long_ago = time.time() - SETTLE_S - 1
    os.utime(lease_objects.location_of(str(tmp_path), held.lease.number), (long_ago, long_ago))
    with leases.hold(str(tmp_path), "run-5", say=said.append):
        pass
    assert (len(waited), len(said)) == (1, 1)


@pytest.mark.parametrize("fate", ["killed", "unsettled"])
def test_a_run_that_waits_for_the_last_writes_keeps_its_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    """On a bucket that wait is longer than a lease lives: whoever starts meanwhile, such as an overlapping
    night, would take over from a live run, which then fails, instead of being refused."""
    leave_unsettled(tmp_path, fate)
    before = set(threading.enumerate())
    refused: list[str] = []

    def overlap(settle_s: float) -> None:
        assert any(thread.name == "lease" for thread in set(threading.enumerate()) - before)
        monkeypatch.setattr(lease_acquisition, "TTL_S", SETTLE_S)  # however slow this machine is
        with (
            pytest.raises(LeaseHeldError, match="heir") as error,
            leases.hold(str(tmp_path), "intruder", say=print),
        ):
            pass
        refused.append(str(error.value))

    settle_with(monkeypatch, overlap)
    with leases.hold(str(tmp_path), "heir", say=print) as lease:
        assert len(refused) == 1, "it did not wait, or not with its lease"
        lease.check()


@pytest.mark.parametrize("fate", ["killed", "unsettled"])
def test_a_run_that_is_stopped_while_it_waits_leaves_the_wait_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    """Its lease would keep the next run out, or the next run plan before the last writes have appeared."""
    leave_unsettled(tmp_path, fate)

    def stopped(settle_s: float) -> None:
        raise KeyboardInterrupt

    waited: list[float] = []
    with monkeypatch.context() as patched:
        settle_with(patched, stopped)
        with pytest.raises(KeyboardInterrupt), leases.hold(str(tmp_path), "run-2", say=print):
            pass
    assert lease_acquisition.free_number(str(tmp_path)) == 2
    settle_with(monkeypatch, waited.append)
    with leases.hold(str(tmp_path), "run-3", say=print):
        assert len(waited) == 1


def test_of_two_runs_that_follow_a_stopped_one_the_later_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would end with 1, as if the store had lost something, and not with 5: try again later."""
    leave_unsettled(tmp_path, "unsettled")
    modified_at = lease_objects.modified_at
    with contextlib.ExitStack() as stack:

        def after_another(root: str, number: int) -> float | None:
            monkeypatch.setattr(lease_objects, "modified_at", modified_at)
            stack.enter_context(leases.hold(root, "run-2", say=print))
            return modified_at(root, number)

        monkeypatch.setattr(lease_objects, "modified_at", after_another)
        with (
            pytest.raises(LeaseHeldError, match=r"run-2 .* is writing to"),
            leases.hold(str(tmp_path), "run-3", say=print),
        ):
            pass


def test_an_interrupted_start_leaves_no_lease_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the moment in which the lease is made would make the next run wait for nobody."""

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    with leases.hold(str(tmp_path), "run-1", say=print):
        pass
    with monkeypatch.context() as patched:
        patched.setattr(storage, "delete", interrupted)
        with pytest.raises(KeyboardInterrupt), leases.hold(str(tmp_path), "run-2", say=print):
            pass
    assert lease_acquisition.free_number(str(tmp_path)) == 2
    released = json.loads(Path(lease_objects.location_of(str(tmp_path), 2)).read_text())
    assert not released["settled"], "who ran before may have left writes under way"


@pytest.mark.parametrize("fate", ["the store fails", "taken over"])
def test_a_lease_that_cannot_be_released_is_renewed_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    """A process that lives on, such as a notebook, would keep the next run out for ever."""
    before = set(threading.enumerate())
    with leases.hold(str(tmp_path), "run-1", say=print) as lease:
        (renewer,) = [thread for thread in threading.enumerate() if thread not in before]
        if fate == "taken over":
            storage.write_bytes(storage.join(str(tmp_path), "_lease", f"{lease.number + 1:08}.json"), b"{}")
        else:
            monkeypatch.setattr(lease_objects, "newest", fail)
    renewer.join(timeout=5)
    assert not renewer.is_alive()


def fail(root: str) -> None:
    raise OSError("the store is away")


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("local", [False, True])
def test_after_a_command_that_fails_a_store_may_still_be_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local: bool, fails: bool
) -> None:
    """A part whose upload was interrupted would appear after a purge, with the rows that it removed."""
    monkeypatch.setattr(leases.HeldLease, "is_local", local)
    with contextlib.suppress(KeyboardInterrupt), leases.hold(str(tmp_path), "compact-1", say=print) as lease:
        if fails:
            raise KeyboardInterrupt
    released = json.loads(Path(lease_objects.location_of(str(tmp_path), lease.number)).read_text())
    assert released["settled"] == (local or not fails)
