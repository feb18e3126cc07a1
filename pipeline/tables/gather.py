"""Whole rows of the tables, gathered from their parts by the places that `pipeline.tables.keys` tells."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from pipeline.tables.objects import StoredObjects, partition_values
from pipeline.tables.parts import read_columns
from pipeline.tables.tables import whole_schema
from schemas.tables import PARTITIONS


def gather(stored: StoredObjects, table: str, places: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Gather columns of some rows.

    Parameters
    ----------
    stored : StoredObjects
        The parts among which the places are: those of the keys that told them.
    table : str
        The table.
    places : pyarrow.Table
        ``part`` and ``row`` of the rows, in this order.
    columns : sequence of str
        Columns of the table; may include partition columns.

    Raises
    ------
    EarmarkError
        If the store refuses, or a part is damaged.
    """
    rows = stream_rows(stored, table, places, columns)
    return pa.Table.from_batches(list(rows), schema=rows.schema)


def stream_rows(
    stored: StoredObjects, table: str, places: pa.Table, columns: Sequence[str]
) -> pa.RecordBatchReader:
    """Gather columns of some rows, part by part; parameters and errors are those of `gather`."""
    schema = _schema_of(table, columns)
    return pa.RecordBatchReader.from_batches(schema, _batches(stored, table, places, schema))


def _batches(
    stored: StoredObjects, table: str, places: pa.Table, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    numbers, rows = places["part"].to_numpy(), places["row"]
    parts, starts, counts = np.unique(numbers, return_index=True, return_counts=True)
    chosen = [stored.parts[table][number] for number in parts]
    inside = [name for name in schema.names if name not in PARTITIONS[table]]
    locations = [stored.location(part) for part in chosen]
    read = read_columns(stored.tables, table, locations, inside)
    for part, start, count, found in zip(chosen, starts, counts, read, strict=True):
        picked = found.take(rows.slice(start, count))
        values = partition_values(part)
        arrays = [
            picked[name] if name in inside else pa.repeat(pa.scalar(values[name]), picked.num_rows)
            for name in schema.names
        ]
        yield from pa.Table.from_arrays(arrays, schema=schema).to_batches()


def _schema_of(table: str, columns: Sequence[str]) -> pa.Schema:
    """Return the schema of columns of a table, all of which may be null."""
    return pa.schema([whole_schema(table).field(name).with_nullable(True) for name in columns])
