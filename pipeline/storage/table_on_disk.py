"""Tables that are too large to keep in memory, as the listing of ten million tracks is."""

import contextlib
import mmap
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from schemas.errors import EarmarkError


def collect_on_disk(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Write batches to a temporary file as they come, and return them as a table that is mapped from it.

    The file has no name, so it is gone with the table, even if this process is killed while it lists. Its
    pages stay in memory only as long as there is room: the system drops them and reads them again.

    Parameters
    ----------
    batches : iterable of pyarrow.RecordBatch
        The rows. What the iterable raises is raised.
    schema : pyarrow.Schema
        Their schema.

    Raises
    ------
    EarmarkError
        If the disk for temporary files is full.
    """
    with _explain_errors():
        file = tempfile.NamedTemporaryFile(prefix="earmark-rows-", delete=False)  # noqa: SIM115 (closed below)
    with file:
        with pa.OSFile(file.name, "wb") as sink:
            Path(file.name).unlink()
            writer = pa.ipc.new_file(sink, schema)
            for batch in batches:
                with _explain_errors():
                    writer.write_batch(batch)
            with _explain_errors():
                writer.close()
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return pa.ipc.open_file(pa.py_buffer(mapped)).read_all()


@contextlib.contextmanager
def _explain_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = tempfile.tempdir or "the folder for temporary files"
        raise EarmarkError(
            f"cannot write to {where} ({error.strerror or error}); free space there, or set TMPDIR to a "
            "larger disk"
        ) from error
