"""Temporary folders that are removed at the end, or by the next process if theirs was killed."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from schemas.errors import EarmarkError


@contextlib.contextmanager
def locked_folder(prefix: str) -> Iterator[Path]:
    """Provide a folder in the system's temporary directory for the duration of a ``with`` block.

    It is under a lock that ends with the process. The folders of this prefix that killed processes left are
    removed first.

    Parameters
    ----------
    prefix : str
        What its name begins with.

    Raises
    ------
    EarmarkError
        If no temporary directory can be written.
    """
    remove_abandoned(prefix)
    folder, lock = _make_locked_folder(prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


@contextlib.contextmanager
def explain_full_disk() -> Iterator[None]:
    """Name the disk if a ``with`` block cannot write to a temporary folder.

    Raises
    ------
    EarmarkError
        If the disk for temporary files is full, or cannot be written.
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error  # Arrow's own words are longer
        where = tempfile.tempdir or "the folder for temporary files"
        raise EarmarkError(
            f"cannot write to {where} ({reason}); free space there, or set TMPDIR to a larger disk"
        ) from error


def remove_abandoned(prefix: str) -> None:
    """Remove the folders that killed processes of this user left on this machine.

    A folder that can be locked is not in use.

    Parameters
    ----------
    prefix : str
        What their names begin with.

    Raises
    ------
    EarmarkError
        If no temporary directory can be written.
    """
    for folder in _temporary_directory().glob(f"{prefix}*"):
        with contextlib.suppress(OSError):  # in use, another user's, or just removed
            lock = _lock(folder)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    shutil.rmtree(folder)
            finally:
                os.close(lock)


def _temporary_directory() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise EarmarkError(
            f"cannot write temporary files: {error.strerror}; free space there, or set TMPDIR"
        ) from error


def _make_locked_folder(prefix: str) -> tuple[Path, int | None]:
    """Create a folder and lock it; the lock is None on a filesystem without locks.

    Such a filesystem is safe too: `remove_abandoned` cannot lock the folder either, and leaves it alone.
    """
    while True:
        with explain_full_disk():
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=_temporary_directory()))
        try:
            lock = _lock(folder)
        except (BlockingIOError, FileNotFoundError):
            continue  # another process took it for abandoned and is removing it
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
