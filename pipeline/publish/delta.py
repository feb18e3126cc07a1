"""A Delta Lake table as the destination: each publication is one commit, whole or not at all."""

import contextlib
import errno
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.package_versions import package_version
from pipeline.publish.destination import Source, list_entries, refuse_foreign
from pipeline.publish.object_store import delta_options
from pipeline.storage import storage
from pipeline.tables.runs import has_run
from pipeline.tables.tables import Tables
from schemas.errors import EarmarkError, MisuseError, StoreError

if TYPE_CHECKING:
    from deltalake import CommitProperties, DeltaTable, WriterProperties

NAME = "earmark_labels"
"""Name of the table in its metadata, by which Earmark recognizes its own."""
_LOG = "_delta_log"
_RUN = "earmark.run"
"""Key of a commit's metadata with the last run of the tables."""
_ROW_GROUP_ROWS = 100_000
_DELETED = "earmark_deleted"
"""Column of the rows to merge that says which to delete."""


class DeltaDestination:
    """A Delta table at a location, as of its newest version when it was opened.

    A table is created without rows before the first rows are written, so that a killed publication leaves
    nothing that the next one would not recognize.

    Parameters
    ----------
    location : str
        Folder or prefix.
    tables : Tables
        The tables that are published there.

    Raises
    ------
    MisuseError
        If deltalake is not installed or cannot take the location, or it holds something else.
    """

    def __init__(self, location: str, tables: Tables) -> None:
        require_deltalake()
        _check_readable(location)
        self._location = location
        self._app = f"earmark {tables.root}"
        self._options = delta_options(location)
        self._table = self._open(tables)

    def _open(self, tables: Tables) -> "DeltaTable | None":
        from deltalake import DeltaTable

        entries = list_entries(self._location)
        if not _has_versions(self._location):
            if foreign := [name for name in entries if name != _LOG]:
                raise refuse_foreign(self._location, "delta", f"it holds {foreign[0]}, and is no Delta table")
            return None
        with self._explain_errors("read"):
            table = DeltaTable(self._address, storage_options=self._options)
            if table.metadata().name != NAME:
                raise refuse_foreign(self._location, "delta", "it holds a Delta table of another program")
            if table.transaction_version(self._app) is None and not has_run(tables, _last_run(table)):
                raise refuse_foreign(self._location, "delta", "other tables of Earmark are published there")
        return table

    @property
    def _address(self) -> str | Path:
        protocol, path = storage.split(self._location)
        return Path(path) if protocol == "file" else f"{protocol}://{path}"

    @property
    def columns(self) -> Sequence[str] | None:
        """Its columns; None if there is no such table yet."""
        return None if self._table is None else [field.name for field in self._table.schema().fields]

    def read(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield columns of its rows."""
        if self._table is not None:
            with self._explain_errors("read"):
                yield from pa.RecordBatchReader.from_stream(self._table.scan(list(columns)))

    def replace(self, rows: pa.RecordBatchReader, source: Source) -> int:
        """Replace all rows in one commit; return its version."""
        from deltalake import write_deltalake

        with self._explain_errors("write"):
            if self._table is None:
                self._table = self._create(rows.schema, source)
            table = self._table
            write_deltalake(
                table,
                _with_comments(rows),
                mode="overwrite",
                schema_mode="overwrite",
                writer_properties=_writer_properties(),
                commit_properties=self._commit_properties(source),
            )
            return int(table.version())

    def merge(self, changed: pa.RecordBatchReader, removed: pa.Table, source: Source) -> int:
        """Insert, update and delete rows in one commit; return its version."""
        table = self._table
        if table is None:
            raise ValueError("there is no table to merge into")
        columns = {name: f"s.{name}" for name in changed.schema.names}
        with self._explain_errors("write"):
            merging = table.merge(
                _to_merge(changed, removed),
                "t.track_id = s.track_id",
                source_alias="s",
                target_alias="t",
                writer_properties=_writer_properties(),
                commit_properties=self._commit_properties(source),
            )
            merging.when_matched_delete(f"s.{_DELETED}").when_matched_update(
                columns, predicate=f"not s.{_DELETED}"
            ).when_not_matched_insert(columns, predicate=f"not s.{_DELETED}").execute()
            return int(table.version())

    def _create(self, schema: pa.Schema, source: Source) -> "DeltaTable":
        from deltalake import DeltaTable

        return DeltaTable.create(
            self._address,
            _comment(schema),
            mode="error",
            name=NAME,
            description="The current labels of a music catalog, a row for each track, written by Earmark",
            storage_options=self._options,
            commit_properties=self._commit_properties(source),
        )

    def _is_newest(self) -> bool:
        """Whether no version followed the one that was opened: the table itself refuses the commit then."""
        if self._table is None:
            return False
        opened = self._table.version()
        self._table.update_incremental()
        return bool(self._table.version() == opened)

    def _commit_properties(self, source: Source) -> "CommitProperties":
        from deltalake import CommitProperties, Transaction

        # Two publications that began at the same version conflict: the second one to commit is refused.
        return CommitProperties(
            custom_metadata={
                "earmark.tables": source.tables,
                "earmark.model": source.model,
                _RUN: source.run,
                "earmark.genres": json.dumps(source.genres),
                "earmark.version": package_version("earmark"),
            },
            app_transactions=[Transaction(self._app, _run_number(source.run))],
        )

    @contextlib.contextmanager
    def _explain_errors(self, doing: str) -> Iterator[None]:
        from deltalake.exceptions import CommitFailedError, DeltaError

        try:
            yield
        except CommitFailedError as error:
            if self._is_newest():
                raise StoreError(
                    f"cannot {doing} the Delta table {self._location}: {_describe(error)}"
                ) from error
            raise EarmarkError(
                f"another program changed {self._location} while the labels were published; publish again"
            ) from error
        except (DeltaError, OSError) as error:
            said = _describe(error)
            if "already exists" in said:
                raise EarmarkError(
                    f"another program created {self._location} at the same time; publish again"
                ) from error
            raise StoreError(f"cannot {doing} the Delta table {self._location}: {said}") from error


def _describe(error: Exception) -> str:
    """Return the first line of an error of deltalake, and the last of its causes, which follow as a tree."""
    if f"os error {errno.ENOSPC}" in str(error):
        return storage.reason(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    first, *others = re.sub(r"\x1b\[\d*m", "", str(error)).split("\n")
    causes = [line.strip(" ↳") for line in others if "↳" in line]
    return ": ".join([first, *causes[-1:]])


def require_deltalake() -> None:
    """Check that the package deltalake is there.

    Raises
    ------
    MisuseError
        If it is not installed.
    """
    try:
        import deltalake  # noqa: F401
    except ImportError as error:
        raise MisuseError(
            "a Delta table needs the package deltalake; install it with 'pip install deltalake', or "
            "choose the format parquet"
        ) from error


def _check_readable(location: str) -> None:
    """Check that deltalake takes a location literally: it decodes percent signs, and URIs end at # and ?.

    Of a prefix of a store, it leaves out empty segments and ``.``, and goes up at ``..``.

    Raises
    ------
    MisuseError
        If it does not.
    """
    forbidden = "%" if storage.is_local(location) else r"[%#?]|//|(?<=/)\.{1,2}(?=/|$)"
    if found := re.search(forbidden, storage.split(location)[1]):
        raise MisuseError(
            f"cannot publish a Delta table to {location}: readers of Delta tables take {found.group()} in a "
            "path for something else; choose another folder"
        )


def _has_versions(location: str) -> bool:
    """Whether a location has a log of versions, which begins with the first commit."""
    names = list_entries(storage.join(location, _LOG))
    return any(name.endswith((".json", ".checkpoint.parquet")) for name in names)


def _last_run(table: "DeltaTable") -> str:
    """Return the last run of the tables that were published last; commits of other programs name none."""
    return next((str(commit[_RUN]) for commit in table.history() if _RUN in commit), "")


def _run_number(run: str) -> int:
    """Return the time in a run's name as a number, which grows from run to run."""
    digits = "".join(each for each in run.partition("-")[0] if each.isdigit())
    return int(digits or 0)


def _writer_properties() -> "WriterProperties":
    from deltalake import WriterProperties

    return WriterProperties(compression="ZSTD", compression_level=3, max_row_group_size=_ROW_GROUP_ROWS)


def _comment(schema: pa.Schema) -> pa.Schema:
    """Return a schema with the descriptions as comments, which catalogs of Delta tables show."""

    def comment(metadata: Mapping[bytes, bytes] | None) -> dict[str, str]:
        description = (metadata or {}).get(b"description", b"").decode()
        return {"comment": description} if description else {}

    return pa.schema([field.with_metadata(comment(field.metadata)) for field in schema])


def _with_comments(rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
    schema = _comment(rows.schema)
    batches = (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in rows)
    return pa.RecordBatchReader.from_batches(schema, batches)


def _to_merge(changed: pa.RecordBatchReader, removed: pa.Table) -> pa.RecordBatchReader:
    """Return the changed rows followed by those to delete, with a column that tells them apart."""
    schema = changed.schema.remove_metadata().append(pa.field(_DELETED, pa.bool_()))

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in changed:
            yield _mark(batch.columns, batch.num_rows, deleted=False)
        for batch in removed.to_batches():
            others = [
                pa.nulls(batch.num_rows, field.type) for field in changed.schema if field.name != "track_id"
            ]
            place = changed.schema.get_field_index("track_id")
            yield _mark([*others[:place], batch["track_id"], *others[place:]], batch.num_rows, deleted=True)

    def _mark(columns: Sequence[Any], n_rows: int, *, deleted: bool) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays([*columns, pa.repeat(pa.scalar(deleted), n_rows)], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())
