"""Checks that results can be written, made before minutes of work and not after."""

import os
from pathlib import Path

from pipeline.storage import storage
from pipeline.storage.local_kind import local_kind
from schemas.errors import MisuseError


def check_writable(out: str | Path, what: str) -> None:
    """Check that a file or folder can be created at a local path; object stores are not checked.

    Parameters
    ----------
    out : str or Path
        The path.
    what : str
        What will be written, for the message.

    Raises
    ------
    MisuseError
        If the folder, or else the nearest parent that exists, is not a directory or is not writable.
    StoreError
        If it may not be looked at.
    """
    path = _local_path(out)
    if path is None:
        return
    is_folder = local_kind(path) == "folder"
    holder = path if is_folder else next(each for each in path.parents if local_kind(each))
    if local_kind(holder) != "folder" or not os.access(holder, os.W_OK):
        raise MisuseError(f"cannot write {what} {out}: {holder} is not a writable directory")


def check_writable_file(out: str | Path, what: str) -> None:
    """Check as `check_writable` does, and that `out` is not a directory."""
    path = _local_path(out)
    if path is not None and local_kind(path) == "folder":
        raise MisuseError(f"cannot write {what} {out}: it is a directory; name a file in it")
    check_writable(out, what)


def _local_path(out: str | Path) -> Path | None:
    return Path(storage.split(str(out))[1]).absolute() if storage.is_local(str(out)) else None
