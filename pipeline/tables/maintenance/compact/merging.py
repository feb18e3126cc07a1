"""Small parts become larger ones with the same rows, streamed: memory does not grow with the table."""

import contextlib
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage import storage
from pipeline.storage.errors import VersionChangedError
from pipeline.storage.parsed import read_parsed
from pipeline.tables.objects import StoredObject
from pipeline.tables.tables import ZSTD_LEVEL
from schemas.errors import EarmarkError

_GROUP_ROWS = (64, 1 << 16)
_GROUP_BYTES = 3 << 20
"""Readers of log-mels take a row group at a time: 64 rows, as `pipeline.shards.featurize_shard` writes. Of
narrow rows a group has more, since each group of each column costs some hundred bytes and a call."""
_AHEAD_PARTS = 16
_AHEAD_BYTES = 64 << 20

Keep = Callable[[pa.Table], pa.Table]
"""Gives the rows of a table that are to be kept, in their order."""


@dataclass(frozen=True, slots=True)
class MergedPart:
    """A part that was built on the local disk, and the parts that it stands for.

    Attributes
    ----------
    file : Path
        Where it was built.
    name : str
        Its name among the parts, made from those of its sources: built again it has it again.
    sources : tuple of StoredObject
        The parts whose rows it holds.
    rows : int
        How many rows those are.
    """

    file: Path
    name: str
    sources: tuple[StoredObject, ...]
    rows: int


def merged_parts(
    root: str,
    sources: Iterable[StoredObject],
    folder: Path,
    *,
    target_bytes: int,
    keep: Keep | None = None,
) -> Iterator[MergedPart]:
    """Build merged parts of one partition's parts, one after the other.

    A part ends when it has reached the target, or when the next source has another schema or other metadata.
    Sources are never cut. Memory: one row group and the sources that are read ahead.

    Parameters
    ----------
    root : str
        Root of the tables.
    sources : iterable of StoredObject
        Parts of one partition, in the order their rows shall have.
    folder : Path
        A local folder where the merged parts are built.
    target_bytes : int
        Size from which a merged part takes no further source.
    keep : callable, optional
        Which rows; by default all.

    Raises
    ------
    EarmarkError
        If a source cannot be read, or the built part does not hold just its rows.
    """
    building: _Building | None = None
    try:
        for source, data in _read_ahead(root, sources):
            location = storage.join(root, source.path)
            try:
                file = pq.ParquetFile(pa.BufferReader(data))
                if building is not None and not building.takes(file.schema_arrow, target_bytes):
                    yield building.finished()
                    building = None
                building = building or _Building(folder, file)
                building.add(source, file, keep)
            except (pa.ArrowInvalid, OSError) as error:
                raise EarmarkError(
                    f"the part {location} cannot be merged ({storage.reason(error)}); 'earmark verify' tells "
                    "more"
                ) from error
        if building is not None:
            yield building.finished()
    finally:
        if building is not None:
            building.close()


def _read_ahead(root: str, sources: Iterable[StoredObject]) -> Iterator[tuple[StoredObject, bytes]]:
    """Each source with its bytes; the next few small ones are fetched meanwhile."""

    def read(source: StoredObject) -> bytes:
        location = storage.join(root, source.path)
        with storage.explained(location, "read"):
            return read_parsed(location, lambda data: _whole(data, source.size))

    with ThreadPoolExecutor(_AHEAD_PARTS) as pool:
        ahead: deque[tuple[StoredObject, Future[bytes]]] = deque()
        for source in sources:
            while ahead and (
                len(ahead) >= _AHEAD_PARTS
                or sum(other.size for other, _ in ahead) + source.size > _AHEAD_BYTES
            ):
                first, future = ahead.popleft()
                yield first, future.result()
            ahead.append((source, pool.submit(read, source)))
        while ahead:
            first, future = ahead.popleft()
            yield first, future.result()


def _whole(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise VersionChangedError(f"it has {len(data):,} bytes, {size:,} were listed")
    return data


def _group_rows(metadata: pq.FileMetaData) -> int:
    """Rows of a row group, for rows as wide as those of a part."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    width = max(1, sum(group.total_byte_size for group in groups) // max(1, metadata.num_rows))
    least, most = _GROUP_ROWS
    return min(most, max(least, int(_GROUP_BYTES // width)))


class _Building:
    """A merged part that is being built."""

    def __init__(self, folder: Path, file: pq.ParquetFile) -> None:
        schema = file.schema_arrow
        self._schema = schema
        self._group_rows = _group_rows(file.metadata)
        self._sources: list[StoredObject] = []
        self._waiting: list[pa.Table] = []
        self._n_waiting = 0
        self._n_rows = 0
        self._file = folder / "building"
        self._sink = self._file.open("wb")
        self._writer = pq.ParquetWriter(self._sink, schema, compression="zstd", compression_level=ZSTD_LEVEL)

    def takes(self, schema: pa.Schema, target_bytes: int) -> bool:
        """Whether it takes one more source."""
        return self._sink.tell() < target_bytes and bool(self._schema.equals(schema, check_metadata=True))

    def add(self, source: StoredObject, file: pq.ParquetFile, keep: Keep | None) -> None:
        self._sources.append(source)
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group)
            rows = rows if keep is None else keep(rows)
            self._n_rows += rows.num_rows
            self._n_waiting += rows.num_rows
            self._waiting.append(rows)
            self._write_groups(at_least=self._group_rows)

    def _write_groups(self, *, at_least: int) -> None:
        if self._n_waiting < max(1, at_least):
            return
        rows = pa.concat_tables(self._waiting)
        whole = rows.num_rows - rows.num_rows % at_least
        self._writer.write_table(rows.slice(0, whole), row_group_size=self._group_rows)
        self._waiting = [rows.slice(whole)]
        self._n_waiting = rows.num_rows - whole

    def close(self) -> None:
        """Close the file, also of a part that is given up: because the disk is full, say."""
        with contextlib.suppress(OSError, pa.ArrowException):
            self._writer.close()
        with contextlib.suppress(OSError):
            self._sink.close()

    def finished(self) -> MergedPart:
        self._write_groups(at_least=1)
        self._writer.close()
        self._sink.flush()
        os.fsync(self._sink.fileno())
        self.close()
        names = "\n".join(source.name for source in self._sources)
        name = f"merged-{hashlib.sha256(names.encode()).hexdigest()[:16]}.parquet"
        file = self._file.replace(self._file.with_name(name))
        written = pq.read_metadata(file).num_rows
        if written != self._n_rows:
            raise EarmarkError(f"{file} holds {written} rows instead of {self._n_rows}; nothing was replaced")
        return MergedPart(file, name, tuple(self._sources), self._n_rows)
