"""The compaction log, for stores that cannot replace several objects in one step.

An entry records which parts a merged part replaces before that part is written. After a crash, the next
command can therefore finish the replacement, or undo it if the merged part was never written.
"""

import contextlib
import hashlib
import shutil
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
from pydantic import Field, ValidationError

from pipeline.storage import storage
from pipeline.storage.read_and_parse import read_and_parse
from pipeline.tables.objects import LEFTOVER_PREFIX, remove_objects
from pipeline.tables.tables import Tables, is_damage
from schemas.errors import EarmarkError
from schemas.versions import Stored

LOG_FOLDER = "_compaction"
"""Folder under the root, next to the tables, for log entries and parts that are being built."""
SCRATCH_PREFIX = "work-"
# Tables come from others too: a name with `..` would have files elsewhere removed.
_Partition = Annotated[str, Field(pattern=r"^[a-z_]+(/[a-z_]+=[^/]*)+$")]
_PartName = Annotated[str, Field(pattern=r"^[^/]+$")]


class LogEntry(Stored):
    """The parts of a partition that one merged part replaces.

    Attributes
    ----------
    partition : str
        Folder of the partition, below the root.
    merged : str or None
        Name of the merged part; None if no row is kept.
    rows : int
        Rows in the merged part.
    sources : tuple of str
        Names of the parts that it replaces.
    """

    partition: _Partition
    merged: _PartName | None
    rows: int
    sources: tuple[_PartName, ...]

    def location(self, root: str) -> str:
        """Return the location of the entry, which depends only on the parts to replace."""
        key = "\n".join((self.partition, *self.sources))
        return storage.join(root, LOG_FOLDER, f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json")


def finish_replacement(tables: Tables, entry: LogEntry, check: storage.Check) -> None:
    """Remove the parts that the merged part replaces, then the log entry."""
    remove_objects([storage.join(tables.root, entry.partition, name) for name in entry.sources], check)
    storage.delete(entry.location(tables.root), check=check)


def read_log(tables: Tables) -> list[LogEntry]:
    """Read the entries of replacements that are in progress or were killed.

    Raises
    ------
    EarmarkError
        If an entry cannot be read.
    """
    folder = storage.join(tables.root, LOG_FOLDER)
    entries = []
    with storage.explain_errors(folder, "read"):
        for name in storage.list_names(folder):
            if not name.endswith(".json"):
                continue
            try:
                entries.append(read_and_parse(storage.join(folder, name), LogEntry.model_validate_json))
            except FileNotFoundError:  # the compaction finished after the folder was listed
                continue
            except ValidationError as error:
                raise EarmarkError(
                    f"{folder}/{name} is not a valid entry of the compaction log; upgrade Earmark if a newer "
                    "version wrote it, otherwise move it out of the folder"
                ) from error
    return entries


def recover_compactions(tables: Tables, check: storage.Check) -> int:
    """Finish or undo the replacements of killed compactions. The caller holds the lease.

    Returns
    -------
    int
        Number of replacements finished or undone, plus scratch folders removed.

    Raises
    ------
    EarmarkError
        If a merged part is damaged or does not match its log entry, whose sources are not removed then, or if
        the store or the disk refuses.
    """
    killed = read_log(tables)
    for entry in killed:
        with storage.explain_errors(storage.join(tables.root, entry.partition), "replace parts of"):
            if is_written(tables, entry):
                finish_replacement(tables, entry, check)
            else:
                storage.delete(entry.location(tables.root), check=check)
    folders: list[Path] = []
    if storage.is_local(tables.root):
        parent = Path(storage.split(tables.root)[1], LOG_FOLDER)
        with storage.explain_errors(str(parent), "remove what a killed compaction left in"):
            folders = list(parent.glob(f"{SCRATCH_PREFIX}*"))
            for folder in folders:
                check()
                shutil.rmtree(folder)
            for leftover in parent.glob(f"{LEFTOVER_PREFIX}*"):  # of an entry that was being written
                check()
                leftover.unlink()
        with contextlib.suppress(OSError):
            parent.rmdir()
    return len(killed) + len(folders)


def take_back(tables: Tables, entry: LogEntry, merged: str) -> None:
    """Remove a merged part that was written after another run had taken over and undone the replacement.

    It stays if the next command will finish the replacement, or if one of the parts that it replaces is gone:
    its rows may then be nowhere else.

    Parameters
    ----------
    tables : Tables
        The tables.
    entry : LogEntry
        The replacement.
    merged : str
        Location of the merged part.
    """
    folder = storage.join(tables.root, entry.partition)

    def check() -> None:
        are_kept = set(entry.sources) <= set(storage.list_names(folder))
        if not are_kept or storage.exists(entry.location(tables.root)):
            raise EarmarkError(f"{merged} has replaced other parts, or is about to")

    with contextlib.suppress(EarmarkError):
        storage.delete(merged, check=check)


def is_written(tables: Tables, entry: LogEntry) -> bool:
    """Return whether the merged part exists.

    Raises
    ------
    EarmarkError
        If it is damaged, or does not have the rows that the entry records.
    """
    if entry.merged is None:
        return True
    location = storage.join(tables.root, entry.partition, entry.merged)
    protocol, path = storage.split(location)
    if not storage.exists(location):
        return False
    try:
        with storage.filesystem(protocol).open(path, "rb") as file:
            rows = pq.read_metadata(file).num_rows
    except Exception as error:
        if not is_damage(error):
            raise
        raise EarmarkError(
            f"{location}, which a killed compaction merged from {len(entry.sources)} parts, is damaged "
            f"({storage.reason(error)}); if all the parts listed in {entry.location(tables.root)} still "
            "exist, delete it and run again"
        ) from error
    if rows != entry.rows:
        raise EarmarkError(
            f"{location} has {rows} rows, but its compaction log entry {entry.location(tables.root)} says "
            f"{entry.rows}; find out which parts are right, then move the entry out of the folder"
        )
    return True
