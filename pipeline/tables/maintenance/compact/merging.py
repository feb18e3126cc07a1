"""Merging small parts into larger ones with the same rows, streamed so that memory use stays constant.

Of tables with log-mels or embeddings, several merged parts are built at once, in threads: most of the time
goes to compressing them, during which Arrow releases Python's GIL.
"""

import contextlib
import hashlib
import os
import uuid
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage import storage
from pipeline.storage.arrow_buffers import arrow_buffer
from pipeline.storage.errors import VersionChangedError
from pipeline.storage.read_and_parse import read_and_parse
from pipeline.tables.objects import StoredObject
from pipeline.tables.parts import WIDE
from pipeline.tables.read_ahead import AHEAD, read_ahead
from pipeline.tables.tables import parquet_options
from schemas.errors import EarmarkError

_GROUP_ROWS = (64, 1 << 16)
_GROUP_BYTES = 3 << 20
"""Readers of log-mels load one row group at a time: 64 rows, as `pipeline.shards.featurize_shard` writes
them. Groups of narrow rows are longer, since each column of each group costs a few hundred bytes and a
read."""

_AT_ONCE = 4
_AT_ONCE_BYTES = 128 << 20
"""Merged parts that are built at once, and the size of the sources that they hold at a time."""
_FOOTER_BYTES = 16 << 10
"""About what each part of such tables takes beside its rows."""

RowFilter = Callable[[pa.Table], pa.Table]
"""Returns the rows of a table to keep, in their order."""


@dataclass(frozen=True, slots=True)
class MergedPart:
    """A merged part on the local disk, and the parts that it replaces.

    Attributes
    ----------
    file : Path
        Where it was built.
    name : str
        Its name in the table, derived from the names of its sources, so that a retry writes the same name.
    sources : tuple of StoredObject
        The parts whose rows it holds.
    rows : int
        Number of rows.
    """

    file: Path
    name: str
    sources: tuple[StoredObject, ...]
    rows: int


def merge_parts(
    root: str,
    sources: Sequence[StoredObject],
    folder: Path,
    *,
    target_bytes: int,
    keep: RowFilter | None,
) -> Generator[MergedPart]:
    """Merge the parts of one partition, yielding one merged part after the other.

    A merged part is complete when it reaches the target size, or when the next source has a different schema
    or different metadata. Sources are never split. Memory holds a few row groups and a few sources.

    Parameters
    ----------
    root : str
        Root of the tables.
    sources : sequence of StoredObject
        Parts of one partition, in the order their rows will have.
    folder : Path
        Local folder in which to build the merged parts.
    target_bytes : int
        Size at which a merged part takes no more sources.
    keep : callable or None
        Selects the rows to keep, in several threads at once; None: all rows.

    Raises
    ------
    EarmarkError
        If a source cannot be read, or a merged part does not have exactly the expected rows.
    """
    if not sources or sources[0].path.partition("/")[0] not in WIDE:
        yield from _merge_in_order(root, sources, folder, target_bytes, keep)
        return
    chunks = _cut(sources, target_bytes)
    n_held = _AT_ONCE_BYTES // max(1, *(source.size for source in sources))
    n_at_once = max(1, min(_AT_ONCE, os.cpu_count() or 1, len(chunks), n_held))
    abandoned = Event()

    def build(chunk: Sequence[StoredObject]) -> list[MergedPart]:
        return list(_merge_in_order(root, chunk, folder, target_bytes, keep, n_at_once, abandoned))

    with contextlib.closing(read_ahead(chunks, build, lambda _: 0, n_at_once, abandoned)) as built:
        for _, merged in built:
            yield from merged


def _cut(sources: Sequence[StoredObject], target_bytes: int) -> list[list[StoredObject]]:
    """Cut sources into chunks of the target size: rows of such tables take as much space before as after."""
    chunks: list[list[StoredObject]] = []
    size = target_bytes
    for source in sources:
        if size >= target_bytes:
            chunks.append([])
            size = 0
        chunks[-1].append(source)
        size += max(0, source.size - _FOOTER_BYTES)
    return chunks


