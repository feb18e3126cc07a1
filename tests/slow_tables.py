"""What planning and the current rows were before they were queries: simple, in memory, and slow.

The queries of `pipeline.catalogs.planning`, `pipeline.catalogs.catalog_changes` and `pipeline.tables.current`
are compared with these functions, row by row.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalogs.planning import Goal, Plan
from pipeline.storage import storage
from pipeline.tables.tables import VERSION_KEY, Tables
from schemas.tables import LISTING, TRACKS
from tests.slow_joins import anti_join, keep_newest, read_whole, semi_join

_LABEL_COLUMNS = [
    "track_id", "uri", "etag", "genre", "confidence", "probabilities", "top3", "n_segments", "model",
    "feature_set", "labeled_at", "run", "run_date", "is_music", "style", "labels",
]  # fmt: skip


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
    rows = tables.read("tracks", [*dict.fromkeys((*wanted, "present", "listed_at"))])
    rows = keep_newest(rows, "listed_at")
    return rows.filter(rows["present"]).select(wanted)


def featurized_tracks(tables: Tables, feature_sets: Sequence[str], columns: Sequence[str]) -> pa.Table:
    """Read columns of the current tracks that have features of some feature sets."""
    featurized = tables.read("features", list(VERSION_KEY), pc.field("feature_set").isin(feature_sets))
    return semi_join(current_tracks(tables, tuple(columns)), featurized).select(columns)


def current_labels(tables: Tables, model: str) -> pa.Table:
    """Read the current labels: for each track in the catalog, the newest label of its present version.

    Parameters
    ----------
    tables : Tables
        The tables.
    model : str
        The model's name with its hash, a value of the partition column ``model``.

    Returns
    -------
    pyarrow.Table
        Columns of `schemas.tables.LABELS` plus ``model`` and ``run_date``, sorted by ``uri``.
    """
    rows = tables.read("labels", _LABEL_COLUMNS, pc.field("model") == model)
    current = current_tracks(tables)
    return _relocate(keep_newest(semi_join(rows, current), "labeled_at"), current).sort_by("uri")


def _relocate(rows: pa.Table, current: pa.Table) -> pa.Table:
    """Put the uris where the tracks are now into rows of current tracks."""
    uris = current["uri"].take(pc.index_in(rows["track_id"], current["track_id"]))
    return rows.set_column(rows.schema.get_field_index("uri"), rows.schema.field("uri"), uris)


def count_current_labels(tables: Tables, model: str) -> int:
    """Count the rows of `current_labels` without reading genres and probabilities."""
    rows = tables.read("labels", list(VERSION_KEY), pc.field("model") == model)
    return len(semi_join(rows, current_tracks(tables))["track_id"].unique())


def count_current_embeddings(tables: Tables, model: str) -> int:
    """Count the current tracks that have embeddings of a model."""
    rows = _read_embedded(tables, model)
    return len(semi_join(rows, current_tracks(tables))["track_id"].unique())


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
    rows = read_whole(tables, "failures")
    if model is not None:
        rows = rows.filter(pc.or_kleene(pc.is_null(rows["model"]), pc.equal(rows["model"], model)))
    features = tables.read("features", [*VERSION_KEY, "feature_set"]) if rows.num_rows else rows
    any_set = pc.is_null(rows["feature_set"])
    rows = pa.concat_tables(
        [
            drop_resolved(rows.filter(any_set), features),
            drop_resolved(rows.filter(pc.invert(any_set)), features, (*VERSION_KEY, "feature_set")),
        ]
    )
    current = current_tracks(tables)
    rows = _relocate(keep_newest(semi_join(rows, current), "failed_at"), current)
    where = None if model is None else pc.field("model") == model
    labeled = tables.read("labels", ["track_id", "etag"], where)
    return anti_join(rows, labeled).sort_by("uri")


def drop_resolved(failures: pa.Table, features: pa.Table, key: Sequence[str] = VERSION_KEY) -> pa.Table:
    """Drop the failures to featurize whose key has features by now. Failures to label are kept."""
    featurizing = pc.is_null(failures["model"])
    return pa.concat_tables(
        [failures.filter(pc.invert(featurizing)), anti_join(failures.filter(featurizing), features, key)]
    )


def list_models(tables: Tables) -> list[str]:
    """List the models that have labels in the tables, in order of their latest label."""
    rows = tables.read("labels", ["model", "labeled_at"])
    last = rows.group_by("model").aggregate([("labeled_at", "max")]).sort_by("labeled_at_max")
    return [str(model) for model in last["model"].to_pylist()]


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
            embedded = _read_embedded(tables, goal.model)
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
        to_featurize=_add_recorded(anti_join(todo, featurized), changed),
        to_label=_add_parts(to_label, featurized),
        changed=changed,
        gone=known.slice(0, 0) if partial else anti_join(known, listing, ("track_id",)),
        to_embed=semi_join(versions, labeled) if goal.embeddings else _NO_VERSIONS,
        embedded=semi_join(versions, embedded) if goal.embeddings else _NO_VERSIONS,
    )


_NO_VERSIONS = pa.schema([(name, pa.string()) for name in VERSION_KEY]).empty_table()
_NO_FEATURES = pa.schema(
    [(name, pa.string()) for name in (*VERSION_KEY, "feature_set", "part")]
).empty_table()


def _read_featurized(tables: Tables, goal: Goal) -> pa.Table:
    """Return one row for each featurized version: track_id, etag, feature_set and part.

    If crashes left a version's features in two parts, the choice between them is deterministic.
    """
    if tables.dataset("features") is None:
        return _NO_FEATURES
    where = pc.field("feature_set").isin(goal.feature_sets) & (pc.field("segment") == 0)
    rows = tables.read("features", [*VERSION_KEY, "feature_set", "__filename"], where)
    protocol, _ = storage.split(tables.root)
    # pyarrow names files in a store without the protocol.
    prefix = "" if protocol == "file" else f"{protocol}://"
    parts = pc.binary_join_element_wise(prefix, rows["__filename"].cast(pa.string()), "")
    rows = pa.table({name: rows[name] for name in (*VERSION_KEY, "feature_set")} | {"part": parts})
    return keep_newest(rows, "part", key=VERSION_KEY)


def _read_embedded(tables: Tables, model: str) -> pa.Table:
    """Return ``track_id`` and ``etag`` of the versions that have embeddings of a model."""
    where = (pc.field("model") == model) & (pc.field("segment") == 0)
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


def _add_recorded(tracks: pa.Table, changed: pa.Table) -> pa.Table:
    news = set(_versions(changed))
    column = [version not in news for version in _versions(tracks)]
    return tracks.append_column("recorded", pa.array(column, pa.bool_()))


def _add_parts(tracks: pa.Table, featurized: pa.Table) -> pa.Table:
    picked = semi_join(featurized, tracks)
    row_of = {version: row for row, version in enumerate(_versions(picked))}
    rows = picked.take(pa.array([row_of[version] for version in _versions(tracks)], pa.int64()))
    tracks = tracks.select(["track_id", "uri", "etag", "attempts"])
    return tracks.append_column("part", rows["part"]).append_column("feature_set", rows["feature_set"])


def _versions(rows: pa.Table) -> Iterator[tuple[str, str]]:
    return zip(rows["track_id"].to_pylist(), rows["etag"].to_pylist(), strict=True)


def change_rows(plan: Plan, tables: Tables, listed_at: datetime) -> pa.Table:
    """Return rows for the changes of a listing, except for tracks to featurize, which workers record.

    Parameters
    ----------
    plan : Plan
        The run's plan.
    tables : Tables
        Source of the tags and audio facts of versions that were read before.
    listed_at : datetime
        When the catalog was listed.

    Returns
    -------
    pyarrow.Table
        Schema `TRACKS`.
    """
    unread = semi_join(anti_join(plan.listing, plan.to_featurize), plan.changed)
    if not (unread.num_rows or plan.gone.num_rows):
        return TRACKS.empty_table()
    history = tables.read("tracks", TRACKS.names)
    gone = semi_join(keep_newest(history, "listed_at"), plan.gone)
    facts = keep_newest(semi_join(history, unread), "listed_at", key=VERSION_KEY)
    return pa.concat_tables([_restate(unread, facts, listed_at), _stamp(gone, listed_at, present=False)])


def _restate(listing: pa.Table, facts: pa.Table, listed_at: datetime) -> pa.Table:
    """Join listing rows with the facts known for the same version, null where there are none."""
    row_of = {
        version: row
        for row, version in enumerate(
            zip(facts["track_id"].to_pylist(), facts["etag"].to_pylist(), strict=True)
        )
    }
    versions = zip(listing["track_id"].to_pylist(), listing["etag"].to_pylist(), strict=True)
    matching = pa.array([row_of.get(version) for version in versions], pa.int64())
    columns = [
        listing[name] if name in LISTING.names else facts[name].take(matching) for name in TRACKS.names
    ]
    nullable = pa.schema([field.with_nullable(True) for field in TRACKS])
    return _stamp(pa.Table.from_arrays(columns, schema=nullable), listed_at, present=True)


def _stamp(rows: pa.Table, listed_at: datetime, *, present: bool) -> pa.Table:
    stamps = {"present": present, "listed_at": listed_at}
    columns = [
        pa.array([stamps[field.name]] * rows.num_rows, field.type)
        if field.name in stamps
        else rows[field.name]
        for field in TRACKS
    ]
    return pa.Table.from_arrays(columns, schema=TRACKS)
