"""The current labels joined with columns of the tracks, for analysis."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.models.label import MIN_IS_MUSIC
from pipeline.tables.current import CURRENT_LABELS, define_current_tracks, read_genres
from pipeline.tables.gather import gather
from pipeline.tables.keys import open_keys, read_again_if_replaced
from pipeline.tables.objects import StoredObjects
from pipeline.tables.tables import Tables
from schemas.errors import EarmarkError

_PLACES = """\
WITH seen AS (
    SELECT track_id, min(listed_at) AS first_seen FROM tracks GROUP BY track_id
)
SELECT part, row, track_part, track_row, first_seen
FROM ({current_labels}) JOIN seen USING (track_id)
ORDER BY part, row
"""
"""The places of a model's current labels and of their tracks, and when a run first listed the track."""


@dataclass(frozen=True, slots=True)
class LabeledTracks:
    """The labeled tracks of a catalog. Row i of every attribute refers to the same track.

    Attributes
    ----------
    genres : tuple of str
        The model's genres.
    probabilities : ndarray of float32, shape (n_tracks, n_genres)
        Calibrated probability of each genre.
    winner : ndarray of int64, shape (n_tracks,)
        Index of the label's genre in `genres`; -1 if the track is silent or the run abstained
        (``--min-confidence``).
    confidence : ndarray of float32, shape (n_tracks,)
        Probability of the most probable genre.
    tracks : pyarrow.Table
        The requested columns of ``tracks/``, and ``first_seen`` (when a run first listed the track).
    """

    genres: tuple[str, ...]
    probabilities: NDArray[np.float32]
    winner: NDArray[np.int64]
    confidence: NDArray[np.float32]
    tracks: pa.Table

    @property
    def n_tracks(self) -> int:
        """Number of tracks."""
        return len(self.winner)

    @property
    def n_without_genre(self) -> int:
        """Number of tracks without a genre, because they are silent or the run abstained."""
        return int((self.winner < 0).sum())


@read_again_if_replaced
def read_labeled_tracks(tables: Tables, model: str, columns: Sequence[str] = ()) -> LabeledTracks:
    """Read the current labels: for each track in the catalog, the newest label of its present content.

    Parameters
    ----------
    tables : Tables
        The tables.
    model : str
        A value of the partition column ``model``.
    columns : sequence of str
        Columns of ``tracks/`` to read as well.

    Raises
    ------
    EarmarkError
        If the labels do not name their genres.
    """
    genres = read_genres(tables, model)
    with open_keys(tables) as keys:
        keys.load("labels")
        define_current_tracks(keys)
        places = keys.query(_PLACES.format(current_labels=CURRENT_LABELS), model=model)
    labels = gather(keys.stored, "labels", places, ["genre", "confidence", "probabilities", "is_music"])
    # Tracks that are probably not music count toward no genre's share.
    music = pc.fill_null(pc.greater_equal(labels["is_music"], MIN_IS_MUSIC), True)
    labels, places = labels.filter(music), places.filter(music)
    facts = _gather_facts(keys.stored, places, columns)
    return LabeledTracks(
        genres=genres,
        probabilities=_to_matrix(labels["probabilities"], len(genres), model),
        winner=_to_codes(labels["genre"], genres),
        confidence=_to_float32(labels["confidence"]),
        tracks=pa.table({**facts, "first_seen": places["first_seen"]}),
    )


def _gather_facts(
    stored: StoredObjects, places: pa.Table, columns: Sequence[str]
) -> dict[str, pa.ChunkedArray]:
    """Gather columns of the tracks at ``track_part`` and ``track_row``, in their order."""
    if not columns:
        return {}
    order = pc.sort_indices(places, [("track_part", "ascending"), ("track_row", "ascending")])
    sorted_places = pa.table(
        {"part": places["track_part"].take(order), "row": places["track_row"].take(order)}
    )
    rows = gather(stored, "tracks", sorted_places, columns)
    back = np.empty(len(order), np.int64)
    back[order.to_numpy()] = np.arange(len(order))
    return {name: _encode(rows[name]).take(pa.array(back)) for name in columns}


def _encode(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dictionary-encode a column if its strings repeat."""
    repeats = pa.types.is_string(column.type) and pc.count_distinct(column).as_py() * 2 < len(column)
    return column.dictionary_encode() if repeats else column


def _to_matrix(lists: pa.ChunkedArray, n_genres: int, model: str) -> NDArray[np.float32]:
    values = _to_float32(pc.list_flatten(lists))
    if (
        len(values) != len(lists) * n_genres
        or pc.any(pc.not_equal(pc.list_value_length(lists), n_genres)).as_py()
    ):
        raise EarmarkError(
            f"some labels of {model} do not have a probability for each of its {n_genres} genres; "
            "'earmark verify' names them"
        )
    return values.reshape(-1, n_genres)


def _to_codes(genre: pa.ChunkedArray, genres: tuple[str, ...]) -> NDArray[np.int64]:
    codes = pc.fill_null(pc.index_in(genre, pa.array(genres, pa.string())), -1)
    return np.asarray(codes.combine_chunks(), dtype=np.int64)


def _to_float32(column: pa.ChunkedArray | pa.Array) -> NDArray[np.float32]:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(array, dtype=np.float32)
