"""The current labels beside what the catalog says of the tracks, as columns for analysis."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from pipeline.models.label import MUSIC
from pipeline.tables.current import genres_of
from pipeline.tables.tables import Tables, newest, readable
from schemas.errors import EarmarkError
from schemas.tables import TRACKS


@dataclass(frozen=True, slots=True)
class LabeledTracks:
    """The labeled tracks of a catalog; row i of each attribute is the same track.

    Attributes
    ----------
    genres : tuple of str
        The model's genres.
    probabilities : ndarray of float32, shape (n_tracks, n_genres)
        Calibrated probability of each genre.
    winner : ndarray of int64, shape (n_tracks,)
        Number of the label's genre in `genres`; -1 where the run left it open (``--min-confidence``).
    confidence : ndarray of float32, shape (n_tracks,)
        Probability of the most probable genre.
    tracks : pyarrow.Table
        The columns of ``tracks/`` that were asked for, and ``first_seen`` (when a run first listed the
        track).
    """

    genres: tuple[str, ...]
    probabilities: NDArray[np.float32]
    winner: NDArray[np.int64]
    confidence: NDArray[np.float32]
    tracks: pa.Table

    @property
    def n_tracks(self) -> int:
        """How many tracks there are."""
        return len(self.winner)

    @property
    def n_open(self) -> int:
        """How many of them have no genre, since the run was not sure enough of one."""
        return int((self.winner < 0).sum())


def labeled_tracks(tables: Tables, model: str, columns: Sequence[str] = ()) -> LabeledTracks:
    """Read the labels that hold now: of each track in the catalog the newest one of its present content.

    Parameters
    ----------
    tables : Tables
        The tables.
    model : str
        A value of the partition column ``model``.
    columns : sequence of str
        Columns of ``tracks/`` wanted beside the labels.

    Raises
    ------
    EarmarkError
        If the labels do not say which genres they are about.
    """
    dataset = tables.dataset("tracks")
    tracks = _present_tracks(_read(tables, dataset, ["track_id", "etag", "present", "listed_at"]))
    labels = tables.read(
        "labels",
        ["track_id", "etag", "genre", "confidence", "probabilities", "labeled_at", "is_music"],
        pc.field("model") == model,
    )
    # One look-up by track instead of a join: tracks are unique here, and lists cannot be joined.
    place = pc.index_in(labels["track_id"], tracks["track_id"].combine_chunks())
    same = pc.fill_null(pc.equal(labels["etag"], tracks["etag"].take(place)), False)
    labels = newest(labels.append_column("__track", place).filter(same), "labeled_at")
    # What is no music has no share in any genre.
    labels = labels.filter(pc.fill_null(pc.greater_equal(labels["is_music"], MUSIC), True))
    labels, tracks = (
        labels.drop(["track_id", "etag"]),
        tracks.select(["first_seen", "__row"]).take(labels["__track"]),
    )
    pa.default_memory_pool().release_unused()
    genres = genres_of(tables, model)
    facts = {name: _facts(_read(tables, dataset, [name])[name], tracks["__row"]) for name in columns}
    return LabeledTracks(
        genres=genres,
        probabilities=_matrix(labels["probabilities"], len(genres), model),
        winner=_codes(labels["genre"], genres),
        confidence=_numbers(labels["confidence"]),
        tracks=pa.table({**facts, "first_seen": tracks["first_seen"]}),
    )


def _read(tables: Tables, dataset: ds.Dataset | None, columns: Sequence[str]) -> pa.Table:
    """Columns of a table, in the same order of rows each time: the dataset's list of files is fixed."""
    if dataset is None:
        return TRACKS.empty_table().select(columns)
    with readable(tables, "tracks"):
        return dataset.to_table(columns=list(columns))


def _present_tracks(rows: pa.Table) -> pa.Table:
    """The newest row of each track in the catalog, its number, and when the track was first listed."""
    history = rows.select(["track_id", "listed_at"])
    rows = newest(rows.append_column("__row", pa.array(np.arange(rows.num_rows))), "listed_at")
    rows = rows.filter(rows["present"])
    seen = rows["listed_at"]
    if rows.num_rows < history.num_rows:
        first = history.group_by("track_id").aggregate([("listed_at", "min")])
        place = pc.index_in(rows["track_id"], first["track_id"].combine_chunks())
        seen = first["listed_at_min"].take(place)
    return rows.select(["track_id", "etag", "__row"]).append_column("first_seen", seen)


def _facts(column: pa.ChunkedArray, rows: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column's values in these rows, texts that repeat held once each."""
    repeats = pa.types.is_string(column.type) and pc.count_distinct(column).as_py() * 2 < len(column)
    return (column.dictionary_encode() if repeats else column).take(rows)


def _matrix(lists: pa.ChunkedArray, n_genres: int, model: str) -> NDArray[np.float32]:
    values = _numbers(pc.list_flatten(lists))
    if (
        len(values) != len(lists) * n_genres
        or pc.any(pc.not_equal(pc.list_value_length(lists), n_genres)).as_py()
    ):
        raise EarmarkError(f"some labels of {model} do not have a probability for each of {n_genres} genres")
    return values.reshape(-1, n_genres)


def _codes(genre: pa.ChunkedArray, genres: tuple[str, ...]) -> NDArray[np.int64]:
    codes = pc.fill_null(pc.index_in(genre, pa.array(genres, pa.string())), -1)
    return np.asarray(codes.combine_chunks(), dtype=np.int64)


def _numbers(column: pa.ChunkedArray | pa.Array) -> NDArray[np.float32]:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(array, dtype=np.float32)
