"""Folders in which merged parts are built: gone when their compaction ends, or when the next one begins."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from pipeline.storage import storage
from pipeline.tables.maintenance.compact.log import LOG_FOLDER, SCRATCH_PREFIX

_PREFIX = "earmark-compact-"


@contextlib.contextmanager
def scratch_folder(root: str) -> Iterator[Path]:
    """A local folder for the length of a ``with`` block.

    Of local tables it is on their own disk, and `recover` of the compaction log removes what a killed
    compaction left. Else it is in the system's temporary folder, and locked, which ends with the process:
    see `remove_abandoned`.

    Parameters
    ----------
    root : str
        Root of the tables.
    """
    if storage.is_local(root):
        with _scratch_beside(root) as folder:
            yield folder
        return
    folder, lock = _make_locked_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def remove_abandoned() -> None:
    """Remove the folders of this user's compactions that were killed on this machine.

    Whoever can lock such a folder knows that nobody is at work in it.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # it is locked, or another one's, or another compaction removes it
            lock = _lock(folder)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    shutil.rmtree(folder)
            finally:
                os.close(lock)


def _make_locked_folder() -> tuple[Path, int | None]:
    """A new folder, and its lock; none on a disk that knows no locks, where nobody removes it either."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        try:
            lock = _lock(folder)
        except (BlockingIOError, FileNotFoundError):
            continue  # another compaction held it for abandoned, and removes it
        except OSError:
            return folder, None
        if folder.exists():
            return folder, lock
        os.close(lock)


def _lock(folder: Path) -> int:
    """Lock a folder, no link to one; the descriptor that holds the lock.

    Raises
    ------
    OSError
        If it is locked, or is no folder.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def _scratch_beside(root: str) -> Iterator[Path]:
    parent = Path(storage.split(root)[1], LOG_FOLDER)
    folder = parent / f"{SCRATCH_PREFIX}{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            parent.rmdir()
