"""The plan of a run: the catalog minus the tracks already processed."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.tables.current import define_current_tracks
from pipeline.tables.gather import stream_rows
from pipeline.tables.keys import Keys
from pipeline.tables.tables import VERSION_KEY, select_rows
from schemas.features import FeatureSpec

_NO_VERSIONS = pa.schema([(name, pa.string()) for name in VERSION_KEY]).empty_table()


@dataclass(frozen=True)
class Plan:
    """The work of a run.

    Attributes
    ----------
    listing : pyarrow.Table
        The catalog, schema `LISTING`.
    n_labeled, n_failed : int
        Tracks of the listing that are finished in the tables, or failed and not to be retried.
    to_featurize : pyarrow.Table
        Unfinished tracks without features, schema `LISTING`, ``attempts`` (failures of this version so far)
        and ``recorded`` (whether the tables hold the track as it is listed).
    to_label : pyarrow.Table
        Unfinished tracks that have features: ``track_id``, ``uri``, ``etag``, ``attempts``, ``part``
        (location of their features) and ``feature_set``.
    changed : pyarrow.Table
        ``track_id``, ``etag``, ``uri`` of tracks that are new, changed, moved or back since the last listing,
        or whose other columns in the manifest have changed.
    gone : pyarrow.Table
        ``track_id``, ``uri``, ``etag`` of tracks that were in the catalog and no longer are.
    to_embed : pyarrow.Table
        ``track_id``, ``etag`` of unfinished tracks that have a label and lack only embeddings.
    embedded : pyarrow.Table
        The same of unfinished tracks that have embeddings and lack only a label, which somebody removed.
    n_again : int
        Tracks to featurize that some model labeled before: their features, or other ones, were not kept.
    """

    listing: pa.Table
    n_labeled: int
    n_failed: int
    to_featurize: pa.Table
    to_label: pa.Table
    changed: pa.Table
    gone: pa.Table
    to_embed: pa.Table
    embedded: pa.Table
    n_again: int = 0

    @property
    def n_todo(self) -> int:
        """Tracks that the run works on."""
        return int(self.to_featurize.num_rows + self.to_label.num_rows)


@dataclass(frozen=True)
class Goal:
    """What every track of the catalog should have after a run.

    Attributes
    ----------
    spec : FeatureSpec
        Features; a feature set that contains more serves as well.
    model : str or None
        The model of the labels; None for features without labels.
    retry_failed : bool
        Whether to retry failed tracks that have not changed.
    embeddings : bool
        Whether a track is finished only if it has the model's embeddings besides its label.
    """

    spec: FeatureSpec
    model: str | None
    retry_failed: bool = False
    embeddings: bool = False

    @property
    def feature_sets(self) -> list[str]:
        """The feature sets that contain the features."""
        return [spec.feature_set for spec in self.spec.supersets()]


_REMAINING_TO_FEATURIZE = """\
SELECT track_id, etag, row
FROM listed
ANTI JOIN (SELECT track_id, etag FROM features WHERE list_contains($feature_sets, feature_set)) AS done
    USING (track_id, etag)
"""

_REMAINING_TO_LABEL = """\
SELECT track_id, etag, row
FROM listed
ANTI JOIN (SELECT track_id, etag FROM labels WHERE model = $model) AS done USING (track_id, etag)
"""

_REMAINING_TO_EMBED = """\
WITH embedded AS (
    SELECT track_id, etag FROM embeddings WHERE model = $model
),
done AS (
    SELECT track_id, etag FROM labels SEMI JOIN embedded USING (track_id, etag) WHERE model = $model
)
SELECT track_id, etag, row
FROM listed ANTI JOIN done USING (track_id, etag)
"""
"""Those that lack a label, embeddings, or both."""

_FEATURIZED = """\
SELECT track_id, etag, max(part) AS part  -- crashes may have left two; which one, must not be left to chance
FROM features SEMI JOIN remaining USING (track_id, etag)
WHERE list_contains($feature_sets, feature_set)
GROUP BY track_id, etag
"""

_BLOCKING = """\
SELECT track_id, etag, attempts, retryable
FROM failures
SEMI JOIN remaining USING (track_id, etag)
LEFT JOIN featurized USING (track_id, etag)
WHERE (feature_set IS NULL OR list_contains($feature_sets, feature_set))
  AND CASE WHEN model IS NULL THEN featurized.part IS NULL ELSE model = $model END
