"""Scratch folders for building merged parts, removed when the compaction ends or the next one starts."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from pipeline.storage import storage
from pipeline.tables.maintenance.compact.compaction_log import LOG_FOLDER, SCRATCH_PREFIX

_PREFIX = "earmark-compact-"


@contextlib.contextmanager
def scratch_folder(root: str) -> Iterator[Path]:
    """Provide a local folder for the duration of a ``with`` block.

    For local tables it is on the same disk, and `recover_compactions` removes what a killed compaction left
    behind. Otherwise it is in the system's temporary directory, under a lock that ends with the process, so
    that `remove_abandoned` can find it.

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
    """Remove the scratch folders that killed compactions of this user left on this machine.

    A folder that can be locked is not in use.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # in use, another user's, or just removed
            lock = _lock(folder)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    shutil.rmtree(folder)
            finally:
                os.close(lock)


def _make_locked_folder() -> tuple[Path, int | None]:
    """Create a folder and lock it; the lock is None on a filesystem without locks.

    Such a filesystem is safe too: `remove_abandoned` cannot lock the folder either, and leaves it alone.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        try:
            lock = _lock(folder)
        except (BlockingIOError, FileNotFoundError):
            continue  # another compaction took it for abandoned and is removing it
        except OSError:
            return folder, None
        if folder.exists():
            return folder, lock
        os.close(lock)


def _lock(folder: Path) -> int:
    """Lock a folder (symbolic links are refused) and return the file descriptor that holds the lock.

    Raises
    ------
    OSError
        If it is already locked or is not a directory.
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
