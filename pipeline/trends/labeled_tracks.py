"""The current labels joined with columns of the tracks, as a table of a database, for analysis."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.models.label import MIN_IS_MUSIC, PROBABILITY_TOLERANCE
from pipeline.storage.track_paths import find_root
from pipeline.tables.current import CURRENT_LABELS, define_current_tracks, read_genres
from pipeline.tables.gather import gather, stream_rows
from pipeline.tables.keys import Keys, open_keys
from pipeline.tables.pieces import join_pieces
from pipeline.tables.tables import Tables
from pipeline.trends.grouping import columns_to_group_by, read_values
from schemas.errors import EarmarkError

_PLACES = """\
WITH seen AS (
    SELECT track_id, min(listed_at) AS first_seen FROM tracks GROUP BY track_id
)
SELECT part, row, track_part, track_row, first_seen
FROM ({current_labels}) JOIN seen USING (track_id)
"""
"""The places of a model's current labels and of their tracks, and when a run first listed the track."""

_LABEL_PLACES = "SELECT part, row FROM places ORDER BY part, row"
_TRACK_PLACES = """\
SELECT track_part AS part, track_row AS row, first_seen
FROM places SEMI JOIN label_rows USING (part, row)
ORDER BY track_part, track_row
"""
_URIS = """\
SELECT uri
FROM places
SEMI JOIN label_rows USING (part, row)
JOIN current_tracks ON track_part = current_tracks.part AND track_row = current_tracks.row
"""

_LABELED = """\
SELECT labels.* EXCLUDE (part, row), track_part, track_row, tracks.* EXCLUDE (part, row)
FROM places
JOIN label_rows AS labels USING (part, row)
JOIN track_rows AS tracks ON track_part = tracks.part AND track_row = tracks.row
"""

_ROWS_AT_ONCE = 100_000


@dataclass(frozen=True, slots=True)
class LabeledTracks:
    """The labeled tracks of a catalog that are music: the table ``labeled`` of a database.

    Its columns are

    genre
        Index of the label's genre in `genres`; null if the run abstained (``--min-confidence``).
    confidence
        Probability of the most probable genre.
    p0, p1, …
        Calibrated probability of each genre.
    genre_tag
        The file's genre tag.
    group0, group1, …
        What `groupings` group the track by, a list for ``artist``; null if it has no such value.
    track_part, track_row
        Place of the track's row; see `gather_tracks`.

    Attributes
    ----------
    keys : Keys
        The database.
    genres : tuple of str
        The model's genres.
    n_tracks : int
        Number of tracks.
    n_silent, n_not_music : int
        Number of labeled tracks that are left out, because they are silent or probably not music.
    groupings : mapping of str to str
        The column of each grouping.
    manifest_columns : frozenset of str
        Names of the columns of the manifest, if one of the groupings is such a column.
    """

    keys: Keys
    genres: tuple[str, ...]
    n_tracks: int
    n_silent: int
    n_not_music: int
    groupings: Mapping[str, str]
    manifest_columns: frozenset[str]

    def group_names(self, by: str) -> str:
        """Return SQL for the names of the groups that a track is in: several rows for several artists."""
        column = self.groupings[by]
        return f"unnest({column})" if by == "artist" else column

    def query(self, sql: str, **parameters: object) -> pa.Table:
        """Return the rows of a query, whose parameters are written ``$name``."""
        return self.keys.query(sql, **parameters)

    def gather_tracks(self, places: pa.Table, columns: Sequence[str]) -> pa.Table:
        """Gather columns of the tracks at ``track_part`` and ``track_row``, in the order of `places`."""
        order = pc.sort_indices(places, [("track_part", "ascending"), ("track_row", "ascending")])
        part, row = (places[name].take(order) for name in ("track_part", "track_row"))
        rows = gather(self.keys.stored, "tracks", pa.table({"part": part, "row": row}), columns)
        return rows.take(pc.sort_indices(order))


@contextlib.contextmanager
def open_labeled_tracks(
    tables: Tables, model: str, by: Sequence[str], catalog: str
) -> Iterator[LabeledTracks]:
    """Read the current labels: for each track in the catalog, the newest label of its present content.

    They are in a database that takes a limited amount of memory, then the disk for temporary files, for a
    ``with`` block.

    Parameters
    ----------
    tables : Tables
        The tables. Their parts must stay while the block lasts.
    model : str
        A value of the partition column ``model``.
    by : sequence of str
        The groupings that are wanted; see `pipeline.trends.grouping.read_values`.
    catalog : str
        Location of the catalog.

    Raises
    ------
    EarmarkError
        If the labels do not name their genres or lack probabilities, the store refuses, or a part is damaged.
    """
    genres = read_genres(tables, model)
    groupings = {name: f"group{number}" for number, name in enumerate(dict.fromkeys(by))}
    manifest_columns: set[str] = set()
    left_out: Counter[str] = Counter()
    with open_keys(tables) as keys:
        keys.load("labels")
        define_current_tracks(keys)
        keys.define("places", _PLACES.format(current_labels=CURRENT_LABELS), model=model)
        keys.fill("label_rows", _read_labels(keys, genres, model, left_out))
        keys.fill("track_rows", _read_tracks(keys, groupings, catalog, manifest_columns))
        keys.define("labeled", _LABELED)
        keys.drop("label_rows", "track_rows")
        yield LabeledTracks(
            keys,
            genres,
            n_tracks=keys.count("FROM labeled"),
            n_silent=left_out["silent"],
            n_not_music=left_out["not music"],
            groupings=groupings,
            manifest_columns=frozenset(manifest_columns),
        )


