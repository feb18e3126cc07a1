"""The keys of the rows of all sound parts, in a database, as they are in the parts themselves.

Unlike `pipeline.tables.keys`, it takes nothing from the index, and has every segment.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.tables.database import Database, open_connection
from pipeline.tables.keys import KEY_COLUMNS, OF_SEGMENTS, with_places
from pipeline.tables.maintenance.verify.findings import EXAMPLES, Finding
from pipeline.tables.objects import StoredObjects
from pipeline.tables.pieces import join_pieces
from pipeline.tables.tables import VERSION_KEY, stored_schema
from schemas.tables import PARTITIONS

COLUMNS: dict[str, tuple[str, ...]] = {
    "tracks": KEY_COLUMNS["tracks"],
    "features": (*KEY_COLUMNS["features"], "segment"),
    "labels": (*KEY_COLUMNS["labels"], "run"),
    "segment_labels": (*VERSION_KEY, "segment", "run"),
    "embeddings": (*KEY_COLUMNS["embeddings"], "segment"),
    "failures": KEY_COLUMNS["failures"],
}
"""The columns of the views; their partition columns are added."""
_ROWS_AT_ONCE = 1 << 16

_FIRST = "SELECT {columns} FROM found ORDER BY {columns} LIMIT {limit}"
_CODES = """\
SELECT part, count(*) AS rows, sum(hash({columns}, row)) AS code
FROM {rows}
GROUP BY part
"""


class Rows(Database):
    """The keys of the rows of the sound parts.

    ``codes_<table>`` has the number of keys in each piece of a part that the index should hold, and a code
    for them; those of a part are the sums of those of its pieces.

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
    loaded : dict
        Numbers of the parts of each table that were added.
    """

    def __init__(self, stored: StoredObjects, connection: duckdb.DuckDBPyConnection, scratch: Path) -> None:
        super().__init__(stored, connection, scratch)
        self._numbers = {
            part.path: number for parts in stored.parts.values() for number, part in enumerate(parts)
        }
        self.loaded: dict[str, set[int]] = {table: set() for table in PARTITIONS}
        for table in PARTITIONS:
            self.create(f"rows_{table}", _schema_of(table))
            self.define_view(table, [f"FROM rows_{table}"])
            if table in KEY_COLUMNS:
                self.define(f"codes_{table}", _code_rows(table, f"rows_{table}"))

    def add(self, table: str, parts: Iterable[tuple[str, pa.Table]]) -> None:
        """Add the rows of parts of a table, of which each is given with its path below the root."""
        for piece in join_pieces(self._with_places(table, parts), _schema_of(table), _ROWS_AT_ONCE):
            # DuckDB reads one chunk at a time, and those of most parts are short.
            self.register("batch", piece.combine_chunks())
            self.insert(f"rows_{table}", "SELECT * FROM batch")
            if table in KEY_COLUMNS:
                self.insert(f"codes_{table}", _code_rows(table, "batch"))

    def _with_places(self, table: str, parts: Iterable[tuple[str, pa.Table]]) -> Iterator[pa.RecordBatch]:
        for path, rows in parts:
            self.loaded[table].add(self._numbers[path])
            yield from with_places(rows, self._numbers[path]).to_batches(max_chunksize=_ROWS_AT_ONCE)

    def find(
        self,
        kind: str,
        table: str,
        message: str,
        columns: Sequence[str],
        sql: str,
        *,
        fault: bool = True,
        passing: bool = False,
        **parameters: object,
    ) -> list[Finding]:
        """Return a finding about the rows of a query, with some columns of a few of them as examples."""
        self.define("found", sql, **parameters)
        count = self.count("FROM found")
        if not count:
            return []
        first = self.query(_FIRST.format(columns=", ".join(columns), limit=EXAMPLES))
        examples = tuple(" ".join(str(value) for value in row.values()) for row in first.to_pylist())
        return [Finding(kind, table, message, count, examples, fault, passing)]


def code_parts(table: str, rows: str) -> str:
    """Return a query for the number of keys of each part, and for a code that differs if they do.

    Parameters
    ----------
    table : str
        The table, a key of `KEY_COLUMNS`.
    rows : str
        Its keys, with ``part`` and ``row``, as SQL writes them after ``FROM``.
    """
    return _CODES.format(columns=", ".join(KEY_COLUMNS[table]), rows=rows)


def _code_rows(table: str, rows: str) -> str:
    """Return the query of `code_parts` for rows of parts; of segments, the first of each track count."""
    return code_parts(table, f"{rows} WHERE segment = 0" if table in OF_SEGMENTS else rows)


def _schema_of(table: str) -> pa.Schema:
    fields = [stored_schema(table).field(name).remove_metadata() for name in COLUMNS[table]]
    return pa.schema([*fields, ("part", pa.int32()), ("row", pa.int32())])


@contextlib.contextmanager
def open_rows(stored: StoredObjects) -> Iterator[Rows]:
    """Open an empty database of rows for a ``with`` block."""
    with open_connection() as (connection, scratch):
        yield Rows(stored, connection, scratch)
