"""Format versions of tables and models: a newer Earmark reads all older formats, an older one says so.

A format version grows only with a change that an older Earmark would misread. What it can ignore is added
without: fields of reports and of ``model.json``, nullable columns, settings of features that have a default.
"""

from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import MisuseError

TABLES_FORMAT = 1
"""The newest format of tables that this version reads, and the one it writes."""
MODEL_FORMAT = 1
"""The same for models."""


class FormatHeader(BaseModel):
    """The part of a JSON file that every format has in common; other fields are ignored.

    Attributes
    ----------
    format_version : int
        The file's format, or that of the folder it describes; 1 where the file does not say.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format_version: int = Field(default=1, ge=1)


def check_format(version: int, newest: int, made: str) -> None:
    """Check that this version of Earmark can read a format.

    Parameters
    ----------
    version : int
        The format that was found.
    newest : int
        The newest one that can be read.
    made : str
        The beginning of the message, such as ``the tables /srv/tables were``.

    Raises
    ------
    MisuseError
        If the format is newer.
    """
    if version > newest:
        raise MisuseError(
            f"{made} made by a newer Earmark (format {version}, this one reads up to {newest}); upgrade "
            "Earmark"
        )
