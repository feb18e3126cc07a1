"""Which files of a catalog are tracks, and how many of each kind are left out."""

import re
from collections import Counter

from pipeline.audio.decode.formats import AUDIO_EXTENSIONS
from schemas.report import LeftOut

_SYSTEM_FOLDERS = {
    name.lower(): name
    for name in (
        *("@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", ".@__thumb", ".thumbnails"),
        *("$RECYCLE.BIN", "System Volume Information"),
        *("__MACOSX", ".Trash", ".Trashes", ".Spotlight-V100", ".fseventsd", ".DocumentRevisions-V100"),
        *(".TemporaryItems", ".AppleDouble", ".AppleDB", ".AppleDesktop", "Network Trash Folder"),
        *(".stfolder", ".stversions", ".sync", ".dropbox.cache", ".git", ".hg", ".svn"),
        *(".snapshot", ".snapshots", ".zfs"),
    )
}
"""Folders filled by systems, not people: indexes, recycle bins, older versions of the files beside them."""
_TRASH = ".Trash-"
_LOST_AND_FOUND = "lost+found"
"""Only in lower case: "Lost+Found" is an album in buckets whose keys have a plus for a space."""
SNAPSHOTS = frozenset({"#snapshot", "@Recently-Snapshot", ".snapshot", ".snapshots", ".zfs"})
"""Folders that may contain the whole catalog many times over."""

_SYSTEM_FILES = (
    (re.compile(r"\._"), "._*"),
    (re.compile(r"\.DS_Store\Z"), ".DS_Store"),
    (re.compile(r"\.tmp-[0-9a-f]{32}(\.|\Z)"), ".tmp-*"),
)
"""Files that are never music, whatever their extension: AppleDouble, Finder's, Earmark's temporary files."""
_EXTENSION = re.compile(r"[a-z0-9][a-z0-9_+~-]{0,9}")
_MAX_EXTENSIONS = 500
NO_EXTENSION, OTHER = "no extension", "other"


def extension_of(name: str) -> str:
    """Return the extension of a name or location, in lower case and without the dot; "" if it has none.

    Trailing dots and spaces, which some systems drop and others keep, do not count: ``a.mp3.`` is an mp3.
    """
    _, dot, extension = name.rpartition(".")
    if not extension or extension[-1] == " ":
        _, dot, extension = name.rstrip(". ").rpartition(".")
    return extension.lower() if dot and "/" not in extension else ""


def is_audio_name(name: str) -> bool:
    """Whether the extension is that of an audio format."""
    return extension_of(name) in AUDIO_EXTENSIONS


def system_folder(name: str) -> str | None:
    """Return the usual spelling of a system folder's name; None for other names."""
    if name == _LOST_AND_FOUND:
        return name
    if name.startswith(_TRASH):
        return f"{_TRASH}*"
    return _SYSTEM_FOLDERS.get(name.lower())


def is_left_by_system(name: str) -> bool:
    """Whether a file or folder of this name is what systems keep beside a user's files."""
    return system_folder(name) is not None or any(pattern.match(name) for pattern, _ in _SYSTEM_FILES)


class Selection:
    """Selects the files that are tracks, and counts the others by kind.

    Memory does not grow with the catalog: beyond some hundred extensions, the others are counted together.
    """

    def __init__(self) -> None:
        self._not_audio: Counter[str] = Counter()
        self._system: Counter[str] = Counter()
        self._kind_of: dict[str, str | None] = {}

    def takes(self, name: str) -> bool:
        """Whether a file name (without folders) is a track's; if not, count it as left out."""
        if name[:1] == ".":
            for pattern, kind in _SYSTEM_FILES:
                if pattern.match(name):
                    self._system[kind] += 1
                    return False
        extension = extension_of(name)
        if extension in AUDIO_EXTENSIONS:
            return True
        if not _EXTENSION.fullmatch(extension):
            extension = NO_EXTENSION
        elif extension not in self._not_audio and len(self._not_audio) >= _MAX_EXTENSIONS:
            extension = OTHER
        self._not_audio[extension] += 1
        return False

    def takes_key(self, relative: str) -> bool:
        """Decide as `takes` does, for the path of an object below the catalog's root."""
        folder, _, name = relative.rpartition("/")
        if folder not in self._kind_of:
            # Stores list a folder's objects together, so remembering the last folder is enough.
            kinds = (system_folder(part) for part in folder.split("/"))
            self._kind_of = {folder: next((kind for kind in kinds if kind), None)}
        kind = self._kind_of[folder]
        if kind is None:
            return self.takes(name)
        self._system[kind] += 1
        return False

    def leave_out(self, kind: str, n: int) -> None:
        """Count `n` files in system folders as left out."""
        if n:
            self._system[kind] += n

    @property
    def left_out(self) -> LeftOut:
        """The files left out so far, the most frequent kinds first."""
        return LeftOut(not_audio=dict(self._not_audio.most_common()), system=dict(self._system.most_common()))
