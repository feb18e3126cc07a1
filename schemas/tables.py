"""Arrow schemas of the tables. Every field carries a ``description`` and, where it has one, a ``unit``.

Partition columns (hive style, in the path) are not stored in the files; `PARTITIONS` lists them.
"""

from collections.abc import Sequence

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", tz="UTC")


def _column(
    name: str, kind: pa.DataType, description: str, unit: str | None = None, *, nullable: bool = False
) -> pa.Field:
    metadata = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, nullable=nullable, metadata=metadata)


_TRACK_ID = _column(
    "track_id", pa.string(), "The manifest's id, else a hash of the path below the catalog root"
)
_URI = _column("uri", pa.string(), "Where the bytes are: a local path or an object's URI")
_ETAG = _column("etag", pa.string(), "Version of the content: the store's entity tag, or size and mtime")
_SEGMENT = _column("segment", pa.int16(), "Number of the segment in its track, from 0")
_START_S = _column("start_s", pa.float32(), "Start of the segment in the track", "s")
_CARRIED = _column(
    "carried", pa.map_(pa.string(), pa.string()), "Further columns of the manifest, as text", nullable=True
)

LISTING = pa.schema(
    [
        _TRACK_ID,
        _URI,
        _column("size", pa.int64(), "Size of the file", "bytes"),
        _ETAG,
        _column("modified_at", TIMESTAMP, "When the store last changed the file", nullable=True),
        _CARRIED,
    ]
)
"""A catalog as listed; not stored, but the head of `TRACKS`."""

TRACKS = pa.schema(
    [
        *LISTING,
        _column(
            "present", pa.bool_(), "Whether the listing held the track; false: it is gone from the catalog"
        ),
        _column("listed_at", TIMESTAMP, "When the run that wrote the row listed the catalog"),
        _column("artist", pa.string(), "The file's artist tag", nullable=True),
        _column("album", pa.string(), "The file's album tag", nullable=True),
        _column("title", pa.string(), "The file's title tag", nullable=True),
        _column("year", pa.int16(), "Year of the file's date tag", nullable=True),
        _column(
            "release_date",
            pa.string(),
            "The file's date tag as far as it is known: 1999, 1999-05 or 1999-05-03",
            nullable=True,
        ),
        _column("genre_tag", pa.string(), "The file's own genre tag", nullable=True),
        _column("codec", pa.string(), "Codec that decoded the file; null when none did", nullable=True),
        _column("duration_s", pa.float64(), "Length of the audio", "s", nullable=True),
        _column("sample_rate", pa.int32(), "Sample rate of the file", "Hz", nullable=True),
        _column("channels", pa.int16(), "Channels of the file", nullable=True),
    ]
)
"""One row for each change of a track: new, changed, gone or back. The newest row of a track counts."""

_FEATURES = [
    _TRACK_ID,
    _ETAG,
    _SEGMENT,
    _START_S,
    _column("duration_s", pa.float32(), "Length of the segment", "s"),
    _column(
        "log_mel",
        pa.large_binary(),
        "Log-mel levels, uint8, n_mels × n_frames in C order, row 0 the lowest band: "
        "255 is the loudest value of the segment, 0 lies range_db below it; null when not computed",
        nullable=True,
    ),
    _column("n_frames", pa.int32(), "Frames (columns) of log_mel"),
    _column(
        "range_db",
        pa.float32(),
        "Range between level 0 and level 255; 0 where there is nothing to label, -1 where that is so and "
        "there is no log_mel",
        "dB",
    ),
]


def features_schema(descriptor_names: Sequence[str] = ()) -> pa.Schema:
    """Schema of ``features/``: a segment a row.

    Parameters
    ----------
    descriptor_names : sequence of str
        Names of the descriptor columns (float64) to add; none by default.
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
            "The most probable genre; null for silence, for what the model does not take for music, and "
            "below the --min-confidence of the run",
            nullable=True,
        ),
        _column("confidence", pa.float32(), "Calibrated probability of the most probable genre", "0–1"),
        _column(
            "probabilities",
            pa.list_(pa.float32()),
            "Calibrated probability of each genre, mean over the segments, in the order of the "
            "file's metadata key 'genres'",
            "0–1",
        ),
        _column("top3", _TOP3, "The three most probable genres, the first one first"),
        _column("n_segments", pa.int16(), "Segments the label was made from"),
        _column("feature_set", pa.string(), "The feature set the model read"),
        _column("labeled_at", TIMESTAMP, "When the label was made"),
        _column("run", pa.string(), "The run that made the label"),
        _column(
            "is_music",
            pa.float32(),
            "Probability that the track is music; null where the model does not say, and for silence",
            "0–1",
            nullable=True,
        ),
        _column(
            "style",
            pa.string(),
            "The style of the genre, such as techno, where the model means one",
            nullable=True,
        ),
        _column(
            "labels",
            _LABELS,
            "All genres and styles that the model means, the most probable one first, each with the "
            "probability that it holds beside the others; null where the model names one genre only",
            nullable=True,
        ),
    ]
)

SEGMENT_LABELS = pa.schema(
    [
        _TRACK_ID,
        _ETAG,
        _SEGMENT,
        _START_S,
        _column("genre", pa.string(), "The segment's most probable genre"),
        _column("confidence", pa.float32(), "Calibrated probability of the genre", "0–1"),
        _column("run", pa.string(), "The run that made the label"),
    ]
)

FAILURES = pa.schema(
    [
        _TRACK_ID,
        _URI,
        _ETAG,
        _column("stage", pa.string(), "Where it failed: read, decode, featurize or label"),
        _column("error_type", pa.string(), "Kind of the failure, one of the names in schemas.errors"),
        _column("message", pa.string(), "What was wrong, in a sentence"),
        _column("attempts", pa.int32(), "Runs that have tried this version of the track"),
        _column("retryable", pa.bool_(), "Whether the next run tries again by itself"),
        _column("model", pa.string(), "The model, where the failure is one of labeling", nullable=True),
        _column("feature_set", pa.string(), "The feature set, where another one may not fail", nullable=True),
        _column("failed_at", TIMESTAMP, "When it failed"),
    ]
)

PARTITIONS: dict[str, tuple[str, ...]] = {
    "tracks": ("run",),
    "features": ("feature_set", "run"),
    "labels": ("model", "run_date"),
    "segment_labels": ("model", "run_date"),
    "failures": ("run",),
}
"""Hive partition columns of each table, all text."""

SCHEMAS: dict[str, pa.Schema] = {
    "tracks": TRACKS,
    "features": features_schema(),
    "labels": LABELS,
    "segment_labels": SEGMENT_LABELS,
    "failures": FAILURES,
}
"""The columns stored in the files of each table (``features`` without descriptors)."""
