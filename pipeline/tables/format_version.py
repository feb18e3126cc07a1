"""The format of the tables: ``_format.json`` in their root, written by the first run, checked by every
command.

It is a file of its own so that a later format may change reports and parts alike, and so that one small read
is enough for millions of parts. Tables without it (0.1.0 did not write it) have format 1.
"""

from pydantic import ValidationError

from pipeline.storage import storage
from pipeline.storage.read_and_parse import read_and_parse
from pipeline.tables.tables import Tables
from schemas.errors import EarmarkError
from schemas.versions import TABLES_FORMAT, FormatHeader, check_format

FORMAT_FILE = "_format.json"


def tables_at(root: str) -> Tables:
    """Return the tables under a root after checking that this version of Earmark can read them.

    Parameters
    ----------
    root : str
        Folder or URI in canonical form; it need not exist yet.

    Raises
    ------
    MisuseError
        If a newer Earmark made the tables.
    EarmarkError
        If the store refuses access, or the format file is damaged.
    """
    check_tables_format(root)
    return Tables(root)


def check_tables_format(root: str) -> None:
    """Check the format of the tables under a root; see `tables_at`."""
    header = _read_header(root)
    if header is not None:
        check_format(header.format_version, TABLES_FORMAT, f"the tables {root} were")


def record_format(tables: Tables, check: storage.Check) -> None:
    """Write the format of new tables, unless it is already recorded. The caller holds the lease.

    Parameters
    ----------
    tables : Tables
        The tables.
    check : callable
        Called before the write; raises if this run may no longer write.

    Raises
    ------
    EarmarkError
        If the store refuses the write.
    """
    if _read_header(tables.root) is not None:
        return
    location = storage.join(tables.root, FORMAT_FILE)
    header = FormatHeader(format_version=TABLES_FORMAT)
    storage.write_or_explain(location, header.model_dump_json().encode(), check=check)


def _read_header(root: str) -> FormatHeader | None:
    location = storage.join(root, FORMAT_FILE)
    with storage.explain_errors(root, "open the tables"):
        try:
            return read_and_parse(location, FormatHeader.model_validate_json)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValidationError as error:
            raise EarmarkError(
                f"{location} does not name the format of the tables; delete it if no newer Earmark has "
                "written to them"
            ) from error
