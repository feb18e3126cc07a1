"""Format versions of tables and models: a newer Earmark reads older formats, an older one refuses newer ones.

A format version is raised only for a change that an older Earmark would misread. Additions that it can ignore
do not raise it: fields of reports and of ``model.json``, nullable columns, feature settings with a default.
"""

from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import MisuseError

TABLES_FORMAT = 1
"""The format of tables that this version writes, and the newest that it reads."""
MODEL_FORMAT = 2
"""The newest format of models that this version reads: networks have format 1, ensembles format 2."""


class Stored(BaseModel):
    """What is stored as JSON; fields that a later version added are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class FormatHeader(Stored):
    """The part of a JSON file that all formats share; other fields are ignored.

    Attributes
    ----------
    format_version : int
        The format of the file, or of the folder that it describes; 1 if the file does not say.
    """

    format_version: int = Field(default=1, ge=1)


def check_format(version: int, newest: int, made: str) -> None:
    """Check that this version of Earmark can read a format.

    Parameters
    ----------
    version : int
        The format of the file or folder.
    newest : int
        The newest format that can be read.
    made : str
        Start of the error message, such as ``the tables /srv/tables were``.

    Raises
    ------
    MisuseError
        If the format is newer than `newest`.
    """
    if version > newest:
        raise MisuseError(
            f"{made} made by a newer Earmark (format {version}, this one reads up to {newest}); upgrade "
            "Earmark"
        )
