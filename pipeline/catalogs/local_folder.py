"""A local folder as a catalog."""

import contextlib
import errno
import heapq
import os
from collections.abc import Iterator

from pipeline.catalogs.selection import SNAPSHOTS, Selection, system_folder
from pipeline.catalogs.track_refs import local_track, track_id_of
from pipeline.storage import storage
from schemas.errors import EarmarkError
from schemas.tracks import TrackRef

_VISIBLE_LINK, _HIDDEN, _HIDDEN_LINK = range(3)
_NO_FOLDER = {errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR}
"""Errors of links that lead to no folder, or to where nobody may look, such as a link to itself."""


def list_local_folder(root: str, selection: Selection) -> Iterator[TrackRef]:
    """Yield the tracks below a folder, sorted by path.

    Parameters
    ----------
    root : str
        An absolute path.
    selection : Selection
        Decides which files are tracks, and counts the others.

    Raises
    ------
    EarmarkError
        If a folder cannot be read, or the disk fails at a file: skipping it would look as if it were gone.
    """
    below = len(root.rstrip("/")) + 1
    for path in sorted(_Walk(selection).files(root)):
        try:
            track = local_track(path, storage.local_uri(path), track_id_of(path[below:]))
        except OSError:  # caught only here: a context for each of a million files takes seconds
            with storage.explain_errors(path, "look at"):
                raise
        yield track


class _Walk:
    """Walk a folder, following links and entering each real folder once.

    The order decides which path, and so which id, a track has if several lead to it. Real folders come first,
    then links in the order of their names: neither a new link nor the order of directory entries changes a
    track's path. Folders whose names begin with a dot come last, because earlier releases never entered them:
    a track that was listed through a link into one keeps its path.
    """

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._seen: set[tuple[int, int]] = set()
        self._waiting: list[tuple[int, str]] = []

    def files(self, root: str) -> Iterator[str]:
        """Yield the paths of the audio files below a folder, in no particular order."""
        heapq.heappush(self._waiting, (_VISIBLE_LINK, root))
        while self._waiting:
            tier, folder = heapq.heappop(self._waiting)
            yield from self._real_files(folder, hidden=tier != _VISIBLE_LINK)

    def _real_files(self, folder: str, *, hidden: bool) -> Iterator[str]:
        folders = [folder]
        while folders:
            folder = folders.pop()
            with _explain_unreadable(folder):
                for entry in self._new_entries(folder):
                    if _is_folder(entry):
                        if self._is_entered(entry, hidden=hidden):
                            folders.append(entry.path)
                    elif self._selection.takes(entry.name):
                        yield entry.path

    def _new_entries(self, folder: str) -> "Iterator[os.DirEntry[str]]":
        """Yield what is in a folder; nothing if it was entered before."""
        if self._is_new(folder):
            with os.scandir(folder) as entries:
                yield from entries

    def _is_new(self, folder: str) -> bool:
        status = os.stat(folder)  # noqa: PTH116 (a million Path objects take seconds)
        if (status.st_dev, status.st_ino) in self._seen:
            return False
        self._seen.add((status.st_dev, status.st_ino))
        return True

    def _is_entered(self, entry: "os.DirEntry[str]", *, hidden: bool) -> bool:
        """Whether to enter a subfolder now; if not, it is pushed to the heap or left out."""
        if kind := system_folder(entry.name):
            self._leave_out(entry, kind)
            return False
        if entry.is_symlink():
            tier = _HIDDEN_LINK if hidden or entry.name.startswith(".") else _VISIBLE_LINK
            heapq.heappush(self._waiting, (tier, entry.path))
            return False
        if entry.name.startswith(".") and not hidden:
            heapq.heappush(self._waiting, (_HIDDEN, entry.path))
            return False
        return True

    def _leave_out(self, entry: "os.DirEntry[str]", kind: str) -> None:
        """Count the files below a system folder, as far as it is readable."""
        if kind in SNAPSHOTS or entry.is_symlink():
            self._selection.leave_out(f"{kind} (not opened)", 1)
            return
        self._selection.leave_out(kind, _count_files(entry.path))


@contextlib.contextmanager
def _explain_unreadable(folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EarmarkError(
            f"cannot list {folder}: {error.strerror}; nothing was done; make it readable, then retry"
        ) from error


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno in _NO_FOLDER:  # with an audio name, it becomes a track that cannot be read
            return False
        raise  # a link to a mount whose server is away: without the folder, its tracks would seem to be gone


def _count_files(folder: str) -> int:
    """Count the files below a folder, skipping subfolders that cannot be read."""
    n, folders = 0, [folder]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        n += 1
        except OSError:
            continue
    return n