QUALIFY row_number() OVER (PARTITION BY track_id, etag ORDER BY failures.recency DESC) = 1
"""
"""The newest failure of each version that stands in the way: of this model to label it, or to featurize it
while there are no features."""

_TODO = """\
SELECT row, coalesce(attempts, 0) AS attempts, location, feature_set
FROM remaining
LEFT JOIN blocking USING (track_id, etag)
LEFT JOIN featurized USING (track_id, etag)
LEFT JOIN parts_features ON parts_features.part = featurized.part
WHERE $retry_failed
   OR retryable IS NULL
   OR (retryable AND etag <> 'missing')  -- once a missing file exists, it has another version
ORDER BY row
"""

_HAVING = """\
SELECT track_id, etag
FROM todo SEMI JOIN (SELECT track_id, etag FROM {table} WHERE model = $model) AS found USING (track_id, etag)
ORDER BY row
"""

_CHANGES = """\
SELECT listed.row AS row, known.track_id, known.uri, known.etag
FROM listed FULL JOIN current_tracks AS known ON listed.track_id = known.track_id
WHERE listed.row IS NULL
   OR known.track_id IS NULL
   OR listed.etag <> known.etag
   OR listed.uri <> known.uri
ORDER BY listed.row, known.part, known.row
"""

_UNCHANGED = """\
SELECT listed.row AS number, known.part, known.row
FROM listed JOIN current_tracks AS known USING (track_id, etag, uri)
ORDER BY known.part, known.row
"""

_RELABELED = """\
SELECT number
FROM listed_columns AS listed JOIN known_columns AS known USING (number)
WHERE list_sort(map_entries(listed.carried)) IS DISTINCT FROM list_sort(map_entries(known.carried))
ORDER BY number
"""


def make_plan(listing: pa.Table, keys: Keys, goal: Goal, *, partial: bool) -> Plan:
    """Compare the catalog with the tables.

    Parameters
    ----------
    listing : pyarrow.Table
        The catalog, schema `LISTING`; each ``track_id`` once.
    keys : Keys
        Of the tables; views of them are made in this database.
    goal : Goal
        What every track should have.
    partial : bool
        Whether the listing was cut short (``--limit``): tracks that it lacks are then not gone.
    """
    rows = pa.array(np.arange(listing.num_rows))
    keys.register("listed", listing.select([*VERSION_KEY, "uri"]).append_column("row", rows))
    n_remaining = _define_remaining(keys, goal)
    todo = _find_todo(keys, goal) if n_remaining else _NOTHING
    tracks = select_rows(listing, todo["row"]).append_column("attempts", todo["attempts"].cast(pa.int32()))
    labeling = pc.is_valid(todo["location"])
    to_label = tracks.select(["track_id", "uri", "etag", "attempts"]).append_column("part", todo["location"])
    to_label = to_label.append_column("feature_set", todo["feature_set"]).filter(labeling)
    keys.register("todo", tracks.select(list(VERSION_KEY)).append_column("row", todo["row"]))
    define_current_tracks(keys)
    changes = keys.query(_CHANGES)
    is_gone = pc.is_null(changes["row"])
    gone = changes.filter(is_gone).select(["track_id", "uri", "etag"])
    changed_rows = (changes["row"].filter(pc.invert(is_gone)), _find_relabeled(keys, listing))
    versions = listing.select([*VERSION_KEY, "uri"])
    changed = pa.concat_tables(select_rows(versions, numbers) for numbers in changed_rows)
    is_changed = np.zeros(listing.num_rows, np.bool_)
    for numbers in changed_rows:
        is_changed[numbers.to_numpy()] = True
    recorded = pa.array(~is_changed[todo["row"].to_numpy()])
    to_featurize = tracks.append_column("recorded", recorded).filter(pc.invert(labeling))
    return Plan(
        listing=listing,
        n_labeled=listing.num_rows - n_remaining,
        n_failed=n_remaining - todo.num_rows,
        to_featurize=to_featurize,
        to_label=to_label,
        changed=changed,
        gone=gone.slice(0, 0) if partial else gone,
        to_embed=_find_having(keys, "labels", goal) if goal.embeddings else _NO_VERSIONS,
        embedded=_find_having(keys, "embeddings", goal) if goal.embeddings else _NO_VERSIONS,
        n_again=_count_labeled(keys, to_featurize),
    )


_NOTHING = pa.schema(
    [("row", pa.int64()), ("attempts", pa.int32()), ("location", pa.string()), ("feature_set", pa.string())]
).empty_table()


def _define_remaining(keys: Keys, goal: Goal) -> int:
    """Keep the listed versions that the goal lacks in the database, and return their number."""
    if goal.model is None:
        keys.load("features")
        keys.define("remaining", _REMAINING_TO_FEATURIZE, feature_sets=goal.feature_sets)
    elif goal.embeddings:
        keys.load("labels", "embeddings")
        keys.define("remaining", _REMAINING_TO_EMBED, model=goal.model)
    else:
        keys.load("labels")
        keys.define("remaining", _REMAINING_TO_LABEL, model=goal.model)
    return keys.count("FROM remaining")


def _find_todo(keys: Keys, goal: Goal) -> pa.Table:
    """Find the tracks to work on: row in the listing, attempts, and the features part if there is one."""
    keys.load("features", "failures")
    keys.define("featurized", _FEATURIZED, feature_sets=goal.feature_sets)
    keys.define("blocking", _BLOCKING, feature_sets=goal.feature_sets, model=goal.model)
    return keys.query(_TODO, retry_failed=goal.retry_failed)


def _find_having(keys: Keys, table: str, goal: Goal) -> pa.Table:
    """Find the versions to work on that have rows of the goal's model in a table."""
    return keys.query(_HAVING.format(table=table), model=goal.model)


