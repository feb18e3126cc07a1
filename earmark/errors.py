"""The errors that calls raise; the docstring of `earmark` has them as a tree."""

from schemas.errors import (
    DecodeError,
    DecoderCrashedError,
    EarmarkError,
    EmptyFileError,
    FeatureError,
    LabelerCrashedError,
    LabelError,
    MisuseError,
    NotAFileError,
    NotFoundError,
    ReadError,
    TimedOutError,
    TooMuchMemoryError,
    TooShortError,
    TrackError,
)

__all__ = [
    "DecodeError",
    "DecoderCrashedError",
    "EarmarkError",
    "EmptyFileError",
    "FeatureError",
    "LabelError",
    "LabelerCrashedError",
    "MisuseError",
    "NotAFileError",
    "NotFoundError",
    "ReadError",
    "TimedOutError",
    "TooMuchMemoryError",
    "TooShortError",
    "TrackError",
]
