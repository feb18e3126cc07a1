"""Tables that are too large to keep in memory, as the listing of ten million tracks is."""

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.storage.temporary_folders import explain_full_disk, locked_folder

_PREFIX = "earmark-rows-"
_ROWS_AT_ONCE = 200_000


def collect_on_disk(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Write batches to a temporary file as they come, and return them as a table that is mapped from it.

    The file has lost its name by then, so it is gone with the table, even if this process is killed. Its
    pages stay in memory only as long as there is room: the system drops them and reads them again.

    Parameters
    ----------
    batches : iterable of pyarrow.RecordBatch
        The rows. What the iterable raises is raised.
    schema : pyarrow.Schema
        Their schema.

    Raises
    ------
    EarmarkError
        If the disk for temporary files is full.
    """
    with contextlib.ExitStack() as stack:
        with explain_full_disk():
            file = str(stack.enter_context(locked_folder(_PREFIX)) / "rows.arrow")
            sink = stack.enter_context(pa.OSFile(file, "wb"))
        writer = pa.ipc.new_file(sink, schema)
        for batch in batches:
            with explain_full_disk():
                writer.write_batch(batch)
        with explain_full_disk():
            writer.close()
            sink.close()
        return map_rows(file)


def map_rows(file: str) -> pa.Table:
    """Return the rows of an Arrow file, mapped from it: memory holds only what is read.

    Raises
    ------
    OSError
        If there is no such file.
    ArrowInvalid
        If it is incomplete.
    """
    return pa.ipc.open_file(pa.memory_map(file)).read_all()


def sort_on_disk(rows: pa.Table, column: str) -> pa.Table:
    """Return rows of a table that is on the disk, sorted by a column, as another such table.

    Parameters
    ----------
    rows : pyarrow.Table
        The table.
    column : str
        A column of it.

    Raises
    ------
    EarmarkError
        If the disk for temporary files is full.
    """
    places = pc.sort_indices(rows[column]).to_numpy()
    batches = [batch for batch in rows.to_batches() if batch.num_rows]
    starts = range(0, len(places), _ROWS_AT_ONCE)
    pieces = (take_rows(batches, places[start : start + _ROWS_AT_ONCE]) for start in starts)
    return collect_on_disk((batch for piece in pieces for batch in piece.to_batches()), rows.schema)


def take_rows(batches: Sequence[pa.RecordBatch], places: NDArray[np.integer[Any]]) -> pa.Table:
    """Return rows of batches in the order of their places.

    The `take` of a table joins all of its batches each time, and fails if a column has 2 GiB of text.
    """
    ends = np.cumsum([batch.num_rows for batch in batches])
    batch_of = np.searchsorted(ends, places, side="right")
    by_batch = np.argsort(batch_of, kind="stable")
    numbers, starts = np.unique(batch_of[by_batch], return_index=True)
    found = []
    for number, rows in zip(numbers, np.split(by_batch, starts[1:]), strict=True):
        first = ends[number] - batches[number].num_rows
        found.append(batches[number].take(pa.array(places[rows].astype(np.int64) - first)))
    return pa.Table.from_batches(found).take(pa.array(np.argsort(by_batch)))
