"""The models that are kept beside the tables, in ``_models/``."""

from pipeline.models.bundle import INFO_FILE, parse_info
from pipeline.storage import storage
from pipeline.storage.parsed import read_parsed
from schemas.model import ModelInfo


def read_info(folder: str) -> ModelInfo:
    """What the ``model.json`` of a kept model says.

    Parameters
    ----------
    folder : str
        Location of the model.

    Raises
    ------
    StoreError
        If the store does not hand it out.
    MisuseError
        If it is whole, and not valid.
    """
    with storage.explain_errors(folder, "read"):
        return read_parsed(storage.join(folder, INFO_FILE), lambda data: parse_info(data, folder))
