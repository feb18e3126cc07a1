"""The format of tables: ``_format.json`` in their root, written by the first run, checked by every command.

It stands apart from what it describes, so that a later format may change reports and parts alike, and one
small read answers for millions of parts. Tables without it, as 0.1.0 wrote them, are of format 1.
"""

from pydantic import ValidationError

from pipeline.storage import storage
from pipeline.tables.tables import Tables
from schemas.errors import EarmarkError
from schemas.versions import TABLES_FORMAT, FormatHeader, check_format

FORMAT_FILE = "_format.json"


def tables_at(root: str) -> Tables:
    """The tables under a root, which need not exist yet, if this version of Earmark can read them.

    Parameters
    ----------
    root : str
        Folder or URI in its canonical form.

    Raises
    ------
    MisuseError
        If a newer Earmark made them.
    EarmarkError
        If the store refuses, or the format file is damaged.
    """
    check_tables_format(root)
    return Tables(root)


def check_tables_format(root: str) -> None:
    """Check the format of the tables under a root; see `tables_at`."""
    header = _read_header(root)
    if header is not None:
        check_format(header.format_version, TABLES_FORMAT, f"the tables {root} were")


def record_format(tables: Tables, check: storage.Check) -> None:
    """Write the format of new tables; the caller holds the lease.

    Parameters
    ----------
    tables : Tables
        The tables. Where their format is known, it stays.
    check : callable
        Called before the write; raises if this run may not write any more.

    Raises
    ------
    EarmarkError
        If the store refuses.
    """
    if _read_header(tables.root) is not None:
        return
    location = storage.join(tables.root, FORMAT_FILE)
    header = FormatHeader(format_version=TABLES_FORMAT)
    with storage.explain_errors(location, "write"):
        storage.write_bytes(location, header.model_dump_json().encode(), check=check)


def _read_header(root: str) -> FormatHeader | None:
    location = storage.join(root, FORMAT_FILE)
    with storage.explain_errors(root, "open the tables"):
        try:
            data = storage.read_bytes(location)
        except (FileNotFoundError, NotADirectoryError):
            return None
    try:
        return FormatHeader.model_validate_json(data)
    except ValidationError as error:
        raise EarmarkError(
            f"{location} does not name the format of the tables; remove it if no newer Earmark has "
            "written to them"
        ) from error
