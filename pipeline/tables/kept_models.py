"""The models kept next to the tables, in ``_models/``."""

from pipeline.log import get_logger
from pipeline.models.bundle import INFO_FILE, parse_info
from pipeline.models.ensemble import Bundle, load_bundle
from pipeline.storage import storage
from pipeline.storage.read_and_parse import read_and_parse
from schemas.errors import MisuseError
from schemas.model import ModelInfo

log = get_logger(__name__)


def keep_model(bundle: Bundle, folder: str, check: storage.Check) -> None:
    """Store a model with the tables, where actors on any node load it and labels stay reproducible.

    If another model is in its folder, such as one that was copied in part, that is replaced: its labels would
    get the name of this one.

    Parameters
    ----------
    bundle : ModelBundle or Ensemble
        The model.
    folder : str
        Its folder, ``_models/MODEL``.
    check : callable
        Of the lease.

    Raises
    ------
    EarmarkError
        If the store refuses.
    """
    with storage.explain_errors(folder, "write the model to"):
        if INFO_FILE in storage.list_names(folder):
            try:
                found = load_bundle(folder).model
            except MisuseError as error:
                found = str(error)
            if found == bundle.model:
                return
            log.warning("another model was kept under this name, replaced", location=folder, found=found)
        for name, data in bundle.files.items():
            storage.write_bytes(storage.join(folder, name), data, check=check)


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
