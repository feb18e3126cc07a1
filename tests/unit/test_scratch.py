"""Scratch folders of compactions on object stores: in use while their process lives, removed afterwards."""

import errno
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from pipeline.models.bundle import ModelBundle, load_network
from pipeline.storage.temporary_folders import locked_folder, remove_abandoned
from pipeline.tables.maintenance.compact.scratch import PREFIX, scratch_folder
from schemas.errors import EarmarkError

BUCKET = "s3://bucket/tables"
CONTEXT = multiprocessing.get_context("fork")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def _work(pipe: Connection) -> None:
    with scratch_folder(BUCKET) as folder:
        (folder / "building").write_bytes(b"half a part")
        pipe.send(str(folder))
        pipe.recv()


def _at_work(temporary: Path) -> tuple["multiprocessing.process.BaseProcess", Path, Connection]:
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_work, args=(theirs,))
    process.start()
    return process, Path(ours.recv()), ours


def test_what_a_killed_compaction_left_is_removed_and_a_running_ones_is_not(temporary: Path) -> None:
    """Gigabytes of half-built parts would stay on the machine after each kill -9; and a compaction whose
    folder another one removed would fail."""
    killed, left, _ = _at_work(temporary)
    running, used, pipe = _at_work(temporary)
    os.kill(killed.pid or 0, signal.SIGKILL)
    killed.join()
    (temporary / "earmark-compact-note").write_bytes(b"no folder of ours")
    (temporary / "earmark-compact-link").symlink_to(used)
    assert left.exists()
    remove_abandoned(PREFIX)
    assert not left.exists()
    assert (used / "building").exists()
    pipe.send("end")
    running.join()
    assert running.exitcode == 0
    assert not used.exists()


def test_what_a_killed_worker_left_is_removed_by_the_next(temporary: Path) -> None:
    """Each worker that is killed while it loads the model leaves a network in /tmp."""
    left = temporary / "earmark-network-left"
    left.mkdir()
    load_network(ModelBundle.load("gtzan"))
    assert list(temporary.iterdir()) == []


def _in_turn(work: Callable[[], None], until: float) -> None:
    while time.monotonic() < until:
        work()


def _use() -> None:
    with scratch_folder(BUCKET) as folder:
        for number in range(5):
            (folder / str(number)).write_bytes(b"x")  # raises if the folder was taken away


def _clean_up() -> None:
    remove_abandoned(PREFIX)


@pytest.mark.slow
def test_compactions_that_begin_at_once_leave_each_other_alone(temporary: Path) -> None:
    """Another compaction may look between creating a folder and locking it: it must not remove the folder."""
    until = time.monotonic() + 2
    processes = [CONTEXT.Process(target=_in_turn, args=(_use, until)) for _ in range(2)]
    processes += [CONTEXT.Process(target=_in_turn, args=(_clean_up, until)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert list(temporary.iterdir()) == []


def test_a_machine_without_room_for_temporary_files_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full /tmp is an internal error, to be reported to us."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/nothing"])
    for use in (lambda: remove_abandoned(PREFIX), lambda: locked_folder(PREFIX).__enter__()):
        with pytest.raises(EarmarkError, match=r"cannot write temporary files: .*/proc/nothing.*set TMPDIR"):
            use()


def test_a_full_temporary_folder_is_named_where_a_network_is_unpacked(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ended with "No space left on device", which does not say on which of them."""

    def refuse(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, f"No space left on device: {path}, {len(data)}")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(EarmarkError, match=f"cannot write to {temporary} .*set TMPDIR to a larger disk"):
        load_network(ModelBundle.load("default"))
