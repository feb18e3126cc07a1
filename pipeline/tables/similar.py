"""The tracks nearest to an embedding: exact, by the cosine of the mean embeddings of tracks."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.tables.tables import VERSION_KEY, semi_join

Vectors = Iterable[tuple[pa.RecordBatch, NDArray[np.float16]]]
"""Keys and vectors of segments, as `pipeline.tables.embeddings.read_vectors` yields them."""


_TRACKS_AT_ONCE = 256
"""Tracks whose vectors are float32 at the same time: so many fit into the cache."""
_AS_FLOAT32 = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
"""All float16 numbers: looking them up is four times faster than NumPy's conversion, with the same result."""


def score_tracks(segments: Vectors, query: NDArray[np.float32]) -> pa.Table:
    """Compute the cosine of each track's mean embedding and a vector.

    Memory holds a batch of vectors and one number for each track, whatever the number of tracks.

    Parameters
    ----------
    segments : iterable of (RecordBatch, ndarray)
        Keys ``track_id`` and ``etag``, and vectors; segments of a track follow one another.
    query : ndarray of float32, shape (n_numbers,)
        The vector to compare with.

    Returns
    -------
    pyarrow.Table
        ``track_id``, ``etag`` and ``similarity`` (float32, -1 to 1) of each track that is not silent.
    """
    unit = query / np.linalg.norm(query)
    found = [_score(keys, vectors, unit) for keys, vectors in _whole_tracks(segments)]
    schema = pa.schema([(name, pa.string()) for name in VERSION_KEY] + [("similarity", pa.float32())])
    return pa.Table.from_batches(found, schema)


def _score(keys: pa.RecordBatch, vectors: NDArray[np.float16], unit: NDArray[np.float32]) -> pa.RecordBatch:
    """Score the tracks of a batch that holds all their segments."""
    starts = _starts(keys)
    ends = np.append(starts[1:], len(vectors))
    product, length = np.empty(len(starts), np.float32), np.empty(len(starts), np.float32)
    for first in range(0, len(starts), _TRACKS_AT_ONCE):
        tracks = slice(first, first + _TRACKS_AT_ONCE)
        rows = slice(starts[first], ends[tracks][-1])
        summed = np.take(_AS_FLOAT32, vectors[rows].view(np.uint16))
        if len(summed) > len(starts[tracks]):
            summed = np.add.reduceat(summed, starts[tracks] - starts[first], axis=0)
        product[tracks] = summed @ unit
        length[tracks] = np.sqrt(np.einsum("ij,ij->i", summed, summed))
    with np.errstate(invalid="ignore", divide="ignore"):
        similarity = np.clip(product / length, -1, 1)
    heard = pa.array(starts[length > 0])
    columns = [*(keys[name].take(heard) for name in VERSION_KEY), pa.array(similarity[length > 0])]
    return pa.RecordBatch.from_arrays(columns, [*VERSION_KEY, "similarity"])


def _starts(keys: pa.RecordBatch) -> NDArray[np.int64]:
    """Return the numbers of the rows where another track begins."""
    changes = np.zeros(keys.num_rows, bool)
    changes[:1] = True
    for name in VERSION_KEY:
        column = keys[name]
        changes[1:] |= pc.not_equal(column[1:], column[:-1]).to_numpy(zero_copy_only=False)
    return np.flatnonzero(changes)


def _whole_tracks(segments: Vectors) -> Iterator[tuple[pa.RecordBatch, NDArray[np.float16]]]:
    """Yield batches that end with the last segment of a track."""
    held: tuple[pa.RecordBatch, NDArray[np.float16]] | None = None
    for keys, vectors in segments:
        if held is not None:
            # The last track of the batch before may go on in this one.
            joined = pa.concat_batches([held[0], keys.slice(0, _length_of_first(held[0], keys))])
            extra = joined.num_rows - held[0].num_rows
            held = joined, np.concatenate([held[1], vectors[:extra]])
            keys, vectors = keys.slice(extra), vectors[extra:]
            if not keys.num_rows:
                continue
            yield held
        last = int(_starts(keys)[-1])
        if last:
            yield keys.slice(0, last), vectors[:last]
        held = keys.slice(last), vectors[last:]
    if held is not None:
        yield held


def _length_of_first(held: pa.RecordBatch, keys: pa.RecordBatch) -> int:
    """Return how many of the first rows belong to the track that is held."""
    if any(keys[name][0] != held[name][0] for name in VERSION_KEY):
        return 0
    starts = _starts(keys)
    return int(starts[1]) if len(starts) > 1 else keys.num_rows


def pick_nearest(scores: pa.Table, listed: pa.Table, n: int, *, without: str | None = None) -> pa.Table:
    """Return the tracks of the catalog with the greatest similarity, the nearest first.

    Parameters
    ----------
    scores : pyarrow.Table
        As `score_tracks` returns them, of past versions too.
    listed : pyarrow.Table
        The tracks in the catalog: ``track_id`` and ``etag``.
    n : int
        Number of tracks.
    without : str, optional
        Id of a track to leave out: the one that was asked about.
    """
    if not scores.num_rows:
        return scores
    similarity = scores["similarity"].to_numpy()
    n_candidates = n + 1
    while True:
        n_candidates = min(len(similarity), 4 * n_candidates)
        chosen = np.argpartition(-similarity, max(0, n_candidates - 1))[:n_candidates]
        rows = scores.take(pa.array(chosen, pa.int64()))
        # Most of the catalog is far away: joining all of it would cost more than comparing the vectors.
        rows = semi_join(rows, listed.filter(pc.is_in(listed["track_id"], rows["track_id"])))
        if without is not None:
            rows = rows.filter(pc.not_equal(rows["track_id"], without))
        if rows.num_rows >= n or n_candidates == len(similarity):
            order = [("similarity", "descending"), ("track_id", "ascending")]
            return rows.sort_by(order).slice(0, n)
