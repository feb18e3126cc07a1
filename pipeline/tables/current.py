"""The current tracks, labels and failures, derived from the rows of the tables."""

import json
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.storage.table_on_disk import collect_on_disk, sort_on_disk
from pipeline.tables.gather import gather, stream_rows
from pipeline.tables.keys import KEY_COLUMNS, Keys, open_keys
from pipeline.tables.narrowed import narrow_labels
from pipeline.tables.tables import (
    Tables,
    explain_read_errors,
    read_again_if_replaced,
    whole_schema,
)
from schemas.errors import EarmarkError
from schemas.tables import PARTITIONS

_LABEL_COLUMNS = [
    "track_id", "uri", "etag", "genre", "confidence", "probabilities", "top3", "n_segments", "model",
    "feature_set", "labeled_at", "run", "run_date", "is_music", "style", "labels",
]  # fmt: skip

CURRENT_TRACKS = """\
SELECT run, track_id, etag, uri, part, row
FROM tracks
WHERE present AND recency IN (SELECT max(recency) FROM tracks GROUP BY track_id)
"""
"""The newest row of each track that was in the catalog when it was last listed."""

_CURRENT_OF = "WITH tracks AS (SELECT * FROM tracks SEMI JOIN wanted USING (track_id)) {current_tracks}"

CURRENT_LABELS = """\
WITH present AS (
    SELECT labels.*, uri, current_tracks.part AS track_part, current_tracks.row AS track_row
    FROM labels JOIN current_tracks USING (track_id, etag)
    WHERE model = $model
)
SELECT * FROM present WHERE recency IN (SELECT max(recency) FROM present GROUP BY track_id)
"""
"""The newest label that a model gave to the present version of each current track, and of that track its uri
and place."""

_LABEL_PLACES = "SELECT part, row, uri FROM ({current_labels})"

_CURRENT_IDS = """\
SELECT track_id
FROM current_tracks SEMI JOIN (SELECT track_id, etag FROM {table} WHERE model = $model) AS found
    USING (track_id, etag)
"""

_FEATURIZED = """\
SELECT part, row
FROM current_tracks
SEMI JOIN (SELECT track_id, etag FROM features WHERE list_contains($feature_sets, feature_set)) AS found
    USING (track_id, etag)
ORDER BY part, row
"""

_MODELS = """\
SELECT model FROM labels GROUP BY model ORDER BY max(labeled_at), model
"""

_CURRENT_FAILURES = """\
WITH resolved AS (  -- failures to featurize whose track has features by now
    SELECT failures.recency
    FROM failures JOIN features USING (track_id, etag)
    WHERE failures.model IS NULL
      AND (failures.feature_set IS NULL OR failures.feature_set = features.feature_set)
),
newest AS (
    SELECT failures.* REPLACE (current_tracks.uri AS uri)
    FROM failures
    JOIN current_tracks USING (track_id, etag)
    ANTI JOIN resolved USING (recency)
    WHERE $model IS NULL OR model IS NULL OR model = $model
    QUALIFY row_number() OVER (PARTITION BY track_id ORDER BY recency DESC) = 1
)
SELECT {columns}
FROM newest
ANTI JOIN (SELECT track_id, etag FROM labels WHERE $model IS NULL OR model = $model) AS labeled
    USING (track_id, etag)
ORDER BY uri, recency
"""


def define_current_tracks(keys: Keys) -> None:
    """Keep the current tracks in the database of the keys: run, track_id, etag, uri, part and row."""
    keys.load("tracks")
    keys.define("current_tracks", CURRENT_TRACKS)


def define_current_tracks_of(keys: Keys, wanted: pa.Table) -> None:
    """Keep only those current tracks that have one of some ids, in place of any kept before.

    Parameters
    ----------
    keys : Keys
        The keys.
    wanted : pyarrow.Table
        ``track_id``.
    """
    keys.load("tracks")
    keys.register("wanted", wanted)
    keys.define("current_tracks", _CURRENT_OF.format(current_tracks=CURRENT_TRACKS))


@read_again_if_replaced
def current_tracks(tables: Tables, columns: tuple[str, ...] = ()) -> pa.Table:
    """Read the tracks that were in the catalog when it was last listed: those whose newest row is present.

    Parameters
    ----------
    tables : Tables
        The tables.
    columns : tuple of str
        Columns to return in addition to ``track_id``, ``uri`` and ``etag``.
    """
    wanted = list(dict.fromkeys(("track_id", "uri", "etag", *columns)))
    with open_keys(tables) as keys:
        define_current_tracks(keys)
        if set(wanted) <= {"track_id", "uri", "etag"}:
            return keys.query("SELECT track_id, uri, etag FROM current_tracks ORDER BY part, row")
        places = keys.query("SELECT part, row FROM current_tracks ORDER BY part, row")
        return gather(keys.stored, "tracks", places, wanted)


