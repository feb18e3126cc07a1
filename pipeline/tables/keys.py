"""The keys of the rows of the tables in a DuckDB database, which joins and sorts more than fits in memory.

Each table is a view of its key columns, the partition columns, and

    part      number of the part in order of its path; the table ``parts_<table>`` has its location
    row       number of the row in the part
    recency   orders rows by time, then by part and row; the greatest of a key is its newest row

The keys come from the key files (`pipeline.tables.key_files`), and from the parts that these do not hold in
their present version. So a key file that is missing, damaged or out of date changes only how long it takes.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.tables.key_files import KeyFile, open_key_files
from pipeline.tables.objects import StoredObject, StoredObjects, list_objects, partition_values
from pipeline.tables.parts import read_columns
from pipeline.tables.tables import Tables
from schemas.errors import EarmarkError
from schemas.tables import FAILURES, PARTITIONS, SCHEMAS

MEMORY_MB = 512
"""Memory that DuckDB may take before it spills to the disk."""
_THREADS = 4
"""Of DuckDB's, each of which needs a share of the memory."""
KEY_COLUMNS: dict[str, tuple[str, ...]] = {
    "tracks": ("track_id", "etag", "uri", "present", "listed_at"),
    "features": ("track_id", "etag"),
    "labels": ("track_id", "etag", "labeled_at"),
    "embeddings": ("track_id", "etag"),
    "failures": tuple(FAILURES.names),
}
"""The columns of the views; those of segments have one row a track: that of its first segment."""
_OF_SEGMENTS = frozenset({"features", "embeddings"})
_TIMES = {"tracks": "listed_at", "labels": "labeled_at", "failures": "failed_at"}
_PARTS_AT_ONCE = 64

_VIEW = """\
CREATE VIEW {table} AS
SELECT keys.*, {partitions}, {recency} AS recency
FROM (
    {rows}
) AS keys
JOIN parts_{table} AS parts USING (part)
"""
_FRESH = "SELECT {columns}, part, row FROM fresh_{table}"
_COPIED = """\
SELECT {columns}, copied.part, keys.row
    FROM read_parquet({path}) AS keys
    JOIN copied_{table} AS copied ON copied.file = {file} AND copied.number = keys.part"""
_RECENCY = "(epoch_us({time})::HUGEINT << 48) + (part::HUGEINT << 24) + row"


