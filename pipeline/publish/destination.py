"""Where labels are published: what a destination does, and the checks before one is written to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa

from pipeline.catalogs.catalog import canonical
from pipeline.catalogs.selection import is_left_by_system
from pipeline.storage import storage
from pipeline.storage.output_checks import check_writable
from pipeline.storage.retry import with_retries
from pipeline.tables.objects import LEFTOVER_PREFIX
from schemas.errors import MisuseError

Format = Literal["delta", "parquet"]
SCRATCH_PREFIX = "earmark-publish-"
"""Of the names of folders for temporary files."""


@dataclass(frozen=True, slots=True)
class Source:
    """What is published; recorded with every version.

    Attributes
    ----------
    tables : str
        Root of the tables.
    model : str
        The model's name with its hash.
    run : str
        The last run that had written to the tables.
    genres : tuple of str
        The model's genres, in the order of ``probabilities``.
    """

    tables: str
    model: str
    run: str
    genres: tuple[str, ...]


class Destination(Protocol):
    """A published table, as it was when it was opened."""

    @property
    def columns(self) -> Sequence[str] | None:
        """Its columns; None if nothing is published yet."""

    def read(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield columns of its rows."""

    def replace(self, rows: pa.RecordBatchReader, source: Source) -> int | None:
        """Replace all rows at once; return the number of the new version, if versions have numbers."""


def check_destination(destination: str, tables: str, catalog: str) -> str:
    """Check where a destination is, and return it in canonical form.

    Parameters
    ----------
    destination : str
        Folder or prefix.
    tables : str
        Root of the tables.
    catalog : str
        The catalog of the tables.

    Raises
    ------
    MisuseError
        If it is inside the tables or the catalog, or holds one of them, or cannot be written.
    """
    location = canonical(destination)
    for what, other in (("tables", tables), ("catalog", catalog)):
        if storage.contains(other, location) or storage.contains(location, other):
            raise MisuseError(
                f"cannot publish to {destination}: it overlaps the {what} {other}; choose a folder "
                "outside of them"
            )
    check_writable(f"{location}/labels", "the published labels in")
    return location


def list_entries(location: str) -> list[str]:
    """Return the names directly in a folder, also of folders, without leftovers of killed writers.

    What systems leave in folders, such as ``.DS_Store`` or ``lost+found``, does not count.

    Raises
    ------
    StoreError
        If the store refuses.
    """
    protocol, path = storage.split(location)
    with storage.explain_errors(location, "list"):
        try:
            if protocol == "file":
                names = [entry.name for entry in Path(path).iterdir()]
            else:
                found = with_retries(lambda: storage.filesystem(protocol).ls(path, detail=False))
                names = [name.removeprefix(path).strip("/").partition("/")[0] for name in found]
        except FileNotFoundError:
            return []
    names = [name for name in names if name and not is_left_by_system(name)]
    return sorted(name for name in names if not name.startswith(LEFTOVER_PREFIX))


def refuse_foreign(location: str, form: Format, reason: str) -> MisuseError:
    """Return the error for a destination that holds something else."""
    return MisuseError(f"cannot publish to {location} as {form}: {reason}; choose an empty folder")
