"""The folder where a local Ray keeps its sockets."""

import os
import tempfile

from schemas.errors import EarmarkError

_SOCKET = "ray/session_2026-01-01_00-00-00_000000_{pid}/sockets/plasma_store"
"""As long as the longest socket name that Ray creates below its folder."""
_MOST_BYTES = 107
"""Maximum length of the path of a socket."""
_SHORT = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 (Ray makes a folder of its own in it)


def ray_folder() -> str | None:
    """Return a folder for a local Ray if its default, ``TMPDIR``, is too long a path; None otherwise.

    Raises
    ------
    EarmarkError
        If no folder with a short path is writable, or RAY_TMPDIR is too long.
    """
    chosen = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or tempfile.gettempdir()
    if _fits(chosen):
        return None
    if not os.environ.get("RAY_TMPDIR"):
        for folder in _SHORT:
            if os.access(folder, os.W_OK | os.X_OK):
                return os.path.join(folder, "ray")  # noqa: PTH118
    variable = "RAY_TMPDIR" if os.environ.get("RAY_TMPDIR") else "TMPDIR"
    most = _MOST_BYTES - _socket_bytes()
    raise EarmarkError(
        f"{variable} ({chosen}) is too long a path for the sockets of Ray; set RAY_TMPDIR to a path of at "
        f"most {most} characters"
    )


def _fits(folder: str) -> bool:
    return len(os.fsencode(folder.rstrip("/"))) + _socket_bytes() <= _MOST_BYTES


def _socket_bytes() -> int:
    return len("/" + _SOCKET.format(pid=os.getpid()))
