"""Labels whose genre is chosen among some of a model's genres only."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.tables import LABELS

_LEAST = np.finfo(np.float64).tiny
"""Divides probabilities that are all zero, which stay zero."""


def narrow_labels(batch: pa.RecordBatch, genres: Sequence[str], among: Sequence[str]) -> pa.RecordBatch:
    """Choose the genre of each track among some of the model's genres.

    The probabilities of these genres are divided by their sum, and those of the others become zero. So the
    confidence is the probability of the genre if the track has one of these. A track without a genre, such as
    speech or silence, stays without one, and the style is one of the new genre.

    Parameters
    ----------
    batch : pyarrow.RecordBatch
        Rows with the columns ``genre``, ``confidence``, ``probabilities``, ``top3``, ``style`` and ``labels``
        of the table ``labels``.
    genres : sequence of str
        The genres of the model, in the order of ``probabilities``.
    among : sequence of str
        Some of them.

    Returns
    -------
    pyarrow.RecordBatch
        The same rows and columns.
    """
    wanted = np.array([genre in among for genre in genres])
    stored = batch.column("probabilities").flatten().to_numpy(zero_copy_only=False)
    p = stored.reshape(batch.num_rows, len(genres)).astype(np.float64) * wanted
    p /= np.maximum(p.sum(axis=1, keepdims=True), _LEAST)
    # Genres that are not wanted come last also where all probabilities are zero; ties keep the model's order.
    order = np.argsort(np.where(wanted, -p, 1), axis=1, kind="stable")
    named = pa.array(genres).take(pa.array(order[:, 0]))
    chosen = pc.if_else(batch.column("genre").is_valid(), named, pa.scalar(None, pa.string()))
    n_top = min(3, int(wanted.sum()))
    top3 = [
        [{"genre": genres[place], "probability": row[place]} for place in places[:n_top]]
        for row, places in zip(p, order, strict=True)
    ]
    columns = {
        "genre": chosen,
        "confidence": p.max(axis=1, initial=0),
        "probabilities": list(p),
        "top3": top3,
        "style": _styles(batch.column("labels"), chosen),
    }
    for name, values in columns.items():
        place, kind = batch.schema.get_field_index(name), LABELS.field(name).type
        field = batch.schema.field(place)
        made = values if isinstance(values, pa.Array) else pa.array(values, kind)
        batch = batch.set_column(place, field, made.cast(field.type))
    return batch


def _styles(labels: pa.ListArray, chosen: pa.StringArray) -> pa.Array:
    """Return the most probable style of each chosen genre; null where the model finds none."""
    styles = [
        next((each["style"] for each in found or () if each["genre"] == genre and each["style"]), None)
        for found, genre in zip(labels.to_pylist(), chosen.to_pylist(), strict=True)
    ]
    return pa.array(styles, pa.string())