def _find_relabeled(keys: Keys, listing: pa.Table) -> pa.ChunkedArray:
    """Find the rows of a listing whose other columns alone have changed: labels that somebody corrected.

    The tables are read only if the manifest has other columns.
    """
    carried = listing.select(["carried"])
    none = pa.chunked_array([pa.array([], pa.int64())])
    if carried["carried"].null_count == listing.num_rows:
        return none
    places = keys.query(_UNCHANGED)
    if not places.num_rows:
        return none
    keys.register("listed_columns", carried.append_column("number", pa.array(np.arange(listing.num_rows))))
    keys.fill("known_columns", _known_columns(keys, places))
    return keys.query(_RELABELED)["number"]


def _known_columns(keys: Keys, places: pa.Table) -> Iterator[pa.Table]:
    """Yield what the tables hold of the other columns, with the numbers that rows have in `places`."""
    start = 0
    for batch in stream_rows(keys.stored, "tracks", places, ["carried"]):
        numbers = places["number"].slice(start, batch.num_rows)
        start += batch.num_rows
        yield pa.table({"carried": batch["carried"], "number": numbers})


def _count_labeled(keys: Keys, to_featurize: pa.Table) -> int:
    """Count the versions to featurize that some model has labeled."""
    if not to_featurize.num_rows:
        return 0
    keys.load("labels")
    keys.register("to_featurize", to_featurize.select(list(VERSION_KEY)))
    return keys.count("FROM to_featurize SEMI JOIN labels USING (track_id, etag)")
