"""Rows about segments, as labeling writes them: of ``segment_labels/`` and of ``embeddings/``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.models.embedding import to_float16
from pipeline.models.prediction import Prediction
from schemas.tables import SEGMENT_LABELS, embeddings_schema
from schemas.tracks import is_silent_range

Segment = Mapping[str, Any]
"""The columns of ``features/`` without the features."""


def is_silent(segment: Segment) -> bool:
    """Return whether there is nothing to label in a segment."""
    return is_silent_range(segment["range_db"], has_log_mel=segment["n_frames"] > 0)


def segment_label_rows(
    segments: Sequence[Segment], found: Prediction, genres: Sequence[str], run: str
) -> pa.Table:
    """Return rows of ``segment_labels/`` for segments that are not silent.

    Parameters
    ----------
    segments : sequence of Mapping
        The segments.
    found : Prediction
        What the model predicts for them.
    genres : sequence of str
        The genres, in the order of the probabilities.
    run : str
        The run.
    """
    rows = [
        {
            "track_id": segment["track_id"],
            "etag": segment["etag"],
            "segment": segment["segment"],
            "start_s": segment["start_s"],
            "genre": genres[int(row.argmax())],
            "confidence": row.max(),
            "run": run,
            "is_music": None if found.is_music is None else found.is_music[place],
        }
        for place, (segment, row) in enumerate(zip(segments, found.proba, strict=True))
        if not is_silent(segment)
    ]
    return pa.Table.from_pylist(rows, SEGMENT_LABELS)


def embedding_rows(segments: Sequence[Segment], vectors: NDArray[np.float32]) -> pa.Table:
    """Return rows of ``embeddings/``; a silent segment's vector is all zero.

    Parameters
    ----------
    segments : sequence of Mapping
        The segments.
    vectors : ndarray of float32, shape (n, n_numbers)
        Their embeddings.
    """
    schema = embeddings_schema(vectors.shape[1])
    stored = to_float16(vectors)
    stored[[is_silent(segment) for segment in segments]] = 0
    columns = [
        pa.array([segment[name] for segment in segments], schema.field(name).type)
        for name in ("track_id", "etag", "segment", "start_s")
    ]
    vector = pa.FixedSizeListArray.from_arrays(
        pa.array(np.ascontiguousarray(stored).ravel()), type=schema.field("vector").type
    )
    return pa.Table.from_arrays([*columns, vector], schema=schema)
