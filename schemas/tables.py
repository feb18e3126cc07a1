"""Arrow schemas of the tables. Every field has a ``description`` and, where applicable, a ``unit``.

Partition columns (Hive style, in the path) are not stored in the files; `PARTITIONS` lists them.
"""

import json
from collections.abc import Sequence

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", tz="UTC")


def _column(
    name: str, kind: pa.DataType, description: str, unit: str | None = None, *, nullable: bool = False
) -> pa.Field:
    metadata = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, nullable=nullable, metadata=metadata)


_TRACK_ID = _column(
    "track_id", pa.string(), "The manifest's id, or else a hash of the path below the catalog root"
)
_URI = _column("uri", pa.string(), "Location of the file: a local path or an object's URI")
_ETAG = _column(
    "etag", pa.string(), "Version of the content: the store's ETag, or size and modification time"
)
_SEGMENT = _column("segment", pa.int16(), "Index of the segment in its track, from 0")
_START_S = _column("start_s", pa.float32(), "Start of the segment in the track", "s")
_CARRIED = _column(
    "carried", pa.map_(pa.string(), pa.string()), "Other columns of the manifest, as text", nullable=True
)
CARRIED_LABELS = ("label", "genre")
"""Columns of a manifest that can hold the label; the first that exists is used."""

LISTING = pa.schema(
    [
        _TRACK_ID,
        _URI,
        _column("size", pa.int64(), "Size of the file", "bytes"),
        _ETAG,
        _column("modified_at", TIMESTAMP, "When the file was last modified", nullable=True),
        _CARRIED,
    ]
)
"""A catalog as listed: not stored itself, but the first columns of `TRACKS`."""

TRACKS = pa.schema(
    [
        *LISTING,
        _column(
            "present", pa.bool_(), "Whether the track was in the listing; false if it has left the catalog"
        ),
        _column("listed_at", TIMESTAMP, "When the run that wrote the row listed the catalog"),
        _column("artist", pa.string(), "The file's artist tag", nullable=True),
        _column("album", pa.string(), "The file's album tag", nullable=True),
        _column("title", pa.string(), "The file's title tag", nullable=True),
        _column("year", pa.int16(), "Year of the file's date tag", nullable=True),
        _column(
            "release_date",
            pa.string(),
            "The file's date tag, as precise as it is: 1999, 1999-05 or 1999-05-03",
            nullable=True,
        ),
        _column("genre_tag", pa.string(), "The file's genre tag", nullable=True),
        _column("codec", pa.string(), "Codec of the audio; null if it was not decoded", nullable=True),
        _column("duration_s", pa.float64(), "Duration of the audio", "s", nullable=True),
        _column("sample_rate", pa.int32(), "Sample rate of the file", "Hz", nullable=True),
        _column("channels", pa.int16(), "Number of channels", nullable=True),
    ]
)
"""One row each time a track is read, or changes in the listing: is new, changed, gone or back. The newest row
of a track is the current one."""

_FEATURES = [
    _TRACK_ID,
    _ETAG,
    _SEGMENT,
    _START_S,
    _column("duration_s", pa.float32(), "Duration of the segment", "s"),
    _column(
        "log_mel",
        pa.large_binary(),
        "Log-mel levels as uint8, n_mels × n_frames in C order, lowest band first: 255 is the maximum of the "
        "segment (or max_db of the feature set), 0 is range_db below it; null if not computed",
        nullable=True,
    ),
    _column("n_frames", pa.int32(), "Number of frames (columns) in log_mel"),
    _column(
        "range_db",
        pa.float32(),
        "Range between level 0 and level 255. For a silent segment 0, or -1 if log_mel was not computed",
        "dB",
    ),
    _column(
        "spec",
        pa.int16(),
        "Only in feature sets of several specs: which of them the segment was cut and featurized by, 0 for "
        "the first; null if the set has only one",
        nullable=True,
    ),
]


def features_schema(descriptor_names: Sequence[str] = ()) -> pa.Schema:
    """Return the schema of ``features/``, one row per segment.

    Parameters
    ----------
    descriptor_names : sequence of str
        Names of descriptor columns (float64) to add; none by default.
    """
    described = [
        _column(name, pa.float64(), f"Descriptor {name} of the published GTZAN tables", nullable=True)
        for name in descriptor_names
    ]
    return pa.schema([*_FEATURES, *described])


_LABELS = pa.list_(
    pa.struct(
        [
            pa.field("genre", pa.string()),
            pa.field("style", pa.string()),
            pa.field("probability", pa.float32()),
        ]
    )
)
_TOP3 = pa.list_(pa.struct([pa.field("genre", pa.string()), pa.field("probability", pa.float32())]))

