"""What holds now: the current tracks, labels and failures, read off the tables' rows."""

import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.storage import storage
from pipeline.tables.tables import VERSION, Tables, newest, within, without
from schemas.errors import EarmarkError

_LABEL_COLUMNS = [
    "track_id", "uri", "etag", "genre", "confidence", "probabilities", "top3", "n_segments", "model",
    "feature_set", "labeled_at", "run", "run_date", "is_music", "style", "labels",
]  # fmt: skip


def current_tracks(tables: Tables, columns: tuple[str, ...] = ()) -> pa.Table:
    """The tracks that the catalog held when it was last listed: the newest row of each, if it is present.

    Parameters
    ----------
    tables : Tables
        The tables.
    columns : tuple of str
        Columns to give beside ``track_id``, ``uri`` and ``etag``.
    """
    wanted = list(dict.fromkeys(("track_id", "uri", "etag", *columns)))
    rows = tables.read("tracks", [*dict.fromkeys((*wanted, "present", "listed_at"))])
    rows = newest(rows, "listed_at")
    return rows.filter(rows["present"]).select(wanted)


def current_labels(tables: Tables, model: str) -> pa.Table:
    """The labels that hold now: of each track in the catalog the newest label of its present version.

    Parameters
    ----------
    tables : Tables
        The tables.
    model : str
        The model's name with its hash, a value of the partition column ``model``.

    Returns
    -------
    pyarrow.Table
        Columns of `schemas.tables.LABELS` and ``model``, ``run_date``, sorted by uri.
    """
    rows = tables.read("labels", _LABEL_COLUMNS, pc.field("model") == model)
    rows = newest(within(rows, current_tracks(tables)), "labeled_at")
    return rows.sort_by("uri")


def count_current_labels(tables: Tables, model: str) -> int:
    """How many tracks `current_labels` has, without reading what the labels say."""
    rows = tables.read("labels", list(VERSION), pc.field("model") == model)
    return len(within(rows, current_tracks(tables))["track_id"].unique())


def current_failures(tables: Tables, model: str | None = None) -> pa.Table:
    """The failures that hold now: the newest of each present track version that has no label.

    Failures to featurize are over where there are features: of the same set, or of any where the failure is
    of none in particular.

    Parameters
    ----------
    tables : Tables
        The tables.
    model : str, optional
        Count labels and labeling failures of this model only.
    """
    rows = tables.read("failures")
    if model is not None:
        rows = rows.filter(pc.or_kleene(pc.is_null(rows["model"]), pc.equal(rows["model"], model)))
    features = tables.read("features", [*VERSION, "feature_set"]) if rows.num_rows else rows
    of_none = pc.is_null(rows["feature_set"])
    rows = pa.concat_tables(
        [
            not_overcome(rows.filter(of_none), features),
            not_overcome(rows.filter(pc.invert(of_none)), features, (*VERSION, "feature_set")),
        ]
    )
    rows = newest(within(rows, current_tracks(tables)), "failed_at")
    where = None if model is None else pc.field("model") == model
    labeled = tables.read("labels", ["track_id", "etag"], where)
    return without(rows, labeled).sort_by("uri")


def not_overcome(failures: pa.Table, features: pa.Table, key: Sequence[str] = VERSION) -> pa.Table:
    """Failures to label, and those failures to featurize whose key has no features by now."""
    featurizing = pc.is_null(failures["model"])
    return pa.concat_tables(
        [failures.filter(pc.invert(featurizing)), without(failures.filter(featurizing), features, key)]
    )


def models(tables: Tables) -> list[str]:
    """The models that have labels in the tables, the one that labeled last at the end."""
    rows = tables.read("labels", ["model", "labeled_at"])
    last = rows.group_by("model").aggregate([("labeled_at", "max")]).sort_by("labeled_at_max")
    return [str(model) for model in last["model"].to_pylist()]


def genres_of(tables: Tables, model: str) -> tuple[str, ...]:
    """The genres that a model chose its labels from, as the labels name them.

    Raises
    ------
    EarmarkError
        If they do not.
    """
    dataset = tables.dataset("labels")
    fragments = [] if dataset is None else dataset.get_fragments(pc.field("model") == model)
    for fragment in fragments:
        with storage.explained(fragment.path, "read"):
            metadata = fragment.physical_schema.metadata or {}
        if b"genres" in metadata:
            return tuple(json.loads(metadata[b"genres"]))
    raise EarmarkError(
        f"the labels of {model} in {tables.root} do not name their genres (metadata key 'genres'); "
        "they were not written by Earmark, or rewritten by something else"
    )
