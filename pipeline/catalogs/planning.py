"""The plan of a run: the catalog minus the tracks already processed, cut into shards."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.storage import storage
from pipeline.tables.current import current_tracks, drop_resolved
from pipeline.tables.tables import VERSION_KEY, Tables, anti_join, keep_newest, semi_join
from schemas.features import FeatureSpec

MIN_SHARD_TRACKS = 8
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
        Unfinished tracks without features, schema `LISTING` and ``attempts`` (failures of this version so
        far).
    to_label : pyarrow.Table
        Unfinished tracks that have features: ``track_id``, ``uri``, ``etag``, ``attempts``, ``part``
        (location of their features) and ``feature_set``.
    changed : pyarrow.Table
        ``track_id``, ``etag``, ``uri`` of tracks that are new, changed, moved or back since the last listing.
    gone : pyarrow.Table
        ``track_id``, ``uri``, ``etag`` of tracks that were in the catalog and no longer are.
    to_embed : pyarrow.Table
        ``track_id``, ``etag`` of unfinished tracks that have a label and lack only embeddings.
    embedded : pyarrow.Table
        The same of unfinished tracks that have embeddings and lack only a label, which somebody removed.
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


def make_plan(listing: pa.Table, tables: Tables, goal: Goal, *, partial: bool = False) -> Plan:
    """Compare the catalog with the tables.

    Parameters
    ----------
    listing : pyarrow.Table
        The catalog, schema `LISTING`; each ``track_id`` once.
    tables : Tables
        The tables.
    goal : Goal
        What every track should have.
    partial : bool
        Whether the listing was cut short (``--limit``): tracks that it lacks are then not gone.
    """
    labeled = embedded = _NO_VERSIONS
    if goal.model is None:
        finished = featurized = _read_featurized(tables, goal)
        remaining = anti_join(listing, finished)
    else:
        labeled = tables.read("labels", list(VERSION_KEY), pc.field("model") == goal.model)
        finished = labeled
        if goal.embeddings:
            embedded = _read_embedded(tables, goal)
            finished = semi_join(labeled, embedded)
        remaining = anti_join(listing, finished)
        # Reading which tracks have features is most of the cost of planning; skip it if nothing remains.
        featurized = _read_featurized(tables, goal) if remaining.num_rows else _NO_FEATURES
    failures = _read_failures(tables, goal, featurized)
    # A missing file needs no retry: once it exists, it has another version.
    final = pc.or_(pc.invert(failures["retryable"]), pc.equal(failures["etag"], "missing"))
    blocked = failures.slice(0, 0) if goal.retry_failed else failures.filter(final)
    todo = _add_attempts(anti_join(remaining, blocked), failures)
    versions = todo.select(list(VERSION_KEY))
    to_label = semi_join(todo, featurized) if goal.model else todo.slice(0, 0)
    known = current_tracks(tables)
    changed = anti_join(listing.select([*VERSION_KEY, "uri"]), known, (*VERSION_KEY, "uri"))
    return Plan(
        listing=listing,
        n_labeled=listing.num_rows - remaining.num_rows,
        n_failed=remaining.num_rows - todo.num_rows,
        to_featurize=anti_join(todo, featurized),
        to_label=_add_parts(to_label, featurized),
        changed=changed,
        gone=known.slice(0, 0) if partial else anti_join(known, listing, ("track_id",)),
        to_embed=semi_join(versions, labeled) if goal.embeddings else _NO_VERSIONS,
        embedded=semi_join(versions, embedded) if goal.embeddings else _NO_VERSIONS,
    )


_NO_FEATURES = pa.schema(
    [(name, pa.string()) for name in (*VERSION_KEY, "feature_set", "part")]
).empty_table()


def _read_featurized(tables: Tables, goal: Goal) -> pa.Table:
    """Return one row for each featurized version: track_id, etag, feature_set and part.

    If crashes left a version's features in two parts, the choice between them is deterministic.
    """
    where = pc.field("feature_set").isin(goal.feature_sets) & (pc.field("segment") == 0)
    rows = tables.read("features", [*VERSION_KEY, "feature_set", "__filename"], where)
    protocol, _ = storage.split(tables.root)
    # pyarrow names files in a store without the protocol.
    prefix = "" if protocol == "file" else f"{protocol}://"
    parts = pc.binary_join_element_wise(prefix, rows["__filename"].cast(pa.string()), "")
    rows = pa.table({name: rows[name] for name in (*VERSION_KEY, "feature_set")} | {"part": parts})
    return keep_newest(rows, "part", key=VERSION_KEY)


def _read_embedded(tables: Tables, goal: Goal) -> pa.Table:
    """Return ``track_id`` and ``etag`` of the versions that have embeddings of the goal's model."""
    where = (pc.field("model") == goal.model) & (pc.field("segment") == 0)
    return tables.read("embeddings", list(VERSION_KEY), where)