def _read_labels(
    keys: Keys, genres: tuple[str, ...], model: str, left_out: Counter[str]
) -> Iterator[pa.Table]:
    """Read the labels, except of tracks that have no share in any genre; count what is left out, and why.

    These are tracks that are probably not music, and silent ones. Silence is told by what only it gets: no
    genre, and equal probabilities of all. Also models that do not predict ``is_music`` give it these.
    """
    names = pa.array(genres, pa.string())
    columns = ["genre", "confidence", "probabilities", "is_music"]
    for places, rows in _stream(keys, "labels", keys.query(_LABEL_PLACES), columns):
        is_music = pc.fill_null(pc.greater_equal(rows["is_music"], MIN_IS_MUSIC), True)
        left_out["not music"] += rows.num_rows - pc.sum(is_music, min_count=0).as_py()
        places, rows = places.filter(is_music), rows.filter(is_music)
        _check_probabilities(rows, len(genres), model)
        probabilities = np.asarray(pc.list_flatten(rows["probabilities"])).reshape(-1, len(genres))
        is_equal = (probabilities == probabilities[:, :1]).all(axis=1)
        heard = ~(is_equal & np.asarray(pc.is_null(rows["genre"])))
        left_out["silent"] += int((~heard).sum())
        places, rows, probabilities = places.filter(heard), rows.filter(heard), probabilities[heard]
        yield pa.table(
            {
                "part": places["part"],
                "row": places["row"],
                "genre": pc.index_in(rows["genre"], names),
                "confidence": rows["confidence"],
                **{f"p{genre}": np.ascontiguousarray(p) for genre, p in enumerate(probabilities.T)},
            }
        )


def _read_tracks(
    keys: Keys, groupings: Mapping[str, str], catalog: str, manifest_columns: set[str]
) -> Iterator[pa.Table]:
    root = catalog
    if "folder" in groupings:
        keys.define("uris", _URIS)
        root = find_root((batch["uri"] for batch in keys.stream("FROM uris")), catalog)
        keys.drop("uris")
    columns = dict.fromkeys(["genre_tag", *(name for by in groupings for name in columns_to_group_by(by))])
    for places, rows in _stream(keys, "tracks", keys.query(_TRACK_PLACES), list(columns)):
        if "carried" in columns:
            manifest_columns.update(rows["carried"].combine_chunks().keys.unique().to_pylist())
        tracks = rows.append_column("first_seen", places["first_seen"])
        groups = {column: read_values(by, tracks, root) for by, column in groupings.items()}
        yield pa.table(
            {"part": places["part"], "row": places["row"], "genre_tag": rows["genre_tag"], **groups}
        )


def _stream(
    keys: Keys, table: str, places: pa.Table, columns: Sequence[str]
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Yield places and the columns of their rows, many rows at a time, however small the parts are."""
    reader = stream_rows(keys.stored, table, places, columns)
    start = 0
    for rows in join_pieces(reader, reader.schema, _ROWS_AT_ONCE):
        yield places.slice(start, rows.num_rows), rows
        start += rows.num_rows


def _check_probabilities(labels: pa.Table, n_genres: int, model: str) -> None:
    lists = labels["probabilities"]
    lengths = pc.fill_null(pc.list_value_length(lists), -1)
    whole = pc.all(pc.equal(lengths, n_genres)).as_py() is not False
    if not (
        whole and _are_probabilities(pc.list_flatten(lists)) and _are_probabilities(labels["confidence"])
    ):
        raise EarmarkError(
            f"some labels of {model} do not have a confidence and, for each of its {n_genres} genres, a "
            "probability from 0 to 1; 'earmark verify' names them"
        )


def _are_probabilities(numbers: pa.ChunkedArray) -> bool:
    """Return whether all are probabilities; null and NaN are not."""
    found = np.asarray(numbers, dtype=np.float32)
    return bool(((found >= 0) & (found <= 1 + PROBABILITY_TOLERANCE)).all())
