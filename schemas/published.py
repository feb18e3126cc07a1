"""The schema of the table that ``earmark publish`` writes: one row for each labeled track of the catalog."""

import pyarrow as pa

from schemas.tables import LABELS, TIMESTAMP, TRACKS

_OF_TRACK = (
    "track_id", "uri", "title", "artist", "album", "year", "release_date", "genre_tag", "duration_s", "codec",
    "sample_rate", "channels", "size", "modified_at", "carried", "etag", "listed_at",
)  # fmt: skip
_OF_LABEL = (
    "genre", "style", "confidence", "is_music", "labels", "top3", "probabilities", "n_segments",
    "feature_set", "labeled_at", "run",
)  # fmt: skip


def _add(name: str, kind: pa.DataType, description: str) -> pa.Field:
    return pa.field(name, kind, metadata={"description": description})


_FIRST_SEEN = _add("first_seen", TIMESTAMP, "When a run first listed the track")
_MODEL = _add("model", pa.string(), "The model that made the label: its name with its hash")
_EMBEDDING = (
    _add(
        "embedding",
        pa.list_(pa.float32()),
        "Mean of the embeddings of the track's segments; null if the model has none of it",
    ),
    _add("embedding_run", pa.string(), "The run that made the embeddings"),
)

TRACK_FACTS = pa.schema([*(TRACKS.field(name).with_nullable(True) for name in _OF_TRACK), _FIRST_SEEN])
"""The published columns that come from ``tracks/``."""
LABEL_COLUMNS = pa.schema([*(LABELS.field(name).with_nullable(True) for name in _OF_LABEL), _MODEL])
"""The published columns that come from ``labels/``."""
IDENTITY = ("track_id", "etag", "listed_at", "model", "labeled_at")
"""Columns that name the rows of ``tracks/`` and ``labels/`` from which all others come."""


def published_schema(*, embeddings: bool) -> pa.Schema:
    """Return the columns of the published table, with or without the mean embedding of each track."""
    return pa.schema([*TRACK_FACTS, *LABEL_COLUMNS, *(_EMBEDDING if embeddings else ())])
