"""What is at a local path, for paths that users name."""

import errno
import os
import stat
from pathlib import Path
from typing import Literal

from pipeline.storage.errors import explain_errors

LocalKind = Literal["folder", "file", "other"]
"""``other`` is a pipe, a socket or a device."""


def local_kind(path: str | Path) -> LocalKind | None:
    """Return what is at a path; None if nothing is.

    `Path.exists` and its like raise errors of the system for a folder that may not be entered.

    Raises
    ------
    StoreError
        If that cannot be known, since a folder may not be entered or the name is too long.
    """
    with explain_errors(str(path), "look at"):
        try:
            mode = os.stat(path).st_mode  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                return None
            raise
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "other"
