"""Key files: copies of the keys of many parts in one Parquet file, in ``_index/`` beside the tables.

They are a cache: each names the parts that it copies and their versions, and its own name holds its checksum.
What is damaged, out of date or of another format is ignored, and the parts are read instead. Readers of the
tables skip the folder, because its name begins with ``_``.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.log import get_logger
from pipeline.storage import storage
from pipeline.tables.objects import StoredObject, StoredObjects
from schemas.versions import Stored

log = get_logger(__name__)

INDEX_FOLDER = "_index"
FORMAT = 1
"""Raised whenever the columns or the meaning of key files change: others are then ignored, and replaced."""
_NAME = re.compile(r"([0-9a-f]{32})\.parquet")
_KEY = b"earmark"


class _Header(Stored):
    """What a key file says of itself in its metadata."""

    format: int
    table: str
    parts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A sound key file, on a local disk.

    Attributes
    ----------
    entry : StoredObject
        The object.
    path : Path
        Where it, or a copy of it, can be read.
    parts : tuple of (str, str)
        Path below the root, and version, of each part that it copies; its column ``part`` counts them.
    n_rows : int
        Its rows.
    """

    entry: StoredObject
    path: Path
    parts: tuple[tuple[str, str], ...]
    n_rows: int


def open_key_files(
    stored: StoredObjects, table: str, columns: Sequence[str], scratch: Path, check: storage.Check
) -> tuple[list[KeyFile], list[StoredObject]]:
    """Open the key files of a table, those of most parts first.

    Parameters
    ----------
    stored : StoredObjects
        The objects under the root.
    table : str
        The table.
    columns : sequence of str
        Columns that they must have.
    scratch : Path
        Folder for local copies of files in a store.
    check : callable
        Called before each file is read; what it raises is raised.

    Returns
    -------
    files : list of KeyFile
        The sound ones.
    damaged : list of StoredObject
        The others. Files that cannot be read just now are in neither list.
    """
    files: list[KeyFile] = []
    damaged: list[StoredObject] = []
    for entry in stored.below(f"{INDEX_FOLDER}/{table}"):
        check()
        try:
            path = _fetch(stored, entry, scratch)
        except Exception as error:  # a cache that cannot be read is no reason to fail
            log.warning("key file ignored", file=entry.path, error=error)
            continue
        found = None if path is None else _parse(entry, path, table, columns)
        if found is None:
            log.warning("key file ignored", file=entry.path, error="it is damaged or of another version")
            damaged.append(entry)
        else:
            files.append(found)
    files.sort(key=lambda file: (-len(file.parts), file.entry.path))
    return files, damaged


def _fetch(stored: StoredObjects, entry: StoredObject, scratch: Path) -> Path | None:
    """Return a local path of an object; None if its content does not match the checksum in its name."""
    named = _NAME.fullmatch(entry.name)
    location = stored.location(entry)
    if named is None:
        return None
    path = scratch / entry.name
    if storage.is_local(location):
        _link_or_copy(Path(storage.split(location)[1]), path)  # a run may remove it at any time
    else:
        path.write_bytes(storage.read_bytes(location))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return path if digest.startswith(named[1]) else None


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def _parse(entry: StoredObject, path: Path, table: str, columns: Sequence[str]) -> KeyFile | None:
    try:
        metadata = pq.read_metadata(path)
        header = _Header.model_validate_json((metadata.metadata or {})[_KEY])
    except (pa.ArrowException, OSError, KeyError, ValueError):
        return None
    names = set(metadata.schema.to_arrow_schema().names)
    if header.format != FORMAT or header.table != table or not names >= {*columns, "part", "row"}:
        return None
    return KeyFile(entry, path, header.parts, metadata.num_rows)


def write_key_file(
    stored: StoredObjects,
    table: str,
    parts: Sequence[StoredObject],
    rows: pa.RecordBatchReader,
    scratch: Path,
    check: storage.Check,
) -> None:
    """Write a key file.

    Parameters
    ----------
    stored : StoredObjects
        The objects under the root.
    table : str
        The table.
    parts : sequence of StoredObject
        The parts that it copies.
    rows : pyarrow.RecordBatchReader
        Their keys, with the number of the part in `parts` and the row in the part.
    scratch : Path
        Folder to make the file in.
    check : callable
        Called before the write; raises if this run may no longer write.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    header = {"format": FORMAT, "table": table, "parts": [[part.path, part.version] for part in parts]}
    schema = rows.schema.with_metadata({_KEY: json.dumps(header)})
    path = scratch / "new.parquet"
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in rows:
            writer.write_batch(batch)
    data = path.read_bytes()
    name = f"{hashlib.sha256(data).hexdigest()[:32]}.parquet"
    location = storage.join(stored.tables.root, INDEX_FOLDER, table, name)
    storage.write_bytes(location, data, check=check)
