"""Reading the embeddings of a model: vectors of one length, whatever other models have."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.formatting import command_text
from pipeline.tables.current import current_tracks
from pipeline.tables.objects import StoredObjects, partition_values
from pipeline.tables.tables import Tables, read_again_if_replaced, semi_join, whole_schema
from schemas.errors import EarmarkError
from schemas.tables import EMBEDDINGS, PARTITIONS, embeddings_schema

_TABLE = "embeddings"


def list_embedding_models(stored: StoredObjects) -> list[str]:
    """List the models that have embeddings in the tables, in order of their latest run."""
    last: dict[str, str] = {}
    for values in map(partition_values, stored.parts[_TABLE]):
        last[values["model"]] = max(values["run"], last.get(values["model"], ""))
    return sorted(last, key=last.__getitem__)


@read_again_if_replaced
def current_embeddings(tables: Tables, model: str) -> pa.Table:
    """Read the embeddings of a model for the tracks in the catalog, in their present versions.

    Parameters
    ----------
    tables : Tables
        The tables.
    model : str
        The model's name with its hash.

    Returns
    -------
    pyarrow.Table
        Columns of `schemas.tables.EMBEDDINGS` plus ``uri``, ``model`` and ``run``, sorted by ``track_id`` and
        ``segment``; vectors are lists of a fixed size.
    """
    columns = [*EMBEDDINGS.names, *PARTITIONS[_TABLE]]
    batches = [_with_fixed_size(batch) for batch in _read(tables, model, columns)]
    listed = current_tracks(tables)
    empty = whole_schema(_TABLE).empty_table().select(columns)
    rows = pa.Table.from_batches(batches) if batches else empty
    rows = semi_join(rows, listed).sort_by([("track_id", "ascending"), ("segment", "ascending")])
    uris = listed["uri"].take(pc.index_in(rows["track_id"], listed["track_id"]))
    return rows.add_column(1, "uri", uris)


def read_vectors(tables: Tables, model: str) -> Iterator[tuple[pa.RecordBatch, NDArray[np.float16]]]:
    """Yield the embeddings of a model, of past versions too, a few thousand segments at a time.

    Parameters
    ----------
    tables : Tables
        The tables.
    model : str
        The model's name with its hash.

    Yields
    ------
    keys : pyarrow.RecordBatch
        ``track_id`` and ``etag`` of the segments; those of a track follow one another.
    vectors : ndarray of float16, shape (n, n_numbers)
        Their vectors; all zero for silent segments.
    """
    for batch in _read(tables, model, ["track_id", "etag", "vector"]):
        yield batch.select(["track_id", "etag"]), stack_vectors(batch["vector"])


def stack_vectors(column: pa.Array) -> NDArray[np.float16]:
    """Return lists of one length as rows of an array, without copying them."""
    values: NDArray[np.float16] = column.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), -1)


def _read(tables: Tables, model: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield batches of a model's rows, each with vectors of one length.

    Raises
    ------
    EarmarkError
        If the lengths differ, or a vector is null or empty.
    """
    expected = None
    for batch in tables.read_batches(_TABLE, columns, pc.field("model") == model):
        if not batch.num_rows:
            continue
        lengths = pc.min_max(pc.list_value_length(batch["vector"])).as_py()
        expected = expected or lengths["max"]
        is_complete = expected and not batch["vector"].null_count
        if not is_complete or (lengths["min"], lengths["max"]) != (expected, expected):
            raise different_lengths(tables, model)
        yield batch


def different_lengths(tables: Tables, model: str) -> EarmarkError:
    """Return the error that a model's vectors are of different lengths."""
    return EarmarkError(
        f"the embeddings of {model} in {tables.root} differ in length; "
        f"'{command_text('verify', tables.root)}' names some of them"
    )


def _with_fixed_size(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch whose vectors are lists of a fixed size."""
    column = batch["vector"]
    schema = embeddings_schema(len(column.flatten()) // len(column))
    sized = pa.FixedSizeListArray.from_arrays(column.flatten(), type=schema.field("vector").type)
    return batch.set_column(batch.schema.get_field_index("vector"), schema.field("vector"), sized)
