"""Checks of what labels say: genres of the model, probabilities that are some, and a confidence that fits."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.tables.maintenance.verify.findings import EXAMPLES, Finding
from pipeline.tables.tables import Tables, explain_read_errors

_COLUMNS = ["track_id", "genre", "confidence", "probabilities"]
_SUM_TOLERANCE = 1e-3
_TOLERANCE = 1e-6
"""Confidence and probabilities are rounded to float32 from the same numbers."""


def check_labels(tables: Tables, model: str, genres: Sequence[str]) -> list[Finding]:
    """Check each label of a model: a batch at a time, whatever their number.

    Parameters
    ----------
    tables : Tables
        The tables.
    model : str
        The model's name with its hash.
    genres : sequence of str
        Its genres, in the order of its probabilities.

    Raises
    ------
    EarmarkError
        If a part cannot be read.
    """
    count = 0
    examples: list[str] = []
    for batch in _read_batches(tables, model):
        wrong = _find_invalid(batch, genres)
        count += int(wrong.sum())
        if len(examples) < EXAMPLES and wrong.any():
            examples += batch["track_id"].filter(pa.array(wrong)).to_pylist()[: EXAMPLES - len(examples)]
    if not count:
        return []
    message = (
        f"labels of {model} whose genre is none of the model's, whose probabilities are not between 0 and 1 "
        "with a sum of 1, or whose genre and confidence are not those of the most probable one"
    )
    return [Finding("impossible label", "labels", message, count, tuple(examples))]


def _read_batches(tables: Tables, model: str) -> Iterator[pa.RecordBatch]:
    dataset = tables.dataset("labels")
    if dataset is None:
        return
    with explain_read_errors(tables, "labels"):
        yield from dataset.to_batches(columns=_COLUMNS, filter=pc.field("model") == model)


def _find_invalid(batch: pa.RecordBatch, genres: Sequence[str]) -> NDArray[np.bool_]:
    """Which labels of a batch are impossible."""
    n_rows, n_genres = batch.num_rows, len(genres)
    lists = batch["probabilities"]
    right = pc.equal(pc.list_value_length(lists), n_genres).fill_null(False).to_numpy(zero_copy_only=False)
    p = np.full((n_rows, n_genres), np.nan)
    p[right] = (
        pc.list_flatten(lists.filter(pa.array(right))).to_numpy(zero_copy_only=False).reshape(-1, n_genres)
    )
    confidence = batch["confidence"].to_numpy(zero_copy_only=False)
    named = pc.index_in(batch["genre"], pa.array(genres, pa.string()))
    unsure = batch["genre"].is_null().to_numpy(zero_copy_only=False)  # null where --min-confidence says so
    known = named.is_valid().to_numpy(zero_copy_only=False)
    of_genre = p[np.arange(n_rows), named.fill_null(0).to_numpy(zero_copy_only=False)]
    # Not-a-number compares as false, and so counts as wrong.
    greatest = p.max(axis=1, initial=-np.inf)
    fits = (p >= 0).all(axis=1) & (p <= 1 + _TOLERANCE).all(axis=1)
    fits &= np.abs(p.sum(axis=1) - 1) <= _SUM_TOLERANCE
    fits &= np.abs(confidence - greatest) <= _TOLERANCE
    fits &= unsure | (known & (np.abs(of_genre - greatest) <= _TOLERANCE))
    return np.asarray(~fits, dtype=np.bool_)
