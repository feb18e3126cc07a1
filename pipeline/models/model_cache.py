"""Where models that others trained are kept once they were added: a folder a model, in the user's cache."""

import os
from pathlib import Path

ADDABLE = ("audioset",)
"""Names of the models that ``earmark models add`` knows; see `pipeline.models.published`."""

CACHE_VARIABLE = "EARMARK_CACHE"
"""An environment variable that names another folder than the user's cache."""


def cache_folder() -> Path:
    """Return the folder where Earmark keeps what it has fetched."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    import pooch

    return Path(pooch.os_cache("earmark"))


def model_folder(name: str) -> Path:
    """Return where an added model is kept."""
    return cache_folder() / "models" / name


def added_models() -> dict[str, Path]:
    """Return the folders of the models that were added, by name."""
    folders = {name: model_folder(name) for name in ADDABLE}
    return {name: folder for name, folder in folders.items() if (folder / "model.json").is_file()}
