"""Reading and writing the tables: Hive-partitioned Parquet under one root, one object per part."""

import contextlib
import functools
import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.log import get_logger
from pipeline.storage import storage
from pipeline.storage.retry import with_retries
from schemas.errors import EarmarkError, StoreError
from schemas.tables import PARTITIONS, SCHEMAS, features_schema

log = get_logger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

VERSION_KEY = ("track_id", "etag")
"""The columns that identify one version of a track's content."""


PAUSES_S: tuple[float, ...] = (0.5, 1, 2, 4, 8, 15, 15, 15)
"""Before each further attempt to read what vanishes: merging the parts of a bucket takes minutes."""
_is_repeated: ContextVar[bool] = ContextVar("is_repeated", default=False)


def read_again_if_replaced(read: Callable[P, R]) -> Callable[P, R]:
    """Repeat a function that reads the tables if parts of it vanish, for a minute: a run merges them.

    Parameters
    ----------
    read : callable
        Lists the tables itself, and can be repeated.
    """

    @functools.wraps(read)
    def read_repeatedly(*arguments: P.args, **options: P.kwargs) -> R:
        if _is_repeated.get():  # by a caller, which lists the tables anew
            return read(*arguments, **options)
        token = _is_repeated.set(True)
        try:
            for pause_s in PAUSES_S:
                try:
                    return read(*arguments, **options)
                # A MisuseError may have such a cause too: there is no model of that name.
                except StoreError as error:
                    if not isinstance(error.__cause__, FileNotFoundError):
                        raise
                    log.info("parts were replaced, reading again", wait_s=pause_s, error=error)
                time.sleep(pause_s)
            return read(*arguments, **options)
        finally:
            _is_repeated.reset(token)

    return read_repeatedly


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
        """Return the location of a table, or of one of its partitions."""
        folders = [f"{name}={partitions[name]}" for name in PARTITIONS[table] if name in partitions]
        return storage.join(self.root, table, *folders)

    def part(self, table: str, name: str, **partitions: str) -> str:
        """Return the location of the part `name` of a table."""
        return storage.join(self.folder(table, **partitions), f"{name}.parquet")

    def model_folder(self, model: str) -> str:
        """Return the location of a model, by its full name, that is kept beside the tables."""
        return storage.join(self.root, "_models", model)

    def dataset(self, table: str) -> ds.Dataset | None:
        """Open a table as a pyarrow dataset with its partition columns; None if it does not exist yet.

        Raises
        ------
        EarmarkError
            If the store refuses, or a file under the table is not Parquet.
        """
        location = self.folder(table)
        with storage.explain_errors(location, "read the table"):
            path, filesystem = storage.arrow_path(location)
            source = self._source(table, path)
            if source is None:
                return None
            return with_retries(
                lambda: ds.dataset(
                    source,
                    schema=whole_schema(table),
                    format="parquet",
                    filesystem=filesystem,
                    partitioning=ds.partitioning(partition_schema(table), flavor="hive"),
                    partition_base_dir=path,
                )
            )

    def _source(self, table: str, path: str) -> str | list[str] | None:
        """Return the folder of a table at a path, or paths of its files; None if there is nothing to read."""
        return path if storage.exists(self.folder(table)) else None

    @read_again_if_replaced
    def read(self, table: str, columns: Sequence[str], where: pc.Expression | None = None) -> pa.Table:
        """Read rows of a table, in no particular order; an empty table if it does not exist yet.

        Parameters
        ----------
        table : str
            A key of `schemas.tables.SCHEMAS`.
        columns : sequence of str
            Columns to read; may include partition columns.
        where : pyarrow.compute.Expression, optional
            Filter for the rows.
        """
        dataset = self.dataset(table)
        if dataset is None:
            return pa.schema([whole_schema(table).field(name) for name in columns]).empty_table()
        with explain_read_errors(self, table):
            return with_retries(lambda: dataset.to_table(columns=list(columns), filter=where))

    def read_batches(
        self, table: str, columns: Sequence[str], where: pc.Expression | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows of a table one batch at a time, in no particular order; none if it does not exist yet.

        Parameters
        ----------
        table : str
            A key of `schemas.tables.SCHEMAS`.
        columns : sequence of str
            Columns to read; may include partition columns.
        where : pyarrow.compute.Expression, optional
            Filter for the rows.

        Raises
        ------
        EarmarkError
            If the store refuses, or a part is damaged.
        """
        dataset = self.dataset(table)
        if dataset is None:
            return
        with explain_read_errors(self, table):
            yield from dataset.to_batches(columns=list(columns), filter=where)


@contextlib.contextmanager
def explain_read_errors(tables: Tables, table: str) -> Iterator[None]:
    """Turn errors from reading a table's parts into messages for users.

    Raises
    ------
    EarmarkError
        In place of errors from Arrow and the store.
    """
    folder = tables.folder(table)
    with storage.explain_errors(folder, "read the table"):
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
    """Return whether an error means that a part is damaged."""
    # For damaged pages Arrow raises a plain OSError, without the errno that the system's errors have.
    return isinstance(error, pa.ArrowException) or (type(error) is OSError and error.errno is None)


@functools.cache
def stored_schema(table: str) -> pa.Schema:
    """Return all columns that files of a table may have; columns missing from a file are read as nulls."""
    return features_schema(DESCRIPTOR_NAMES) if table == "features" else SCHEMAS[table]


@functools.cache
def partition_schema(table: str) -> pa.Schema:
    """Return the partition columns of a table, which are in the paths of its files."""
    return pa.schema([(name, pa.string()) for name in PARTITIONS[table]])


@functools.cache
def whole_schema(table: str) -> pa.Schema:
    """Return all columns of a table: those of its files and the partition columns."""
    return pa.unify_schemas([stored_schema(table), partition_schema(table)])


_ZSTD_LEVEL = 3
"""Of parts: a tenth smaller than the default, 1, where log-mels are stored, at 2 ms a track."""


def encode_part(rows: pa.Table, *, row_group_size: int | None = None) -> bytes:
    """Encode a part as Parquet with zstd compression.

    Parameters
    ----------
    rows : pyarrow.Table
        Rows with the table's schema.
    row_group_size : int, optional
        Rows per row group. Readers of wide rows (log-mels) load one group at a time.
    """
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, row_group_size=row_group_size, **parquet_options(rows.schema))
    return buffer.getvalue()


def parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """Return the options with which parts of a schema are written."""
    # Log-mels never repeat; to find that out takes a fifth of the time in which they are written.
    repeated = [field.name for field in schema if not pa.types.is_large_binary(field.type)]
    with_dictionary = True if len(repeated) == len(schema) else repeated
    return {"compression": "zstd", "compression_level": _ZSTD_LEVEL, "use_dictionary": with_dictionary}


def anti_join(rows: pa.Table, taken: pa.Table) -> pa.Table:
    """Return the rows of the first table whose version of a track is not in the second, in their order."""
    return _join_versions(rows, taken, "left anti")


def semi_join(rows: pa.Table, wanted: pa.Table) -> pa.Table:
    """Return the rows of the first table whose version of a track is in the second, in their order."""
    return _join_versions(rows, wanted, "left semi")


def _join_versions(rows: pa.Table, other: pa.Table, kind: str) -> pa.Table:
    # Join only keys and row numbers: Arrow cannot carry lists or maps through a join.
    keys = list(VERSION_KEY)
    numbered = rows.select(keys).append_column("__row", pa.array(np.arange(rows.num_rows)))
    kept = numbered.join(other.select(keys), keys=keys, join_type=kind)["__row"]
    return select_rows(rows, kept)


def select_rows(rows: pa.Table, numbers: pa.ChunkedArray) -> pa.Table:
    """Return some rows of a table, given by their numbers in any order, in the order of the table.

    `pyarrow.Table.take` joins the chunks of each column, which fails if there are 2 GiB of text in it.
    """
    mask = np.zeros(rows.num_rows, np.bool_)
    mask[numbers.to_numpy()] = True
    return rows.filter(pa.array(mask))
