"""The current tracks, labels and failures, derived from the rows of the tables."""

import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.storage import storage
from pipeline.tables.tables import VERSION_KEY, Tables, anti_join, keep_newest, semi_join
from schemas.errors import EarmarkError

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
    rows = keep_newest(semi_join(rows, current_tracks(tables)), "labeled_at")
    return rows.sort_by("uri")


def count_current_labels(tables: Tables, model: str) -> int:
    """Count the rows of `current_labels` without reading genres and probabilities."""
    rows = tables.read("labels", list(VERSION_KEY), pc.field("model") == model)
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
    rows = tables.read("failures")
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
    rows = keep_newest(semi_join(rows, current_tracks(tables)), "failed_at")
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


def read_genres(tables: Tables, model: str) -> tuple[str, ...]:
    """Read a model's genres from the metadata of its labels.

    Raises
    ------
    EarmarkError
        If the labels do not name their genres.
    """
    dataset = tables.dataset("labels")
    fragments = [] if dataset is None else dataset.get_fragments(pc.field("model") == model)
    for fragment in fragments:
        with storage.explain_errors(fragment.path, "read"):
            metadata = fragment.physical_schema.metadata or {}
        if b"genres" in metadata:
            return tuple(json.loads(metadata[b"genres"]))
    raise EarmarkError(
        f"the labels of {model} in {tables.root} do not name their genres (metadata key 'genres'); "
        "they were written or rewritten by a program other than Earmark"
    )