def find_featurized(keys: Keys, feature_sets: list[str], columns: Sequence[str]) -> pa.Table:
    """Find the current tracks that have features of some feature sets. The current tracks must be defined.

    Parameters
    ----------
    keys : Keys
        The keys.
    feature_sets : list of str
        The feature sets.
    columns : sequence of str
        Columns of ``tracks`` to return.
    """
    keys.load("features")
    places = keys.query(_FEATURIZED, feature_sets=feature_sets)
    return gather(keys.stored, "tracks", places, columns)


@read_again_if_replaced
def current_labels(
    tables: Tables, model: str, where: pc.Expression | None = None, among: Sequence[str] = ()
) -> pa.Table:
    """Read the current labels: for each track in the catalog, the newest label of its present version.

    They are in a temporary file, not in memory: those of ten million tracks take gigabytes.

    Parameters
    ----------
    tables : Tables
        The tables.
    model : str
        The model's name with its hash, a value of the partition column ``model``.
    where : pyarrow.compute.Expression, optional
        Only current labels for which this holds.
    among : sequence of str
        Genres of the model to choose from, see `narrow_labels`; by default, all.

    Returns
    -------
    pyarrow.Table
        Columns of `schemas.tables.LABELS` plus ``model`` and ``run_date``, sorted by ``uri``: where the track
        is now, also if it was elsewhere when it was labeled.
    """
    with open_keys(tables) as keys:
        keys.load("labels")
        define_current_tracks(keys)
        keys.define("places", _LABEL_PLACES.format(current_labels=CURRENT_LABELS), model=model)
        in_order = keys.stream("FROM places ORDER BY part, row")
        places = collect_on_disk(in_order, in_order.schema)
    found = stream_rows(keys.stored, "labels", places, _LABEL_COLUMNS)
    located = _relocate(found, places["uri"])
    if among:
        genres = read_genres(tables, model)
        located = (narrow_labels(batch, genres, among) for batch in located)
    chosen = (batch if where is None else batch.filter(where) for batch in located)
    return sort_on_disk(collect_on_disk(chosen, found.schema), "uri")


def _relocate(rows: pa.RecordBatchReader, uris: pa.ChunkedArray) -> Iterator[pa.RecordBatch]:
    """Yield rows with other uris, in their order."""
    column, start = rows.schema.get_field_index("uri"), 0
    for batch in rows:
        located = uris.slice(start, batch.num_rows).combine_chunks()
        yield batch.set_column(column, rows.schema.field(column), located)
        start += batch.num_rows


def count_current(keys: Keys, table: str, model: str) -> int:
    """Count the current tracks that have ``labels`` or ``embeddings`` of a model.

    The current tracks must be defined.
    """
    keys.load(table)
    return keys.count(_CURRENT_IDS.format(table=table), model=model)


@read_again_if_replaced
def current_failures(tables: Tables, model: str | None = None) -> pa.Table:
    """Read the current failures: the newest failure of each present track version that has no label.

    A failure to featurize is resolved once there are features: of the same feature set, or of any set if the
    failure does not name one.

    Parameters
    ----------
    tables : Tables
        The tables.
    model : str, optional
        Consider only labels and labeling failures of this model.
    """
    with open_keys(tables) as keys:
        define_current_tracks(keys)
        return find_current_failures(keys, model)


def find_current_failures(keys: Keys, model: str | None = None) -> pa.Table:
    """Find the current failures, as `current_failures` does. The current tracks must be defined."""
    keys.load("failures", "labels")
    if not keys.stored.parts["failures"]:
        fields = [field.remove_metadata() for field in whole_schema("failures")]
        return pa.schema(fields).empty_table()
    keys.load("features")
    columns = ", ".join([*KEY_COLUMNS["failures"], *PARTITIONS["failures"]])
    return keys.query(_CURRENT_FAILURES.format(columns=columns), model=model)


@read_again_if_replaced
def list_models(tables: Tables) -> list[str]:
    """List the models that have labels in the tables, in order of their latest label."""
    with open_keys(tables) as keys:
        return find_models(keys)


def find_models(keys: Keys) -> list[str]:
    """Find the models that have labels, as `list_models` does."""
    keys.load("labels")
    return [str(model) for model in keys.query(_MODELS)["model"].to_pylist()]


@read_again_if_replaced
def read_genres(tables: Tables, model: str) -> tuple[str, ...]:
    """Read a model's genres from the metadata of its labels.

    Raises
    ------
    EarmarkError
        If the labels cannot be read, or do not name their genres.
    """
    dataset = tables.dataset("labels")
    fragments = [] if dataset is None else dataset.get_fragments(pc.field("model") == model)
    for fragment in fragments:
        if not fragment.path.endswith(".parquet"):  # somebody's export
            continue
        with explain_read_errors(tables, "labels"):
            metadata = fragment.physical_schema.metadata or {}
        if b"genres" in metadata:
            return tuple(json.loads(metadata[b"genres"]))
    raise EarmarkError(
        f"the labels of {model} in {tables.root} do not name their genres (metadata key 'genres'); "
        "they were written or rewritten by a program other than Earmark"
    )