def _read_failures(tables: Tables, goal: Goal, featurized: pa.Table) -> pa.Table:
    """Return the newest failure of each track version that blocks the goal."""
    columns = [*VERSION_KEY, "attempts", "retryable", "failed_at", "model"]
    ours = pc.field("feature_set").is_null() | pc.field("feature_set").isin(goal.feature_sets)
    theirs = pc.field("model").is_null()
    if goal.model is not None:
        theirs |= pc.field("model") == goal.model
    rows = tables.read("failures", columns, ours & theirs)
    return keep_newest(drop_resolved(rows, featurized), "failed_at", key=VERSION_KEY)


def _add_attempts(tracks: pa.Table, failures: pa.Table) -> pa.Table:
    tried = semi_join(failures, tracks)
    attempts = dict(zip(_versions(tried), tried["attempts"].to_pylist(), strict=True))
    column = [attempts.get(version, 0) for version in _versions(tracks)] if attempts else [0] * len(tracks)
    return tracks.append_column("attempts", pa.array(column, pa.int32()))


def _add_parts(tracks: pa.Table, featurized: pa.Table) -> pa.Table:
    picked = semi_join(featurized, tracks)
    row_of = {version: row for row, version in enumerate(_versions(picked))}
    rows = picked.take(pa.array([row_of[version] for version in _versions(tracks)], pa.int64()))
    tracks = tracks.select(["track_id", "uri", "etag", "attempts"])
    return tracks.append_column("part", rows["part"]).append_column("feature_set", rows["feature_set"])


def _versions(rows: pa.Table) -> Iterator[tuple[str, str]]:
    return zip(rows["track_id"].to_pylist(), rows["etag"].to_pylist(), strict=True)


def cut_shards(
    tracks: pa.Table, *, max_tracks: int, max_bytes: int, at_least: int, min_tracks: int = MIN_SHARD_TRACKS
) -> list[pa.Table]:
    """Cut tracks into shards of consecutive rows.

    Parameters
    ----------
    tracks : pyarrow.Table
        With a column ``size``.
    max_tracks, max_bytes : int
        A shard is full when it reaches either.
    at_least : int
        Cut into about this many shards if there are enough tracks, so that all workers are busy and none is
        left with a long last shard.
    min_tracks : int
        Smallest shard to cut for `at_least`: each shard writes some objects, which every later run lists.
    """
    sizes = tracks["size"].to_pylist()
    even_tracks = max(min_tracks, -(-len(sizes) // max(1, at_least)))
    max_tracks = min(max_tracks, even_tracks)
    shards: list[pa.Table] = []
    start, total = 0, 0
    for index, size in enumerate(sizes):
        total += size
        if index + 1 - start >= max_tracks or total >= max_bytes:
            shards.append(copy_rows(tracks, start, index + 1))
            start, total = index + 1, 0
    if start < len(sizes):
        shards.append(copy_rows(tracks, start, len(sizes)))
    return shards


def copy_rows(tracks: pa.Table, start: int, stop: int) -> pa.Table:
    """Copy rows `start` to `stop`: Ray serializes a slice together with the whole table it belongs to."""
    return tracks.take(pa.array(range(start, stop), pa.int64()))
