"""The current labels joined with columns of the tracks, for analysis."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from pipeline.models.label import MIN_IS_MUSIC
from pipeline.tables.current import read_genres
from pipeline.tables.tables import Tables, explain_read_errors, keep_newest
from schemas.errors import EarmarkError
from schemas.tables import TRACKS


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
    dataset = tables.dataset("tracks")
    tracks = _select_present(_read(tables, dataset, ["track_id", "etag", "present", "listed_at"]))
    labels = tables.read(
        "labels",
        ["track_id", "etag", "genre", "confidence", "probabilities", "labeled_at", "is_music"],
        pc.field("model") == model,
    )
    # A lookup by track instead of a join: tracks are unique here, and Arrow cannot join lists.
    place = pc.index_in(labels["track_id"], tracks["track_id"].combine_chunks())
    same = pc.fill_null(pc.equal(labels["etag"], tracks["etag"].take(place)), False)
    labels = keep_newest(labels.append_column("__track", place).filter(same), "labeled_at")
    # Tracks that are probably not music count toward no genre's share.
    labels = labels.filter(pc.fill_null(pc.greater_equal(labels["is_music"], MIN_IS_MUSIC), True))
    labels, tracks = (
        labels.drop(["track_id", "etag"]),
        tracks.select(["first_seen", "__row"]).take(labels["__track"]),
    )
    pa.default_memory_pool().release_unused()
    genres = read_genres(tables, model)
    facts = {name: _take(_read(tables, dataset, [name])[name], tracks["__row"]) for name in columns}
    return LabeledTracks(
        genres=genres,
        probabilities=_to_matrix(labels["probabilities"], len(genres), model),
        winner=_to_codes(labels["genre"], genres),
        confidence=_to_float32(labels["confidence"]),
        tracks=pa.table({**facts, "first_seen": tracks["first_seen"]}),
    )


def _read(tables: Tables, dataset: ds.Dataset | None, columns: Sequence[str]) -> pa.Table:
    """Read columns of ``tracks/``, always in the same row order: the list of files is fixed."""
    if dataset is None:
        return TRACKS.empty_table().select(columns)
    with explain_read_errors(tables, "tracks"):
        return dataset.to_table(columns=list(columns))


def _select_present(rows: pa.Table) -> pa.Table:
    """Select the newest row of each track in the catalog, with its row number and first listing time."""
    history = rows.select(["track_id", "listed_at"])
    rows = keep_newest(rows.append_column("__row", pa.array(np.arange(rows.num_rows))), "listed_at")
    rows = rows.filter(rows["present"])
    seen = rows["listed_at"]
    if rows.num_rows < history.num_rows:
        first = history.group_by("track_id").aggregate([("listed_at", "min")])
        place = pc.index_in(rows["track_id"], first["track_id"].combine_chunks())
        seen = first["listed_at_min"].take(place)
    return rows.select(["track_id", "etag", "__row"]).append_column("first_seen", seen)


def _take(column: pa.ChunkedArray, rows: pa.ChunkedArray) -> pa.ChunkedArray:
    """Take rows of a column, dictionary-encoded if its strings repeat."""
    repeats = pa.types.is_string(column.type) and pc.count_distinct(column).as_py() * 2 < len(column)
    return (column.dictionary_encode() if repeats else column).take(rows)


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
