"""Reading and writing the tables: hive-partitioned Parquet under one root, a part an object."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.storage import storage
from pipeline.storage.retry import patiently
from schemas.errors import EarmarkError
from schemas.tables import PARTITIONS, SCHEMAS, features_schema

VERSION = ("track_id", "etag")
"""The columns that name one version of a track's content."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables under one root.

    Attributes
    ----------
    root : str
        Folder or URI; it need not exist yet.
    """

    root: str

    def folder(self, table: str, **partitions: str) -> str:
        """Location of a table, or of one of its partitions, named in the order of `PARTITIONS`."""
        parts = [f"{name}={partitions[name]}" for name in PARTITIONS[table] if name in partitions]
        return storage.join(self.root, table, *parts)

    def part(self, table: str, name: str, **partitions: str) -> str:
        """Location of the part `name` of a table."""
        return storage.join(self.folder(table, **partitions), f"{name}.parquet")

    def dataset(self, table: str) -> ds.Dataset | None:
        """The table as a pyarrow dataset with its partition columns; None where it has no part yet.

        Raises
        ------
        EarmarkError
            If the store refuses, or a file under the table is no Parquet.
        """
        location = self.folder(table)
        protocol, path = storage.split(location)
        partitioning = pa.schema([(name, pa.string()) for name in PARTITIONS[table]])
        with storage.explained(location, "read the table"):
            if not storage.exists(location):
                return None
            filesystem = None if protocol == "file" else storage.filesystem(protocol)
            return patiently(
                lambda: ds.dataset(
                    path,
                    schema=pa.unify_schemas([stored_schema(table), partitioning]),
                    format="parquet",
                    filesystem=filesystem,
                    partitioning=ds.partitioning(partitioning, flavor="hive"),
                )
            )

    def read(
        self, table: str, columns: Sequence[str] | None = None, where: pc.Expression | None = None
    ) -> pa.Table:
        """Rows of a table, in no order; no rows where there is none yet.

        Parameters
        ----------
        table : str
            A key of `schemas.tables.SCHEMAS`.
        columns : sequence of str, optional
            Columns to read, partition columns among them, and ``__filename`` for the part's location.
        where : pyarrow.compute.Expression, optional
            Which rows.
        """
        dataset = self.dataset(table)
        if dataset is None:
            fields = [pa.field(name, pa.string()) for name in (*PARTITIONS[table], "__filename")]
            whole = pa.unify_schemas([stored_schema(table), pa.schema(fields)])
            wanted = columns or [name for name in whole.names if name != "__filename"]
            return pa.schema([whole.field(name) for name in wanted]).empty_table()
        names = list(columns) if columns else None
        with readable(self, table):
            return patiently(lambda: dataset.to_table(columns=names, filter=where))


@contextlib.contextmanager
def readable(tables: Tables, table: str) -> Iterator[None]:
    """Turn errors of reading a table's parts into one sentence.

    Raises
    ------
    EarmarkError
        In place of Arrow's errors and those of stores.
    """
    folder = tables.folder(table)
    with storage.explained(folder, "read the table"):
        try:
            yield
        except Exception as error:
            if not is_damage(error):
                raise
            said = str(error).partition("\n")[0]
            raise EarmarkError(
                f"a part of {folder} cannot be read: {said}; 'earmark verify --deep' names it"
            ) from error


def is_damage(error: Exception) -> bool:
    """Whether Arrow found a part damaged. Of damaged pages it raises an OSError, but one without a number."""
    return isinstance(error, pa.ArrowException) or (type(error) is OSError and error.errno is None)


def stored_schema(table: str) -> pa.Schema:
    """The columns that files of a table may have; those that a file lacks are read as nulls."""
    return features_schema(DESCRIPTOR_NAMES) if table == "features" else SCHEMAS[table]


ZSTD_LEVEL = 3
"""Of parts: a tenth smaller than the default, 1, where log-mels are stored, at 2 ms a track."""


def encode_part(rows: pa.Table, *, row_group_size: int | None = None) -> bytes:
    """A part's bytes: Parquet, zstd.

    Parameters
    ----------
    rows : pyarrow.Table
        With the table's schema.
    row_group_size : int, optional
        Rows a row group; readers of wide rows (log-mels) take one group at a time.
    """
    buffer = io.BytesIO()
    pq.write_table(
        rows, buffer, compression="zstd", compression_level=ZSTD_LEVEL, row_group_size=row_group_size
    )
    return buffer.getvalue()


def newest(rows: pa.Table, by: str, *, key: Sequence[str] = ("track_id",)) -> pa.Table:
    """The row with the greatest value of `by` for each key; of equal ones the last."""
    keys = list(key)
    # Most nights nothing stands there twice: a count is cheaper than a sort.
    if len(keys) == 1 and pc.count_distinct(rows[keys[0]], "all").as_py() == rows.num_rows:
        return rows
    order = pa.array(range(rows.num_rows), pa.int64())
    ordered = rows.select([*keys, by]).append_column("__row", order)
    ordered = ordered.sort_by([(by, "ascending"), ("__row", "ascending")])
    picked = ordered.group_by(keys, use_threads=False).aggregate([("__row", "last")])["__row_last"]
    return rows.take(_sorted(picked))


def without(rows: pa.Table, taken: pa.Table, key: Sequence[str] = VERSION) -> pa.Table:
    """The rows of the first table whose key is not in the second, in their order."""
    return _filtered(rows, taken, key, "left anti")


def within(rows: pa.Table, wanted: pa.Table, key: Sequence[str] = VERSION) -> pa.Table:
    """The rows of the first table whose key is in the second, in their order."""
    return _filtered(rows, wanted, key, "left semi")


def _filtered(rows: pa.Table, other: pa.Table, key: Sequence[str], kind: str) -> pa.Table:
    # Only keys and row numbers are joined: Arrow joins neither lists nor maps as payload.
    keys = list(key)
    numbered = rows.select(keys).append_column("__row", pa.array(range(rows.num_rows), pa.int64()))
    kept = numbered.join(other.select(keys), keys=keys, join_type=kind)["__row"]
    return rows.take(_sorted(kept))


def _sorted(numbers: pa.ChunkedArray) -> pa.Array:
    return numbers.combine_chunks().sort()