LABELS = pa.schema(
    [
        _TRACK_ID,
        _URI,
        _ETAG,
        _column(
            "genre",
            pa.string(),
            "The most probable genre; null if the track is silent, probably not music, or its confidence "
            "below --min-confidence",
            nullable=True,
        ),
        _column("confidence", pa.float32(), "Calibrated probability of the most probable genre", "0–1"),
        _column(
            "probabilities",
            pa.list_(pa.float32()),
            "Calibrated probability of each genre, averaged over the segments as far as they are music, in "
            "the order of the metadata key 'genres' of the file",
            "0–1",
        ),
        _column("top3", _TOP3, "The three most probable genres, most probable first"),
        _column("n_segments", pa.int16(), "Number of segments that the model read, silent ones included"),
        _column("feature_set", pa.string(), "The feature set that the model read"),
        _column("labeled_at", TIMESTAMP, "When the label was made"),
        _column("run", pa.string(), "The run that made the label"),
        _column(
            "is_music",
            pa.float32(),
            "Probability that the track is music; null if it is silent or the model does not predict it",
            "0–1",
            nullable=True,
        ),
        _column(
            "style",
            pa.string(),
            "The style of the genre, such as techno; null if the model finds none",
            nullable=True,
        ),
        _column(
            "labels",
            _LABELS,
            "All genres and styles that the model finds, most probable first, each with its own probability; "
            "null if the model names only one genre",
            nullable=True,
        ),
    ]
)


def labels_schema(genres: Sequence[str]) -> pa.Schema:
    """Schema of a part of ``labels/``: with the genres, in the order of the probabilities."""
    return LABELS.with_metadata({"genres": json.dumps(list(genres))})


SEGMENT_LABELS = pa.schema(
    [
        _TRACK_ID,
        _ETAG,
        _SEGMENT,
        _START_S,
        _column("genre", pa.string(), "The segment's most probable genre, given that it is music"),
        _column("confidence", pa.float32(), "Calibrated probability of the genre", "0–1"),
        _column("run", pa.string(), "The run that made the label"),
        _column(
            "is_music",
            pa.float32(),
            "Probability that the segment is music; null if the model does not predict it",
            "0–1",
            nullable=True,
        ),
    ]
)

FAILURES = pa.schema(
    [
        _TRACK_ID,
        _URI,
        _ETAG,
        _column("stage", pa.string(), "Stage that failed: read, decode, featurize or label"),
        _column("error_type", pa.string(), "Type of the failure, one of the classes in schemas.errors"),
        _column("message", pa.string(), "What went wrong"),
        _column("attempts", pa.int32(), "Number of runs that have tried this version of the track"),
        _column("retryable", pa.bool_(), "Whether the next run retries the track automatically"),
        _column("model", pa.string(), "The model, if labeling failed", nullable=True),
        _column(
            "feature_set", pa.string(), "The feature set, if a different one might succeed", nullable=True
        ),
        _column("failed_at", TIMESTAMP, "When the track failed"),
    ]
)

_VECTOR = pa.field("element", pa.float16(), nullable=False)

EMBEDDINGS = pa.schema(
    [
        _TRACK_ID,
        _ETAG,
        _SEGMENT,
        _START_S,
        _column(
            "vector",
            pa.list_(_VECTOR),
            "The numbers from which the model's last layer computes its outputs, of the same length for all "
            "segments of a model; all zero for a silent segment",
        ),
    ]
)
"""The columns of ``embeddings/``, one row per segment, as readers of any model see them."""


def embeddings_schema(n_numbers: int) -> pa.Schema:
    """Return the schema of a part of ``embeddings/``, whose vectors are lists of a fixed size."""
    place = EMBEDDINGS.get_field_index("vector")
    return EMBEDDINGS.set(place, EMBEDDINGS.field(place).with_type(pa.list_(_VECTOR, n_numbers)))


PARTITIONS: dict[str, tuple[str, ...]] = {
    "tracks": ("run",),
    "features": ("feature_set", "run"),
    "labels": ("model", "run_date"),
    "segment_labels": ("model", "run_date"),
    "embeddings": ("model", "run"),
    "failures": ("run",),
}
"""Hive partition columns of each table, all strings."""

SCHEMAS: dict[str, pa.Schema] = {
    "tracks": TRACKS,
    "features": features_schema(),
    "labels": LABELS,
    "segment_labels": SEGMENT_LABELS,
    "embeddings": EMBEDDINGS,
    "failures": FAILURES,
}
"""The columns in the files of each table (``features`` without descriptors)."""
