"""Publish the current labels of a model: what changed since the last time, and nothing if nothing did."""

from pathlib import Path

import pyarrow as pa

from pipeline.formatting import command_text, count_text
from pipeline.log import get_logger
from pipeline.publish.current_rows import CurrentRows
from pipeline.publish.delta import DeltaDestination
from pipeline.publish.destination import SCRATCH_PREFIX, Destination, Format, Source
from pipeline.publish.parquet import ParquetDestination
from pipeline.storage.temporary_folders import locked_folder
from pipeline.tables.current import find_models, read_genres
from pipeline.tables.keys import open_keys
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables, read_again_if_replaced
from schemas.errors import EarmarkError, MisuseError, StoreError
from schemas.report import Publication

log = get_logger(__name__)

_MOST_MERGED = 0.5
"""Share of the rows above which replacing all is cheaper than merging the changed ones."""
_EMBEDDING = "embedding"


def open_destination(location: str, form: Format, tables: Tables) -> Destination:
    """Open a destination, which need not exist.

    It belongs to the tables at the same root, and to those with the run that was published last, as they have
    if they were moved.

    Parameters
    ----------
    location : str
        Folder or prefix, from `check_destination`.
    form : str
        ``delta`` or ``parquet``.
    tables : Tables
        The tables.

    Raises
    ------
    MisuseError
        If it holds something else, or deltalake is not installed.
    """
    return DeltaDestination(location, tables) if form == "delta" else ParquetDestination(location, tables)


@read_again_if_replaced
def publish_labels(
    tables: Tables,
    model: str,
    location: str,
    form: Format,
    *,
    embeddings: bool | None = None,
    may_shrink: bool,
) -> Publication:
    """Publish the current labels of a model.

    The destination is opened before the tables are listed, so that an older state never replaces a newer one.

    Parameters
    ----------
    tables : Tables
        The tables.
    model : str
        The model's name with its hash.
    location : str
        Folder or prefix, from `check_destination`.
    form : str
        ``delta`` or ``parquet``.
    embeddings : bool, optional
        Whether to publish the mean embedding of each track; by default, if they are published already.
    may_shrink : bool
        Whether to remove more rows than are left, as after a trial of another model on some tracks.

    Raises
    ------
    MisuseError
        If neither the tables nor the destination hold labels of the model. Those that the destination still
        holds after all in the tables were purged are removed.
    EarmarkError
        If `may_shrink` forbids it, another program changed the destination at the same time, or a store
        fails. Nothing is published then.
    """
    destination = open_destination(location, form, tables)
    if embeddings is None:
        embeddings = _EMBEDDING in (destination.columns or ())
    run = read_reports(tables, last=1)[0].run
    with locked_folder(SCRATCH_PREFIX) as scratch:
        with open_keys(tables) as keys:
            rows = CurrentRows(keys, model, embeddings=embeddings)
            known = [name for name in rows.identity if name in (destination.columns or ())]
            n_changed, n_removed = rows.compare(destination.read(known))
            # Merging would keep columns and rows that another program has added.
            is_ours = destination.columns == rows.schema.names and rows.is_each_published_once()
            if not is_ours:
                n_changed = rows.n_rows
            published = Publication(location=location, format=form, model=model, rows=rows.n_rows)
            log.info("publishing", rows=rows.n_rows, changed=n_changed, removed=n_removed, location=location)
            if is_ours and not n_changed and not n_removed:
                return published
            has_labels = model in find_models(keys)
            if not has_labels and not rows.is_model_published():
                raise MisuseError(
                    f"the tables {tables.root} contain no labels of {model}; "
                    f"'{command_text('failures', tables.root)}' lists the tracks that failed, and why"
                )
            if n_removed > rows.n_rows and not may_shrink:
                words = (tables.root, location, "--format", form, "--model", model)
                raise EarmarkError(
                    f"that would remove {count_text(n_removed, 'row')} and leave {rows.n_rows:,}; if this is "
                    f"right, confirm it with '{command_text('publish', *words)}'"
                )
            published = published.model_copy(
                update={"changed": n_changed, "removed": n_removed, "written": True}
            )
            source = Source(tables.root, model, run, read_genres(tables, model) if has_labels else ())
            is_small = n_changed + n_removed <= _MOST_MERGED * rows.n_rows
            if not (isinstance(destination, DeltaDestination) and is_ours and is_small):
                version = _replace(destination, rows, source)
                return published.model_copy(update={"version": version})
            changes = _keep(rows.changed(), scratch / "changed.arrow")
            removed = rows.removed_ids()
        # By now the database has given back its memory, of which merging needs as much.
        with pa.OSFile(str(changes)) as file:
            version = destination.merge(pa.ipc.open_stream(file), removed, source)
    return published.model_copy(update={"version": version})


def _replace(destination: Destination, rows: CurrentRows, source: Source) -> int | None:
    """Replace all rows; raise what ended the stream of the rows, if that was it."""
    try:
        return destination.replace(rows.all(), source)
    except StoreError as error:
        raise rows.error or error  # noqa: B904  (with the cause that it has)


def _keep(rows: pa.RecordBatchReader, path: Path) -> Path:
    """Write rows to a local file, and return it."""
    with pa.OSFile(str(path), "wb") as file:
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_stream(file, rows.schema, options=options) as writer:
            for batch in rows:
                writer.write_batch(batch)
    return path
