"""The mean embedding of each track: of its segments with sound, which follow one another in a part."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.tables.embeddings import stack_vectors
from pipeline.tables.keys import Keys
from pipeline.tables.parts import read_columns


def gather_means(keys: Keys, places: pa.Table) -> pa.Array:
    """Return the mean embedding of each of some tracks.

    Parameters
    ----------
    keys : Keys
        The keys of the tables.
    places : pyarrow.Table
        ``embedding_part`` and ``embedding_row`` of the first segment of each track; null if it has none.

    Returns
    -------
    pyarrow.Array of list of float32
        The means, in the order of the places; null where a place is, all zero for a silent track.
    """
    part = _to_numbers(places["embedding_part"])
    row = _to_numbers(places["embedding_row"])
    means: list[NDArray[np.float32] | None] = [None] * len(part)
    wanted = np.unique(part[part >= 0])
    stored = [keys.stored.location(keys.stored.parts["embeddings"][number]) for number in wanted]
    read = read_columns(keys.stored.tables, "embeddings", stored, ["segment", "vector"])
    for number, rows in zip(wanted, read, strict=True):
        index = np.flatnonzero(part == number)
        for place, mean in zip(index, _means(rows, row[index]), strict=True):
            means[place] = mean
    return pa.array(means, pa.list_(pa.float32()))


def _to_numbers(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return a column as integers, -1 where it is null."""
    return np.asarray(column.cast(pa.int64()).fill_null(-1).combine_chunks())


def _means(rows: pa.Table, starts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the mean vector of each track of a part whose first segments are at some rows.

    Silent segments do not count: their vectors are all zero.
    """
    firsts = np.flatnonzero(np.asarray(rows["segment"].combine_chunks()) == 0)
    vectors = stack_vectors(rows["vector"].combine_chunks())
    summed = np.add.reduceat(vectors, firsts, axis=0, dtype=np.float32)
    n_heard = np.add.reduceat(vectors.any(axis=1), firsts, dtype=np.int64)
    means = summed / np.maximum(n_heard, 1).astype(np.float32)[:, np.newaxis]
    return np.asarray(means[np.searchsorted(firsts, starts)])
