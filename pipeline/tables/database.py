"""A DuckDB database of rows of the parts, which joins and sorts more than fits in memory.

Each table is a view of columns of its rows, the partition columns, and

    part      number of the part in order of its path; the table ``parts_<table>`` has its location
    row       number of the row in the part
    recency   orders rows by time (failures: by run), then by part and row; the greatest of a key is its
              newest row
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.log import get_logger
from pipeline.storage.temporary_folders import locked_folder
from pipeline.tables.objects import StoredObjects, partition_values
from schemas.errors import EarmarkError
from schemas.tables import PARTITIONS

log = get_logger(__name__)

T = TypeVar("T")

MEMORY_MB, MOST_MEMORY_MB = 512, 4096
"""MiB that DuckDB may take before it spills to the disk, and that a query gets that cannot spill enough."""
_PREFIX = "earmark-keys-"
_THREADS = 4
"""Of DuckDB's, each of which needs a share of the memory."""

_VIEW = """\
CREATE VIEW {table} AS
SELECT keys.*, {partitions}, {recency} AS recency
FROM (
    {rows}
) AS keys
JOIN parts_{table} AS parts USING (part)
"""
_COUNT = "SELECT count(*) AS n FROM ({rows})"
_PLACE = "(part::HUGEINT << 32) + row"
_RECENCIES = {
    "tracks": f"(epoch_us(listed_at)::HUGEINT << 64) + {_PLACE}",
    "labels": f"(epoch_us(labeled_at)::HUGEINT << 64) + {_PLACE}",
    # Parts of failures are in the order of their runs, whatever the clocks said that `failed_at` comes from.
    "failures": _PLACE,
}


class Database:
    """A database of its own, on a disk for temporary files.

    Parameters
    ----------
    stored : StoredObjects
        The objects under the root, as they were when they were listed.
    connection : duckdb.DuckDBPyConnection
        The connection.
    scratch : Path
        A folder of its own.

    Attributes
    ----------
    stored : StoredObjects
        The objects under the root.
    scratch : Path
        The folder.
    """

    def __init__(self, stored: StoredObjects, connection: duckdb.DuckDBPyConnection, scratch: Path) -> None:
        self.stored = stored
        self.scratch = scratch
        self._connection = connection
        self._memory_mb = MEMORY_MB

    def query(self, sql: str, **parameters: object) -> pa.Table:
        """Return the rows of a query, whose parameters are written ``$name``.

        Raises
        ------
        EarmarkError
            If the disk for temporary files is full.
        """
        given = parameters or None
        return self._run(lambda: self._connection.sql(sql, params=given).to_arrow_table())

    def count(self, sql: str, **parameters: object) -> int:
        """Count the rows of a query."""
        return int(self.query(_COUNT.format(rows=sql), **parameters)["n"][0].as_py())

    def stream(self, sql: str, **parameters: object) -> pa.RecordBatchReader:
        """Return the rows of a query as a stream; up to the first of them, it gets memory as `query` does."""
        given = parameters or None
        return self._run(lambda: self._connection.sql(sql, params=given).to_arrow_reader())

    def define(self, name: str, sql: str, **parameters: object) -> None:
        """Keep the rows of a query as a table of this database."""
        self._run(
            lambda: self._connection.execute(f"CREATE OR REPLACE TABLE {name} AS {sql}", parameters or None)
        )

    def register(self, name: str, rows: pa.Table) -> None:
        """Make Arrow rows a table of this database, without a copy."""
        self._connection.register(name, rows)

    def create(self, name: str, schema: pa.Schema) -> None:
        """Make an empty table."""
        self.register("batch", schema.empty_table())
        self.define(name, "SELECT * FROM batch")

    def append(self, name: str, rows: pa.Table) -> None:
        """Add Arrow rows to a table."""
        self.register("batch", rows)
        self.insert(name, "SELECT * FROM batch")

    def fill(self, name: str, pieces: Iterable[pa.Table]) -> None:
        """Make a table of Arrow rows that come in pieces, of which there is at least one."""
        for number, piece in enumerate(pieces):
            if number:
                self.append(name, piece)
            else:
                self.register("batch", piece)
                self.define(name, "SELECT * FROM batch")

    def drop(self, *names: str) -> None:
        """Remove tables."""
        for name in names:
            self._connection.execute(f"DROP TABLE {name}")

    def insert(self, name: str, sql: str, **parameters: object) -> None:
        """Add the rows of a query to a table."""
        self._run(lambda: self._connection.execute(f"INSERT INTO {name} {sql}", parameters or None))

    def locations(self, table: str) -> pa.Array:
        """Return the locations of a table's parts, by number."""
        return pa.array([self.stored.location(part) for part in self.stored.parts[table]], pa.string())

    def define_view(self, table: str, rows: Sequence[str]) -> None:
        """Make the view of a table, and the table of its parts.

        Parameters
        ----------
        table : str
            The table.
        rows : sequence of str
            Queries, each for the columns of some of its rows, their parts and their numbers.
        """
        self.register(f"parts_{table}", self._number_parts(table))
        view = _VIEW.format(
            table=table,
            partitions=", ".join(f"parts.{name}" for name in PARTITIONS[table]),
            recency=_RECENCIES.get(table, "part"),
            rows="\n    UNION ALL\n    ".join(rows),
        )
        self._connection.execute(view)

    def _number_parts(self, table: str) -> pa.Table:
        values = [partition_values(part) for part in self.stored.parts[table]]
        columns = {
            name: pa.array([value[name] for value in values], pa.string()) for name in PARTITIONS[table]
        }
        numbers = pa.array(np.arange(len(values), dtype=np.int32))
        return pa.table({"part": numbers, "location": self.locations(table)} | columns)

    def _run(self, query: Callable[[], T]) -> T:
        """Run a query, again with more memory if it needs that: some joins of ten million keys do.

        A query that fails has changed nothing.
        """
        with self._explain_errors():
            while True:
                try:
                    return query()
                except duckdb.OutOfMemoryException as error:
                    if self._memory_mb >= MOST_MEMORY_MB:
                        raise
                    self._memory_mb *= 2
                    log.info("a query needs more memory", memory_mb=self._memory_mb, error=error)
                    self._connection.execute(f"SET memory_limit = '{self._memory_mb}MiB'")

    @contextlib.contextmanager
    def _explain_errors(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            said = str(error).partition("\n")[0]
            raise EarmarkError(
                f"the keys of the tables do not fit into memory and {self.scratch.parent} ({said}); free "
                "space there, or set TMPDIR to a larger disk"
            ) from error


@contextlib.contextmanager
def open_connection() -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """Open an empty database for a ``with`` block, with a folder of its own that is removed at the end."""
    with locked_folder(_PREFIX) as scratch:
        connection = duckdb.connect(
            ":memory:",
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
            yield connection, scratch
        finally:
            connection.close()
