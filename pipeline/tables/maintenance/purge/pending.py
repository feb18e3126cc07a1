"""The record of a purge that is under way, so that one that was killed can be finished.

It names the tracks, because their rows may be gone when the reports and logs are not yet clean. It is the
last trace, and the last to be removed.
"""

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.storage import storage
from pipeline.storage.read_and_parse import read_and_parse
from pipeline.tables.tables import Tables
from schemas.errors import EarmarkError
from schemas.report import Purged

PURGE_FOLDER = "_purge"


class PendingPurge(BaseModel):
    """A purge that was begun.

    Attributes
    ----------
    track_ids, uris : tuple of str
        The tracks.
    purged : dict
        By run, what its report is to say of purged rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    track_ids: tuple[str, ...]
    uris: tuple[str, ...]
    purged: dict[str, Purged]


def location_of(tables: Tables) -> str:
    """Return the location of the record, of which there is one at a time."""
    return storage.join(tables.root, PURGE_FOLDER, "pending.json")


def read_pending(tables: Tables) -> PendingPurge | None:
    """Read the record of a purge that was killed; None if there is none.

    Raises
    ------
    EarmarkError
        If it cannot be read.
    """
    location = location_of(tables)
    with storage.explain_errors(location, "read"):
        try:
            return read_and_parse(location, PendingPurge.model_validate_json)
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise EarmarkError(
                f"{location} is not a valid record of a purge; upgrade Earmark if a newer version wrote it, "
                "otherwise delete it and purge the same tracks again"
            ) from error


def write_pending(tables: Tables, pending: PendingPurge, check: storage.Check) -> None:
    """Write the record, before anything is removed."""
    storage.write_bytes(location_of(tables), pending.model_dump_json().encode(), check=check)
