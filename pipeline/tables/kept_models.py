"""The models kept next to the tables, in ``_models/``."""

from pipeline.models.bundle import INFO_FILE, parse_info
from pipeline.storage import storage
from pipeline.storage.read_and_parse import read_and_parse
from schemas.model import ModelInfo


def read_kept_info(folder: str) -> ModelInfo:
    """Read the ``model.json`` of a kept model.

    Parameters
    ----------
    folder : str
        Location of the model.

    Raises
    ------
    StoreError
        If the store does not return the file.
    MisuseError
        If the file is complete but invalid.
    """
    with storage.explain_errors(folder, "read"):
        return read_and_parse(storage.join(folder, INFO_FILE), lambda data: parse_info(data, folder))