def _merge_in_order(
    root: str,
    sources: Sequence[StoredObject],
    folder: Path,
    target_bytes: int,
    keep: RowFilter | None,
    n_at_once: int = 1,
    abandoned: Event | None = None,
) -> Generator[MergedPart]:
    """Merge parts one after the other; `n_at_once` threads that do so share what may be read ahead."""
    builder: _PartBuilder | None = None
    read = read_ahead(
        sources,
        partial(_read_source, root),
        lambda source: n_at_once * source.size,
        AHEAD // n_at_once,
    )
    try:
        for source, data in read:
            if abandoned is not None and abandoned.is_set():
                return
            location = storage.join(root, source.path)
            try:
                file = pq.ParquetFile(arrow_buffer(data))
                if builder is not None and not builder.accepts(file.schema_arrow, target_bytes):
                    yield builder.finish()
                    builder = None
                builder = builder or _PartBuilder(folder, file)
                builder.add(source, file, keep)
            except (pa.ArrowInvalid, OSError) as error:
                raise EarmarkError(
                    f"the part {location} cannot be merged ({storage.reason(error)}); run 'earmark verify' "
                    "for details"
                ) from error
        if builder is not None:
            yield builder.finish()
    finally:
        read.close()
        if builder is not None:
            builder.close()


def _read_source(root: str, source: StoredObject) -> bytes:
    location = storage.join(root, source.path)
    with storage.explain_errors(location, "read"):
        return read_and_parse(location, lambda data: _check_size(data, source.size))


def _check_size(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise VersionChangedError(f"it has {len(data):,} bytes, but was listed with {size:,}")
    return data


def _rows_per_group(metadata: pq.FileMetaData) -> int:
    """Return how many rows a row group should have, given the width of a part's rows."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    width = max(1, sum(group.total_byte_size for group in groups) // max(1, metadata.num_rows))
    least, most = _GROUP_ROWS
    return min(most, max(least, int(_GROUP_BYTES // width)))


class _PartBuilder:
    """Builds one merged part."""

    def __init__(self, folder: Path, file: pq.ParquetFile) -> None:
        schema = file.schema_arrow
        self._schema = schema
        self._group_rows = _rows_per_group(file.metadata)
        self._sources: list[StoredObject] = []
        self._waiting: list[pa.Table] = []
        self._n_waiting = 0
        self._n_rows = 0
        self._file = folder / f"builder-{uuid.uuid4().hex}"
        with self._explain_errors():
            self._sink = self._file.open("wb")
            self._writer = pq.ParquetWriter(self._sink, schema, **parquet_options(schema))

    def _explain_errors(self) -> contextlib.AbstractContextManager[None]:
        """Name the folder if it cannot be written: the source that is being read is not at fault."""
        return storage.explain_errors(str(self._file.parent), "build a merged part in")

    def accepts(self, schema: pa.Schema, target_bytes: int) -> bool:
        """Return whether a source with this schema can be added."""
        return self._sink.tell() < target_bytes and bool(self._schema.equals(schema, check_metadata=True))

    def add(self, source: StoredObject, file: pq.ParquetFile, keep: RowFilter | None) -> None:
        """Add the rows of a source."""
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
        with self._explain_errors():
            self._writer.write_table(rows.slice(0, whole), row_group_size=self._group_rows)
        self._waiting = [rows.slice(whole)]
        self._n_waiting = rows.num_rows - whole

    def close(self) -> None:
        """Close the file, even if the part was abandoned, for example because the disk is full."""
        with contextlib.suppress(OSError, pa.ArrowException):
            self._writer.close()
        with contextlib.suppress(OSError):
            self._sink.close()

    def finish(self) -> MergedPart:
        """Write what is left, sync the file to disk and check its number of rows."""
        self._write_groups(at_least=1)
        with self._explain_errors():
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
