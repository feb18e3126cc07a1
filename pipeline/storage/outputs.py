"""Where results go: whether they can be written there is said before minutes of work, not after."""

import os
from pathlib import Path

from pipeline.storage import storage
from schemas.errors import MisuseError


def check_writable(out: str | Path, what: str) -> None:
    """Check that a file or folder could be made at a local place; of object stores nothing is known yet.

    Parameters
    ----------
    out : str or Path
        The place.
    what : str
        What is to be there, for the message.

    Raises
    ------
    MisuseError
        If the nearest folder that is there cannot be written to, or is none.
    """
    path = _local_path(out)
    if path is None:
        return
    parent = next(each for each in path.parents if each.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise MisuseError(f"cannot write {what} {out}: {parent} is no folder that can be written to")


def check_writable_file(out: str | Path, what: str) -> None:
    """As `check_writable`, for a file: a folder in its place is an error too."""
    check_writable(out, what)
    path = _local_path(out)
    if path is not None and path.is_dir():
        raise MisuseError(f"cannot write {what} {out}: it is a folder; name a file in it")


def _local_path(out: str | Path) -> Path | None:
    return Path(storage.split(str(out))[1]).absolute() if storage.is_local(str(out)) else None
