"""The cache of added models: one folder per model, in the user's cache."""

import os
from pathlib import Path

ADDABLE = ("audioset",)
"""Names of the models that ``earmark models add`` knows; see `pipeline.models.published`."""

CACHE_VARIABLE = "EARMARK_CACHE"
"""An environment variable that overrides the user's cache folder."""


def cache_folder() -> Path:
    """Return the folder in which downloaded models are cached."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    import pooch

    return Path(pooch.os_cache("earmark"))


def model_folder(name: str) -> Path:
    """Return the folder of an added model in the cache."""
    return cache_folder() / "models" / name


def added_models() -> dict[str, Path]:
    """Return the folders of the added models, by name."""
    folders = {name: model_folder(name) for name in ADDABLE}
    return {name: folder for name, folder in folders.items() if (folder / "model.json").is_file()}
