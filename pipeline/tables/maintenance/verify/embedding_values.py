"""Checks of the embeddings: each labeled track has them where they were asked for, and they are vectors."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.tables.maintenance.verify.findings import Finding, report_tracks
from pipeline.tables.maintenance.verify.rows import Rows
from pipeline.tables.tables import Tables
from schemas.report import RunReport

VECTOR_COLUMNS = ("track_id", "vector")
"""The columns that the checks of vectors need."""

_MISSING_EMBEDDINGS = """\
WITH ours AS (
    SELECT labels.*
    FROM labels SEMI JOIN (FROM runs WHERE done AND embeds) AS runs USING (run)
)
SELECT ours.track_id
FROM ours
JOIN current_tracks USING (track_id, etag)
ANTI JOIN embeddings USING (model, track_id, etag)
WHERE ours.run >= current_tracks.run  -- a track that left and came back may have lost them in between
"""


def find_missing_embeddings(rows: Rows, reports: Sequence[RunReport]) -> list[Finding]:
    """Find current labels without embeddings of completed runs that were to write both.

    A killed run may leave labels without embeddings; the next run with ``--embeddings`` adds those. Vacuum
    removes the embeddings of content that has left the catalog.
    """
    if not any(report.writes_embeddings for report in reports):
        return []
    return rows.find(
        "missing embeddings",
        "embeddings",
        "labels of runs with --embeddings without embeddings; the next such run writes them again",
        ("track_id",),
        _MISSING_EMBEDDINGS,
    )


def check_vectors(tables: Tables, expected: Mapping[str, int]) -> list[Finding]:
    """Find segments whose vector is not of the model's length, or holds a value that is not finite.

    Parameters
    ----------
    tables : Tables
        The tables, or a view of some of their parts.
    expected : mapping of str to int
        The length of the vectors of each model; none of a model without a number in any of them.

    Raises
    ------
    EarmarkError
        If a part cannot be read.
    """
    of_model = (
        (batch.filter(pc.equal(batch["model"], model)), expected.get(model, 0))
        for batch in tables.read_batches("embeddings", [*VECTOR_COLUMNS, "model"])
        for model in batch["model"].unique().to_pylist()
    )
    message = "segments whose vector differs in length from the model's others, or is not of finite numbers"
    wrong = (rows["track_id"].filter(pa.array(find_invalid_vectors(rows, n))) for rows, n in of_model)
    return report_tracks("invalid embedding", "embeddings", message, wrong)


def find_invalid_vectors(rows: pa.RecordBatch, expected: int) -> NDArray[np.bool_]:
    """Return a mask of the rows whose vector is of another length or, if none is, not of finite numbers.

    A vector that is null or empty is always wrong.
    """
    lengths = _lengths(rows)
    wrong = (lengths != expected) | (lengths == 0)
    if not wrong.any():
        vectors = rows["vector"].flatten().to_numpy(zero_copy_only=False)
        wrong = ~np.isfinite(vectors.reshape(-1, expected)).all(axis=1)
    return np.asarray(wrong, dtype=np.bool_)


def first_length(rows: pa.RecordBatch) -> int:
    """Return the length of the first vector that has numbers; 0 if none has. There must be a row."""
    lengths = _lengths(rows)
    return int(lengths[np.argmax(lengths > 0)])


def _lengths(rows: pa.RecordBatch) -> NDArray[np.int64]:
    """Return the length of the vector of each row, 0 if it is null."""
    lengths = pc.list_value_length(rows["vector"]).cast(pa.int64())
    return np.asarray(pc.fill_null(lengths, 0))
