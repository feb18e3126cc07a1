"""Reading the embeddings of a model: vectors of one length, whatever other models have."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.tables.current import current_tracks
from pipeline.tables.tables import Tables, explain_read_errors, semi_join
from schemas.errors import EarmarkError
from schemas.tables import EMBEDDINGS, PARTITIONS, embeddings_schema

_TABLE = "embeddings"


def list_embedding_models(tables: Tables) -> list[str]:
    """List the models that have embeddings in the tables, in order of their latest run."""
    rows = tables.read(_TABLE, list(PARTITIONS[_TABLE]), pc.field("segment") == 0)
    last = rows.group_by("model").aggregate([("run", "max")]).sort_by("run_max")
    return [str(model) for model in last["model"].to_pylist()]


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
    rows = pa.Table.from_batches(batches) if batches else _empty(columns)
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


def read_track_vectors(tables: Tables, model: str, track_id: str, etag: str) -> NDArray[np.float16] | None:
    """Read the vectors of one version of a track, by reading only the part that holds it.

    Parameters
    ----------
    tables : Tables
        The tables.
    model : str
        The model's name with its hash.
    track_id, etag : str
        The track and its version.

    Returns
    -------
    ndarray of float16, shape (n_segments, n_numbers), or None
        None if the model has no embeddings of it.
    """
    of_track = (pc.field("track_id") == track_id) & (pc.field("etag") == etag)
    found = tables.read(_TABLE, ["__filename"], of_track & (pc.field("model") == model))
    dataset = tables.dataset(_TABLE)
    if not found.num_rows or dataset is None:
        return None
    names = set(found["__filename"].to_pylist())
    with explain_read_errors(tables, _TABLE):
        parts = [part for part in dataset.get_fragments(pc.field("model") == model) if part.path in names]
        rows = pa.concat_tables([part.to_table(columns=["vector"], filter=of_track) for part in parts])
    return stack_vectors(rows["vector"].combine_chunks())


def stack_vectors(column: pa.Array) -> NDArray[np.float16]:
    """Return lists of one length as rows of an array, without copying them."""
    values: NDArray[np.float16] = column.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), -1)


def _read(tables: Tables, model: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield batches of a model's rows, each with vectors of one length.

    Raises
    ------
    EarmarkError
        If the lengths differ.
    """
    expected = None
    for batch in tables.read_batches(_TABLE, columns, pc.field("model") == model):
        if not batch.num_rows:
            continue
        lengths = pc.min_max(pc.list_value_length(batch["vector"])).as_py()
        expected = expected or lengths["min"]
        if (lengths["min"], lengths["max"]) != (expected, expected):
            raise EarmarkError(
                f"the embeddings of {model} in {tables.root} differ in length; 'earmark verify "
                f"{tables.root}' names some of them"
            )
        yield batch


def _with_fixed_size(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch whose vectors are lists of a fixed size."""
    column = batch["vector"]
    schema = embeddings_schema(len(column.flatten()) // len(column))
    sized = pa.FixedSizeListArray.from_arrays(column.flatten(), type=schema.field("vector").type)
    return batch.set_column(batch.schema.get_field_index("vector"), schema.field("vector"), sized)


def _empty(columns: list[str]) -> pa.Table:
    kinds = [pa.field(name, pa.string()) for name in PARTITIONS[_TABLE]]
    return pa.schema([*EMBEDDINGS, *kinds]).empty_table().select(columns)
