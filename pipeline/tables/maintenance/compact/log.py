"""The journal of replacements on stores that cannot replace several objects in one step.

It says which parts become which before the first of them is written, so that whoever comes after a crash can
finish the replacement, or undo it where the merged part was never written.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.storage import storage
from pipeline.storage.parsed import read_parsed
from pipeline.tables.objects import LEFTOVER_PREFIX
from pipeline.tables.tables import Tables, is_damage
from schemas.errors import EarmarkError

FOLDER = "_compaction"
"""Folder under the root, beside the tables, for journals and for parts that are being built."""
WORKSPACE_PREFIX = "work-"
_DELETE_AT_ONCE = 200


class Journal(BaseModel):
    """Which parts of a partition one merged part replaces.

    Attributes
    ----------
    partition : str
        Folder below the root.
    merged : str or None
        Name of the merged part; None: no row is kept.
    rows : int
        Rows of the merged part.
    sources : tuple of str
        Names of the parts it replaces.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    partition: str
    merged: str | None
    rows: int
    sources: tuple[str, ...]

    def location(self, root: str) -> str:
        """Where the journal of such a replacement stands; the same for the same parts."""
        key = "\n".join((self.partition, *self.sources))
        return storage.join(root, FOLDER, f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json")


def finish(tables: Tables, journal: Journal, check: storage.Check) -> None:
    """Remove what the merged part replaces, and the journal."""
    remove(
        [storage.join(tables.root, journal.partition, name) for name in journal.sources],
        check,
    )
    storage.delete(journal.location(tables.root), check=check)


def remove(locations: Sequence[str], check: storage.Check) -> None:
    """Remove objects, several at a time; it is no error if one is gone already."""
    with ThreadPoolExecutor(16) as pool:
        for start in range(0, len(locations), _DELETE_AT_ONCE):
            check()
            list(pool.map(storage.delete, locations[start : start + _DELETE_AT_ONCE]))


def journals(tables: Tables) -> list[Journal]:
    """The journals of replacements that are under way or were killed.

    Raises
    ------
    EarmarkError
        If a journal cannot be read.
    """
    folder = storage.join(tables.root, FOLDER)
    found = []
    with storage.explain_errors(folder, "read"):
        for name in storage.list_names(folder):
            if not name.endswith(".json"):
                continue
            try:
                found.append(read_parsed(storage.join(folder, name), Journal.model_validate_json))
            except FileNotFoundError:  # its compaction ended meanwhile
                continue
            except ValidationError as error:
                raise EarmarkError(
                    f"{folder}/{name} cannot be read as a journal; upgrade Earmark if a newer one wrote it, "
                    "else move it away"
                ) from error
    return found


def recover(tables: Tables, check: storage.Check) -> int:
    """Finish or undo the replacements that were killed; the caller holds the lease.

    Returns
    -------
    int
        Replacements that were finished or undone, and folders of such that were removed.

    Raises
    ------
    EarmarkError
        If a merged part that was written is damaged, or not as its journal says; nothing is removed then.
    """
    killed = journals(tables)
    for journal in killed:
        with storage.explain_errors(storage.join(tables.root, journal.partition), "replace parts of"):
            if is_written(tables, journal):
                finish(tables, journal, check)
            else:
                storage.delete(journal.location(tables.root), check=check)
    folders: list[Path] = []
    if storage.is_local(tables.root):
        parent = Path(storage.split(tables.root)[1], FOLDER)
        folders = list(parent.glob(f"{WORKSPACE_PREFIX}*"))
        for folder in folders:
            check()
            shutil.rmtree(folder)
        for leftover in parent.glob(f"{LEFTOVER_PREFIX}*"):  # of a journal that was being written
            check()
            leftover.unlink()
        with contextlib.suppress(OSError):
            parent.rmdir()
    return len(killed) + len(folders)


def is_written(tables: Tables, journal: Journal) -> bool:
    """Whether the merged part is there, with the rows that it should have."""
    if journal.merged is None:
        return True
    location = storage.join(tables.root, journal.partition, journal.merged)
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
            f"{location}, which a killed compaction made of {len(journal.sources)} parts, is damaged "
            f"({storage.reason(error)}); if the parts that {journal.location(tables.root)} names are all "
            "there still, remove it and run again"
        ) from error
    if rows != journal.rows:
        raise EarmarkError(
            f"{location} holds {rows} rows, its journal {journal.location(tables.root)} says {journal.rows}; "
            "move the journal away when you know which parts are right"
        )
    return True
