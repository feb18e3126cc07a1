"""The tracks nearest to an embedding: exact, by the cosine of the mean embeddings of tracks."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.tables.current import define_current_tracks_of
from pipeline.tables.keys import Keys
from pipeline.tables.tables import VERSION_KEY
from pipeline.tables.track_vectors import as_array

_KEYS = pa.schema([(name, pa.string()) for name in VERSION_KEY])
_PRESENT = """\
SELECT track_id, etag, max(similarity) AS similarity  -- in a bucket that is compacted, a row may be twice
FROM scores SEMI JOIN current_tracks USING (track_id, etag)
GROUP BY track_id, etag
"""


def find_nearest(
    keys: Keys,
    tracks: Sequence[pa.RecordBatch],
    query: NDArray[np.float32],
    n: int,
    *,
    without: str | None = None,
) -> pa.Table:
    """Find the tracks of the catalog whose mean embeddings are nearest to a vector, among all.

    Parameters
    ----------
    keys : Keys
        The keys of the tables. When this returns, their current tracks are those that were looked up, among
        which are all that are returned.
    tracks : sequence of RecordBatch
        Mean embeddings, of past versions too, as `pipeline.tables.track_vectors` returns them.
    query : ndarray of float32, shape (n_numbers,)
        The vector to compare with.
    n : int
        Number of tracks.
    without : str, optional
        Id of a track to leave out: the one that was asked about.

    Returns
    -------
    pyarrow.Table
        ``track_id``, ``etag`` and ``similarity`` (float32, -1 to 1), the nearest first; no silent
        tracks.
    """
    similarity = score(tracks, query)
    names = pa.Table.from_batches([batch.select(VERSION_KEY) for batch in tracks], _KEYS)
    order = np.argsort(-similarity, kind="stable")[: int((similarity > -np.inf).sum())]
    n_looked_at = n + 1
    while True:
        n_looked_at *= 4
        chosen = order[:n_looked_at]
        scores = names.take(pa.array(chosen, pa.int64()))
        scores = scores.append_column("similarity", pa.array(similarity[chosen], pa.float32()))
        # Most of the catalog is far away: looking up all of it would cost more than comparing the vectors.
        define_current_tracks_of(keys, scores.select(["track_id"]))
        keys.register("scores", scores)
        rows = keys.query(_PRESENT)
        if without is not None:
            rows = rows.filter(pc.not_equal(rows["track_id"], without))
        if rows.num_rows >= n or n_looked_at >= len(order):
            return rows.sort_by([("similarity", "descending"), ("track_id", "ascending")]).slice(0, n)


def score(tracks: Sequence[pa.RecordBatch], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the cosine of each track's mean embedding and a vector.

    Parameters
    ----------
    tracks : sequence of RecordBatch
        Mean embeddings of length 1.
    query : ndarray of float32, shape (n_numbers,)
        The vector to compare with, of any length but 0.

    Returns
    -------
    ndarray of float32, shape (n_tracks,)
        -1 to 1; minus infinity for silent tracks.
    """
    unit = query / np.linalg.norm(query)
    found = np.concatenate([np.empty(0, np.float32), *(as_array(batch) @ unit for batch in tracks)])
    return np.where(np.isnan(found), np.float32(-np.inf), np.clip(found, -1, 1))
