"""Checks of label values: known genres, valid probabilities, and a confidence that matches them."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.models.label import PROBABILITY_TOLERANCE
from pipeline.tables.maintenance.verify.findings import Finding, report_tracks
from pipeline.tables.tables import Tables

LABEL_COLUMNS = ("track_id", "genre", "confidence", "probabilities")
"""The columns that the checks need."""
_SUM_TOLERANCE = 1e-3


def check_labels(tables: Tables, model: str, genres: Sequence[str]) -> list[Finding]:
    """Check labels of a model, one batch at a time.

    Parameters
    ----------
    tables : Tables
        The tables, or a view of some of their parts.
    model : str
        The model's name with its hash.
    genres : sequence of str
        Its genres, in the order of its probabilities.

    Raises
    ------
    EarmarkError
        If a part cannot be read.
    """
    batches = tables.read_batches("labels", LABEL_COLUMNS, pc.field("model") == model)
    message = (
        f"labels of {model} with a genre that the model does not have, with probabilities that are not "
        "between 0 and 1 or do not sum to 1, or with a genre or confidence that does not match them"
    )
    wrong = (batch["track_id"].filter(pa.array(find_invalid_labels(batch, genres))) for batch in batches)
    return report_tracks("invalid label", "labels", message, wrong)


def find_invalid_labels(batch: pa.RecordBatch, genres: Sequence[str]) -> NDArray[np.bool_]:
    """Return a mask of the invalid labels in a batch."""
    n_rows, n_genres = batch.num_rows, len(genres)
    lists = batch["probabilities"]
    right = pc.equal(pc.list_value_length(lists), n_genres).fill_null(False).to_numpy(zero_copy_only=False)
    p = np.full((n_rows, n_genres), np.nan)
    p[right] = (
        pc.list_flatten(lists.filter(pa.array(right))).to_numpy(zero_copy_only=False).reshape(-1, n_genres)
    )
    confidence = batch["confidence"].to_numpy(zero_copy_only=False)
    named = pc.index_in(batch["genre"], pa.array(genres, pa.string()))
    unsure = batch["genre"].is_null().to_numpy(zero_copy_only=False)  # null below --min-confidence
    known = named.is_valid().to_numpy(zero_copy_only=False)
    of_genre = p[np.arange(n_rows), named.fill_null(0).to_numpy(zero_copy_only=False)]
    # NaN makes every comparison false, so it counts as invalid.
    greatest = p.max(axis=1, initial=-np.inf)
    fits = (p >= 0).all(axis=1) & (p <= 1 + PROBABILITY_TOLERANCE).all(axis=1)
    fits &= np.abs(p.sum(axis=1) - 1) <= _SUM_TOLERANCE
    fits &= np.abs(confidence - greatest) <= PROBABILITY_TOLERANCE
    fits &= unsure | (known & (np.abs(of_genre - greatest) <= PROBABILITY_TOLERANCE))
    return np.asarray(~fits, dtype=np.bool_)
