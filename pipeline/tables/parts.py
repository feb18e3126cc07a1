"""Reading columns of parts of the tables, a few parts ahead of time."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage import storage
from pipeline.storage.arrow_buffers import arrow_buffer
from pipeline.storage.read_and_parse import read_and_parse
from pipeline.storage.retry import with_retries
from pipeline.tables.read_ahead import read_ahead
from pipeline.tables.tables import Tables, explain_read_errors, stored_schema

_THREADS = 8
WIDE = frozenset({"features", "embeddings"})
"""Tables whose payload is so large that only the ranges of the wanted columns are read."""


def list_parts(tables: Tables, table: str, *, prefix: str = "", **partitions: str) -> list[str]:
    """List the parts of one partition, in a single request for a thousand of them.

    Parameters
    ----------
    tables : Tables
        The tables.
    table : str
        A key of `schemas.tables.PARTITIONS`.
    prefix : str
        What the names of the parts begin with.
    **partitions : str
        The value of every partition column of the table.

    Returns
    -------
    list of str
        Locations, sorted.
    """
    folder = tables.folder(table, **partitions)
    with storage.explain_errors(folder, "list"):
        names = storage.list_names(folder)
    return [
        storage.join(folder, name)
        for name in names
        if name.startswith(prefix) and name.endswith(".parquet") and not name.startswith((".", "_"))
    ]


def read_columns(
    tables: Tables, table: str, locations: Iterable[str], columns: Sequence[str]
) -> Iterator[pa.Table]:
    """Yield columns of parts, one part at a time; in order, some ahead of time.

    From a local disk, and of the large parts of ``features`` and ``embeddings``, only the ranges of the
    columns are read. Other parts are fetched whole, in one request each.

    Parameters
    ----------
    tables : Tables
        The tables.
    table : str
        The table of the parts.
    locations : iterable of str
        Where they are.
    columns : sequence of str
        Columns of the table that are in its files; null where a part was written before they were.

    Raises
    ------
    EarmarkError
        If the store refuses, or a part is damaged.
    """
    schema = pa.schema([stored_schema(table).field(name).with_nullable(True) for name in columns])
    by_ranges = table in WIDE or storage.is_local(tables.root)
    read = partial(_read_ranges if by_ranges else _read_whole, schema=schema)
    with explain_read_errors(tables, table):
        for _, rows in read_ahead(locations, read, lambda _: 0, _THREADS):
            yield rows


def _read_whole(location: str, schema: pa.Schema) -> pa.Table:
    def decode(data: bytes) -> pa.Table:
        with pq.ParquetFile(arrow_buffer(data)) as file:
            return _select(file, schema)

    return read_and_parse(location, decode)


def _read_ranges(location: str, schema: pa.Schema) -> pa.Table:
    path, filesystem = storage.arrow_path(location)

    def read() -> pa.Table:
        with pq.ParquetFile(path, filesystem=filesystem) as file:
            return _select(file, schema)

    return with_retries(read)


def _select(file: pq.ParquetFile, schema: pa.Schema) -> pa.Table:
    there = set(file.schema_arrow.names)
    rows = file.read([name for name in schema.names if name in there], use_threads=False)
    return complete(rows, schema)


Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)


def complete(rows: Rows, schema: pa.Schema) -> Rows:
    """Return rows of a part with the columns of a schema; those that the part lacks are null."""
    if rows.schema.equals(schema):
        return rows
    columns = []
    for field in schema:
        place = rows.schema.get_field_index(field.name)
        if place < 0:
            columns.append(pa.nulls(rows.num_rows, field.type))
        elif rows.schema.field(place).type == field.type:
            columns.append(rows.column(place))
        else:
            columns.append(rows.column(place).cast(field.type))
    return type(rows).from_arrays(columns, schema=schema)
