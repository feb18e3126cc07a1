"""One Parquet file as the destination: it is replaced at once, so no reader sees a row twice."""

import contextlib
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.package_versions import package_version
from pipeline.publish.destination import SCRATCH_PREFIX, Source, list_entries, refuse_foreign
from pipeline.storage import storage
from pipeline.storage.retry import with_retries
from pipeline.storage.temporary_folders import locked_folder
from pipeline.tables.objects import LEFTOVER_PREFIX, days_ago
from pipeline.tables.pieces import join_pieces
from pipeline.tables.runs import has_run
from pipeline.tables.tables import Tables, parquet_options
from schemas.errors import EarmarkError

FILE = "labels.parquet"
_KEY = b"earmark"
"""Key of the file's metadata with what it was published from."""
_ROW_GROUP_ROWS = 100_000


class ParquetDestination:
    """A folder with one file, as it was when it was opened.

    Parameters
    ----------
    location : str
        Folder or prefix.
    tables : Tables
        The tables that are published there.

    Raises
    ------
    MisuseError
        If the location holds something else.
    """

    def __init__(self, location: str, tables: Tables) -> None:
        self._location = location
        self._file = storage.join(location, FILE)
        self._found = self._version()
        self.columns: Sequence[str] | None = None
        entries = list_entries(location)
        if foreign := [name for name in entries if name != FILE]:
            raise refuse_foreign(location, "parquet", f"it holds {foreign[0]}")
        if entries:
            with self._open() as file:
                self._check_ours(file, tables)
                self.columns = file.schema_arrow.names

    def _check_ours(self, file: pq.ParquetFile, tables: Tables) -> None:
        written = (file.schema_arrow.metadata or {}).get(_KEY)
        if written is None:
            raise refuse_foreign(self._location, "parquet", f"{FILE} there was not published by Earmark")
        source = json.loads(written)
        if source.get("tables") != tables.root and not has_run(tables, source.get("run", "")):
            raise refuse_foreign(self._location, "parquet", "other tables of Earmark are published there")

    def read(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield columns of its rows."""
        if self.columns is not None:
            with self._open() as file:
                yield from file.iter_batches(columns=list(columns), use_threads=False)

    def replace(self, rows: pa.RecordBatchReader, source: Source) -> None:
        """Replace the file: by a rename on a local disk, by one upload on an object store."""
        with storage.explain_errors(self._file, "write"):
            if storage.is_local(self._file):
                self._replace_local(Path(storage.split(self._file)[1]), rows, source)
            else:
                self._replace_remote(rows, source)

    def _replace_local(self, path: Path, rows: pa.RecordBatchReader, source: Source) -> None:
        path = Path(os.path.realpath(path))  # a link leads to another disk, and stays
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent)
        # Readers of a folder skip names that begin with a dot.
        temporary = path.with_name(f"{LEFTOVER_PREFIX}{uuid.uuid4().hex}")
        try:
            _write(temporary, rows, source)
            self._check_unchanged()
            storage.rename_over(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def _replace_remote(self, rows: pa.RecordBatchReader, source: Source) -> None:
        with locked_folder(SCRATCH_PREFIX) as scratch:
            _write(scratch / FILE, rows, source)
            self._check_unchanged()
            storage.upload(scratch / FILE, self._file)

    def _check_unchanged(self) -> None:
        if self._version() != self._found:
            raise EarmarkError(
                f"another program changed {self._location} while the labels were published; publish again"
            )

    def _version(self) -> tuple[Any, ...] | None:
        """Return what changes whenever the file is written; None if there is none."""
        protocol, path = storage.split(self._file)
        with storage.explain_errors(self._file, "look at"):
            try:
                if protocol == "file":
                    status = Path(path).stat()
                    return status.st_ino, status.st_size, status.st_mtime_ns
                info = with_retries(lambda: storage.filesystem(protocol).info(path))
            except FileNotFoundError:
                return None
        return info.get("ETag"), info.get("size"), info.get("LastModified")

    @contextlib.contextmanager
    def _open(self) -> Iterator[pq.ParquetFile]:
        path, filesystem = storage.arrow_path(self._file)
        with storage.explain_errors(self._file, "read"):
            try:
                with pq.ParquetFile(path, filesystem=filesystem) as file:
                    yield file
            except pa.ArrowInvalid as error:
                reason = f"{FILE} there is no Parquet file that Earmark published"
                raise refuse_foreign(self._location, "parquet", reason) from error


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of publications that were killed long ago."""
    long_ago = days_ago(1)
    for leftover in folder.glob(f"{LEFTOVER_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):
            if leftover.stat().st_mtime < long_ago:
                leftover.unlink()


def _write(path: Path, rows: pa.RecordBatchReader, source: Source) -> None:
    """Write rows to a new local file and sync it."""
    about = {
        "tables": source.tables,
        "model": source.model,
        "run": source.run,
        "earmark": package_version("earmark"),
    }
    metadata = {_KEY: json.dumps(about), b"genres": json.dumps(source.genres)}
    schema = rows.schema.with_metadata(metadata)
    with path.open("xb") as sink:
        with pq.ParquetWriter(sink, schema, **parquet_options(schema)) as writer:
            for table in join_pieces(rows, rows.schema, _ROW_GROUP_ROWS):
                if table.num_rows:
                    writer.write_table(table, row_group_size=_ROW_GROUP_ROWS)
        sink.flush()
        os.fsync(sink.fileno())
