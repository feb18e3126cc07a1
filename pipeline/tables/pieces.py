"""Rows that come in pieces as small as the parts, in pieces that are worth a step of their own."""

from collections.abc import Iterable, Iterator

import pyarrow as pa

_PIECES_AT_ONCE = 1_000
"""Each takes kilobytes, whatever few rows it has."""


def join_pieces(pieces: Iterable[pa.RecordBatch], schema: pa.Schema, n_rows: int) -> Iterator[pa.Table]:
    """Join pieces until they have enough rows.

    Parameters
    ----------
    pieces : iterable of pyarrow.RecordBatch
        The rows. What the iterable raises is raised.
    schema : pyarrow.Schema
        Their schema.
    n_rows : int
        Number of rows that are enough.

    Yields
    ------
    rows : pyarrow.Table
        The rows in their order. The last table has the rest; it may be empty, so that there is at least one.
    """
    waiting: list[pa.RecordBatch] = []
    n_waiting = 0
    for piece in pieces:
        waiting.append(piece)
        n_waiting += piece.num_rows
        if n_waiting >= n_rows or len(waiting) == _PIECES_AT_ONCE:
            yield pa.Table.from_batches(waiting, schema)
            waiting, n_waiting = [], 0
    yield pa.Table.from_batches(waiting, schema)
