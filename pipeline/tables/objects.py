"""The objects stored under the root of the tables, divided into parts and everything else."""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from pipeline.storage import storage
from pipeline.storage.file_versions import etag_of, file_stat
from pipeline.storage.retry import with_retries
from pipeline.tables.tables import Tables
from schemas.tables import PARTITIONS

LEFTOVER_PREFIX = ".tmp-"
"""Prefix of the temporary files that a killed writer leaves behind on a local disk."""
_DELETE_BATCH = 200


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object under the root.

    Attributes
    ----------
    path : str
        Path below the root, with ``/`` as separator.
    size : int
        Size in bytes.
    modified_at : float
        Seconds since the epoch.
    version : str
        Changes whenever the object is written again; see `pipeline.storage.file_versions`.
    """

    path: str
    size: int
    modified_at: float
    version: str = ""

    @property
    def name(self) -> str:
        """The last component of the path."""
        return self.path.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """The path without its last component."""
        return self.path.rpartition("/")[0]

    @property
    def hidden(self) -> bool:
        """Whether Parquet readers skip it because a component of the path starts with ``.`` or ``_``."""
        return any(piece.startswith((".", "_")) for piece in self.path.split("/"))


@dataclass(frozen=True)
class StoredObjects:
    """The objects under the root of the tables at the time they were listed.

    Attributes
    ----------
    tables : Tables
        The tables.
    objects : tuple of StoredObject
        All objects, sorted by path.
    """

    tables: Tables
    objects: tuple[StoredObject, ...]

    @cached_property
    def parts(self) -> dict[str, list[StoredObject]]:
        """The parts of each table, recognized by their paths."""
        parts: dict[str, list[StoredObject]] = {table: [] for table in PARTITIONS}
        for entry in self.objects:
            if _is_part(entry):
                parts[entry.path.partition("/")[0]].append(entry)
        return parts

    @cached_property
    def strays(self) -> list[StoredObject]:
        """Objects in the folders of the tables that are not parts."""
        return [
            entry
            for entry in self.objects
            if entry.path.partition("/")[0] in PARTITIONS and not _is_part(entry)
        ]

    def below(self, folder: str) -> list[StoredObject]:
        """Return the objects below a folder of the root, such as ``_runs``."""
        return [entry for entry in self.objects if entry.path.startswith(f"{folder}/")]

    def location(self, entry: StoredObject) -> str:
        """Return the path or URI of an object."""
        return storage.join(self.tables.root, entry.path)


def list_objects(tables: Tables) -> StoredObjects:
    """List all objects under the root.

    Raises
    ------
    EarmarkError
        If the store refuses.
    """
    protocol, root = storage.split(tables.root)
    with storage.explain_errors(tables.root, "list"):
        found = _list_local(root) if protocol == "file" else _list_remote(protocol, root)
        return StoredObjects(tables, tuple(sorted(found, key=lambda entry: entry.path)))


def _list_local(root: str) -> Iterable[StoredObject]:
    entered = {_identity(root)}
    # Readers follow links too: somebody may have moved a table to another disk and left a link.
    for folder, folders, names in os.walk(root, onerror=_raise_unless_gone, followlinks=True):
        linked = [name for name in folders if Path(folder, name).is_symlink()]
        folders[:] = [name for name in folders if name not in linked]
        entered |= {_identity(str(Path(folder, name))) for name in folders}
        for name in linked:  # each once: it may lead to where the walk has been
            if (target := _identity(str(Path(folder, name)))) not in entered:
                entered.add(target)
                folders.append(name)
        below = Path(folder).relative_to(root).as_posix()
        prefix = "" if below == "." else f"{below}/"
        for name, status in _stat_files(folder, names).items():
            yield StoredObject(prefix + name, status.st_size, status.st_mtime, etag_of(status))


def _identity(folder: str) -> tuple[int, int] | None:
    """Return what tells a folder from all others, by whatever path; None if it is gone."""
    try:
        status = os.stat(folder)  # noqa: PTH116
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _stat_files(folder: str, names: list[str]) -> dict[str, os.stat_result]:
    """Stat the files of a folder; begin again if one vanished: a compaction may have replaced others too."""
    found: dict[str, os.stat_result] = {}
    for name in names:
        path = os.path.join(folder, name)  # noqa: PTH118  (a Path for each of many parts takes seconds)
        try:
            found[name] = os.stat(path)  # noqa: PTH116
        except FileNotFoundError:
            if name.startswith(LEFTOVER_PREFIX) or Path(path).is_symlink():  # one that leads nowhere
                continue
            try:
                names = [path.name for path in Path(folder).iterdir() if not path.is_dir()]
            except FileNotFoundError:
                return {}
            return _stat_files(folder, names)
    return found


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _list_remote(protocol: str, root: str) -> Iterable[StoredObject]:
    found = with_retries(lambda: storage.filesystem(protocol).find(root, detail=True))
    for name, info in found.items():
        size, version, modified_at = file_stat(info)
        yield StoredObject(name.removeprefix(root).lstrip("/"), size, modified_at, version)


def partition_values(entry: StoredObject) -> dict[str, str]:
    """Parse the partition values in an object's path, by column."""
    pieces = entry.path.split("/")[1:-1]
    return {name: value for name, separator, value in (piece.partition("=") for piece in pieces) if separator}


def _is_part(entry: StoredObject) -> bool:
    pieces = entry.path.split("/")
    columns = PARTITIONS.get(pieces[0])
    if columns is None or entry.hidden or not entry.name.endswith(".parquet"):
        return False
    return len(pieces) == len(columns) + 2 and tuple(partition_values(entry)) == columns


def group_by_partition(parts: Iterable[StoredObject]) -> dict[str, list[StoredObject]]:
    """Group parts by the folder of their partition, sorted by path."""
    found: dict[str, list[StoredObject]] = defaultdict(list)
    for part in sorted(parts, key=lambda part: part.path):
        found[part.folder].append(part)
    return dict(found)


def days_ago(days: float) -> float:
    """Return the time `days` days ago in seconds since the epoch, never before the epoch itself."""
    return max(0.0, datetime.now(UTC).timestamp() - days * 86400)


@dataclass(frozen=True, slots=True)
class ChosenParts(Tables):
    """A view of the tables that is limited to some of their parts.

    Attributes
    ----------
    chosen : dict
        The parts by table.
    """

    chosen: dict[str, list[StoredObject]]

    def _source(self, table: str, path: str) -> list[str] | None:
        folder = path.removesuffix(table)
        return [f"{folder}{part.path}" for part in self.chosen.get(table, ())] or None


def remove_objects(locations: Sequence[str], check: storage.Check) -> None:
    """Remove objects, several at a time. Objects that are already gone are ignored."""
    with ThreadPoolExecutor(16) as pool:
        for start in range(0, len(locations), _DELETE_BATCH):
            check()
            list(pool.map(storage.delete, locations[start : start + _DELETE_BATCH]))
