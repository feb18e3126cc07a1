"""Atomic writes of local files: a reader sees the old file, the whole new one or none, never a part."""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path

from pipeline.storage.retry import Check


def write_file(path: Path, chunks: Iterable[bytes], *, check: Check | None = None) -> None:
    """Write a file whole or not at all: a temporary file is synced and renamed.

    A link's target is written, not the link itself; a device or a pipe is written to, never replaced. A file
    that is replaced keeps its permissions.

    Parameters
    ----------
    path : Path
        The file.
    chunks : iterable of bytes
        Its content. What the iterable raises is raised.
    check : callable, optional
        Called before the write and before the rename; what it raises is raised.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    if check is not None:
        check()
    target = Path(os.path.realpath(path))
    if target.exists() and not (target.is_file() or target.is_dir()):
        with target.open("wb") as file:
            file.writelines(chunks)
        return
    temporary = _write_temporary(target, chunks)
    try:
        if check is not None:
            check()  # a network mount may have hung in the meantime
        rename_over(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def rename_over(temporary: Path, target: Path) -> None:
    """Rename a synced file to one that may exist, whose permissions it takes, and sync the folder.

    Raises
    ------
    OSError
        If it cannot be renamed.
    """
    if target.is_file():
        shutil.copymode(target, temporary)
    temporary.replace(target)
    sync_folder(target.parent)


def create_file(path: Path, data: bytes) -> bool:
    """Create a file whole; return False if it exists.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    temporary = _write_temporary(path, (data,))
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:
        return _create_without_links(path, data)
    finally:
        temporary.unlink()
    sync_folder(path.parent)
    return True


def sync_folder(folder: Path) -> None:
    """Sync a local folder, so that renames in it survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network mounts cannot sync folders; their servers order renames themselves.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_temporary(path: Path, chunks: Iterable[bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Readers of the tables ignore names with a leading dot, so a crash leaves nothing that they see.
    temporary = path.parent / f".tmp-{uuid.uuid4().hex}"
    try:
        with temporary.open("wb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _create_without_links(path: Path, data: bytes) -> bool:
    """Create a file on a disk without hard links (exFAT, SMB): one writer succeeds, with one write."""
    try:
        file = path.open("xb", buffering=0)
    except FileExistsError:
        return False
    try:
        with file:
            if file.write(data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)  # a part of it would count as created
        raise
    return True
