"""The keys of the rows of the tables in a database, from which plans and the current rows are made.

The keys come from the key files (`pipeline.tables.key_files`), and from the parts that these do not hold in
their present version. So a key file that is missing, damaged or out of date changes only how long it takes.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.storage import storage
from pipeline.tables.database import Database, open_connection
from pipeline.tables.key_files import KeyFile, open_key_files
from pipeline.tables.objects import StoredObject, StoredObjects, list_objects
from pipeline.tables.parts import read_columns
from pipeline.tables.pieces import join_pieces
from pipeline.tables.tables import Tables
from schemas.tables import FAILURES, SCHEMAS

KEY_COLUMNS: dict[str, tuple[str, ...]] = {
    "tracks": ("track_id", "etag", "uri", "present", "listed_at"),
    "features": ("track_id", "etag"),
    "labels": ("track_id", "etag", "labeled_at"),
    "embeddings": ("track_id", "etag"),
    "failures": tuple(FAILURES.names),
}
"""The columns of the views; those of segments have one row a track: that of its first segment."""
OF_SEGMENTS = frozenset({"features", "embeddings"})
_ROWS_AT_ONCE = 200_000

_FRESH = "SELECT {columns}, part, row FROM fresh_{table}"
_COPIED = """\
SELECT {columns}, copied.part, keys.row
    FROM {source} AS keys
    JOIN copied_{table} AS copied ON copied.file = {file} AND copied.number = keys.part"""


def _allow() -> None:
    """Let every object be read."""


class Keys(Database):
    """The keys of the tables, as they were when their objects were listed.

    Parameters
    ----------
    stored : StoredObjects
        The objects under the root.
    connection : duckdb.DuckDBPyConnection
        A database of its own.
    scratch : Path
        A folder of its own.
    check : callable
        Called before each object is read; what it raises is raised.

    Attributes
    ----------
    files : dict
        The key files that hold parts of each loaded table, with the numbers of these parts.
    useless : dict
        Objects in the index of each loaded table that hold no part of it.
    fresh : dict
        Numbers of the parts of each loaded table that no key file holds.
    """

    def __init__(
        self,
        stored: StoredObjects,
        connection: duckdb.DuckDBPyConnection,
        scratch: Path,
        check: storage.Check,
    ) -> None:
        super().__init__(stored, connection, scratch)
        self._check = check
        self.files: dict[str, list[tuple[KeyFile, list[int]]]] = {}
        self.useless: dict[str, list[StoredObject]] = {}
        self.fresh: dict[str, list[int]] = {}

    def load(self, *tables: str) -> None:
        """Make the views of tables, unless they are there.

        Raises
        ------
        EarmarkError
            If the store refuses, or a part is damaged.
        """
        for table in tables:
            if table not in self.files:
                self._load(table)

    def _load(self, table: str) -> None:
        parts = self.stored.parts[table]
        columns = KEY_COLUMNS[table]
        found, damaged = open_key_files(self.stored, table, columns, self.scratch, self._check)
        files, copied, covered = _choose(found, parts)
        self.register(f"copied_{table}", copied)
        self.files[table] = files
        used = {file.entry for file, _ in files}
        self.useless[table] = [*damaged, *(file.entry for file in found if file.entry not in used)]
        self.fresh[table] = [number for number in range(len(parts)) if number not in covered]
        self._read_fresh(table, [parts[number] for number in self.fresh[table]])
        rows = [_FRESH.format(columns=", ".join(columns), table=table)]
        for number, (file, _) in enumerate(files):
            keys = ", ".join(f"keys.{name}" for name in columns)
            rows.append(_COPIED.format(columns=keys, source=from_file(file.path), table=table, file=number))
        self.define_view(table, rows)

    def _read_fresh(self, table: str, parts: list[StoredObject]) -> None:
        """Read the keys of the parts that no key file holds into the database."""
        schema = _fresh_schema(table)
        pieces = self._fresh_batches(table, parts, schema)
        self.fill(f"fresh_{table}", join_pieces(pieces, schema, _ROWS_AT_ONCE))

    def _fresh_batches(
        self, table: str, parts: list[StoredObject], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        locations = [self.stored.location(part) for part in parts]
        wanted = [*KEY_COLUMNS[table], *(("segment",) if table in OF_SEGMENTS else ())]
        read = read_columns(self.stored.tables, table, locations, wanted)
        for number, rows in zip(self.fresh[table], read, strict=True):
            self._check()
            placed = with_places(rows, number)
            if table in OF_SEGMENTS:
                placed = placed.filter(pc.equal(placed["segment"], 0))
            yield from placed.select(schema.names).cast(schema).to_batches()


def _fresh_schema(table: str) -> pa.Schema:
    fields = [SCHEMAS[table].field(name).remove_metadata() for name in KEY_COLUMNS[table]]
    return pa.schema([*fields, ("part", pa.int32()), ("row", pa.int32())])


def with_places(rows: pa.Table, part: int) -> pa.Table:
    """Add to all rows of a part its number, and theirs in it."""
    rows = rows.append_column("part", pa.repeat(pa.scalar(part, pa.int32()), rows.num_rows))
    return rows.append_column("row", pa.array(np.arange(rows.num_rows, dtype=np.int32)))


def _choose(
    found: list[KeyFile], parts: list[StoredObject]
) -> tuple[list[tuple[KeyFile, list[int]]], pa.Table, set[int]]:
    """Choose for each part, in its present version, one key file that holds it.

    Returns
    -------
    files : list of (KeyFile, list of int)
        The files that are needed, with the numbers of their parts.
    copied : pyarrow.Table
        ``file`` (number in `files`), ``number`` (of the part in the file) and ``part``.
    covered : set of int
        The parts that some file holds.
    """
    number_of = {(part.path, part.version): number for number, part in enumerate(parts)}
    files: list[tuple[KeyFile, list[int]]] = []
    rows: list[tuple[int, int, int]] = []
    covered: set[int] = set()
    numbered = [(file, [number_of.get(named, -1) for named in file.parts]) for file in found]
    # Those of most parts that are there first; of two such files, the one that has less of other parts.
    numbered.sort(key=lambda pair: (-sum(part >= 0 for part in pair[1]), pair[0].n_rows, len(pair[1])))
    for file, numbers in numbered:
        pairs = [(at, part) for at, part in enumerate(numbers) if part >= 0 and part not in covered]
        if pairs:
            rows += [(len(files), at, part) for at, part in pairs]
            files.append((file, [part for _, part in pairs]))
            covered.update(part for _, part in pairs)
    columns = np.array(rows, np.int32).reshape(-1, 3).T
    return (
        files,
        pa.table(dict(zip(("file", "number", "part"), map(pa.array, columns), strict=True))),
        covered,
    )


def from_file(path: Path) -> str:
    """Return what SQL writes after ``FROM`` for the rows of a key file.

    Folders above it whose names look like those of partitions give no columns.
    """
    quoted = str(path).replace("'", "''")
    return f"read_parquet('{quoted}', hive_partitioning = false)"


@contextlib.contextmanager
def open_keys(tables: Tables, check: storage.Check = _allow) -> Iterator[Keys]:
    """List the tables and open the database of their keys for a ``with`` block.

    Parameters
    ----------
    tables : Tables
        The tables. Their parts must stay while the block lasts.
    check : callable
        Called before each object is read; what it raises is raised.

    Raises
    ------
    EarmarkError
        If the store refuses.
    """
    with open_stored_keys(list_objects(tables), check) as keys:
        yield keys


@contextlib.contextmanager
def open_stored_keys(stored: StoredObjects, check: storage.Check = _allow) -> Iterator[Keys]:
    """Open the database of the keys of listed tables, or of some of their parts, for a ``with`` block."""
    with open_connection() as (connection, scratch):
        yield Keys(stored, connection, scratch, check)