class Keys:
    """The keys of the tables, as they were when their objects were listed.

    Parameters
    ----------
    stored : StoredObjects
        The objects under the root.
    connection : duckdb.DuckDBPyConnection
        A database of its own.
    scratch : Path
        A folder of its own.

    Attributes
    ----------
    stored : StoredObjects
        The objects under the root.
    scratch : Path
        The folder.
    files : dict
        The key files that hold parts of each loaded table, with the numbers of these parts.
    useless : dict
        Objects in the index of each loaded table that hold no part of it.
    fresh : dict
        Numbers of the parts of each loaded table that no key file holds.
    """

    def __init__(self, stored: StoredObjects, connection: duckdb.DuckDBPyConnection, scratch: Path) -> None:
        self.stored = stored
        self.scratch = scratch
        self.files: dict[str, list[tuple[KeyFile, list[int]]]] = {}
        self.useless: dict[str, list[StoredObject]] = {}
        self.fresh: dict[str, list[int]] = {}
        self._connection = connection

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

    def query(self, sql: str, **parameters: object) -> pa.Table:
        """Return the rows of a query, whose parameters are written ``$name``.

        Raises
        ------
        EarmarkError
            If the disk for temporary files is full.
        """
        with _explain_errors(self.scratch):
            return self._connection.sql(sql, params=parameters or None).to_arrow_table()

    def stream(self, sql: str, **parameters: object) -> pa.RecordBatchReader:
        """Return the rows of a query as a stream."""
        with _explain_errors(self.scratch):
            return self._connection.sql(sql, params=parameters or None).to_arrow_reader()

    def define(self, name: str, sql: str, **parameters: object) -> None:
        """Keep the rows of a query as a table of this database."""
        with _explain_errors(self.scratch):
            self._connection.execute(f"CREATE OR REPLACE TABLE {name} AS {sql}", parameters or None)

    def register(self, name: str, rows: pa.Table) -> None:
        """Make Arrow rows a table of this database, without a copy."""
        self._connection.register(name, rows)

    def locations(self, table: str) -> pa.Array:
        """Return the locations of a table's parts, by number."""
        return pa.array([self.stored.location(part) for part in self.stored.parts[table]], pa.string())

    def _load(self, table: str) -> None:
        parts = self.stored.parts[table]
        self.register(f"parts_{table}", self._number_parts(table, parts))
        columns = KEY_COLUMNS[table]
        found, damaged = open_key_files(self.stored, table, columns, self.scratch)
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
            rows.append(_COPIED.format(columns=keys, path=_quote(file.path), table=table, file=number))
        time = _TIMES.get(table)
        view = _VIEW.format(
            table=table,
            partitions=", ".join(f"parts.{name}" for name in PARTITIONS[table]),
            recency=_RECENCY.format(time=time) if time else "part",
            rows="\n    UNION ALL\n    ".join(rows),
        )
        self._connection.execute(view)

    def _number_parts(self, table: str, parts: list[StoredObject]) -> pa.Table:
        values = [partition_values(part) for part in parts]
        columns = {
            name: pa.array([value[name] for value in values], pa.string()) for name in PARTITIONS[table]
        }
        numbers = pa.array(np.arange(len(parts), dtype=np.int32))
        return pa.table({"part": numbers, "location": self.locations(table)} | columns)

    def _read_fresh(self, table: str, parts: list[StoredObject]) -> None:
        """Read the keys of the parts that no key file holds into the database."""
        schema = _fresh_schema(table)
        self.register("batch", schema.empty_table())
        self.define(f"fresh_{table}", "SELECT * FROM batch")
        locations = [self.stored.location(part) for part in parts]
        wanted = [*KEY_COLUMNS[table], *(("segment",) if table in _OF_SEGMENTS else ())]
        waiting: list[pa.Table] = []
        read = read_columns(self.stored.tables, table, locations, wanted)
        for number, rows in zip(self.fresh[table], read, strict=True):
            waiting.append(_with_place(rows, number).select(schema.names).cast(schema))
            if len(waiting) == _PARTS_AT_ONCE:
                self._insert(table, waiting)
                waiting = []
        self._insert(table, waiting)

    def _insert(self, table: str, rows: list[pa.Table]) -> None:
        if rows:
            self.register("batch", pa.concat_tables(rows))
            with _explain_errors(self.scratch):
                self._connection.table("batch").insert_into(f"fresh_{table}")


def _fresh_schema(table: str) -> pa.Schema:
    fields = [SCHEMAS[table].field(name).remove_metadata() for name in KEY_COLUMNS[table]]
    return pa.schema([*fields, ("part", pa.int32()), ("row", pa.int32())])


def _with_place(rows: pa.Table, part: int) -> pa.Table:
    """Add the place of each row; of a track's segments, keep the first."""
    places = pa.array(np.arange(rows.num_rows, dtype=np.int32))
    rows = rows.append_column("part", pa.repeat(pa.scalar(part, pa.int32()), rows.num_rows))
    rows = rows.append_column("row", places)
    return rows.filter(pc.equal(rows["segment"], 0)) if "segment" in rows.column_names else rows


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
    for file in found:
        numbers = [number_of.get(named, -1) for named in file.parts]
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


def _quote(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


@contextlib.contextmanager
def open_keys(tables: Tables) -> Iterator[Keys]:
    """List the tables and open the database of their keys for a ``with`` block.

    Parameters
    ----------
    tables : Tables
        The tables. Their parts must stay while the block lasts.

    Raises
    ------
    EarmarkError
        If the store refuses.
    """
    stored = list_objects(tables)
    with tempfile.TemporaryDirectory(prefix="earmark-keys-", ignore_cleanup_errors=True) as folder:
        scratch = Path(folder)
        connection = duckdb.connect(
            str(scratch / "keys.duckdb"),
            config={
                "memory_limit": f"{MEMORY_MB}MiB",
                "threads": min(_THREADS, os.cpu_count() or 1),
                "temp_directory": str(scratch / "spill"),
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "preserve_insertion_order": "false",
            },
        )
        try:
            connection.execute("SET TimeZone = 'UTC'")
            yield Keys(stored, connection, scratch)
        finally:
            connection.close()


@contextlib.contextmanager
def _explain_errors(scratch: Path) -> Iterator[None]:
    try:
        yield
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        said = str(error).partition("\n")[0]
        raise EarmarkError(
            f"the keys of the tables do not fit into {scratch.parent} ({said}); free space there, or set "
            "TMPDIR to a larger disk"
        ) from error
