"""The folder where a local Ray keeps its sockets."""

import os
import tempfile
from pathlib import Path

from schemas.errors import EarmarkError

_SOCKET = "ray/session_2026-01-01_00-00-00_000000_{pid}/sockets/plasma_store"
"""As long as the longest socket name that Ray creates below its folder."""
_MOST_BYTES = 107
"""Maximum length of the path of a socket."""
_SHORT = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 (Ray makes a folder of its own in it)

_NEEDED_BYTES = 4 << 20
"""The least that Ray writes to its folder."""


def ray_folder() -> str | None:
    """Return a folder for a local Ray if its default, ``TMPDIR``, is too long a path or cannot be written.

    Otherwise, return None.

    Raises
    ------
    EarmarkError
        If no folder with a short path can be written, or RAY_TMPDIR is too long or cannot be written.
    """
    variable = "RAY_TMPDIR" if os.environ.get("RAY_TMPDIR") else "TMPDIR"
    chosen = os.environ.get(variable) or _SHORT[0]
    reason = _try(chosen) if _fits(chosen) else None
    if _fits(chosen) and reason is None:
        return None
    if variable == "TMPDIR":
        for folder in _SHORT:
            if _try(folder) is None:
                return os.path.join(folder, "ray")  # noqa: PTH118
    if reason is not None:
        raise EarmarkError(
            f"cannot write to the temporary folder {chosen} ({reason}); free space there, or set {variable} "
            "to another folder"
        )
    most = _MOST_BYTES - _socket_bytes()
    raise EarmarkError(
        f"{variable} ({chosen}) is too long a path for the sockets of Ray; set RAY_TMPDIR to a path of at "
        f"most {most} characters"
    )


def _try(folder: str) -> str | None:
    """Return why Ray could not use a folder, which it creates if needed; None if it could.

    Ray itself waits half a minute in a folder that is full, and then says that something timed out.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_NEEDED_BYTES))
    except OSError as error:
        return error.strerror
    return None


def _fits(folder: str) -> bool:
    return len(os.fsencode(folder.rstrip("/"))) + _socket_bytes() <= _MOST_BYTES


def _socket_bytes() -> int:
    return len("/" + _SOCKET.format(pid=os.getpid()))
