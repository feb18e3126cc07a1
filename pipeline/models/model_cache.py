"""The cache of added models: one folder per model, in the user's cache."""

import contextlib
from pathlib import Path

from pipeline.storage.cache_folder import cache_folder
from pipeline.storage.local_kind import local_kind
from schemas.errors import StoreError

ADDABLE = ("audioset",)
"""Names of the models that ``earmark models add`` knows; see `pipeline.models.published`."""


def model_folder(name: str) -> Path:
    """Return the folder of an added model in the cache."""
    return cache_folder() / "models" / name


def how_to_mend(folder: str) -> str:
    """Return what to do about a model whose folder lacks something or is damaged."""
    for name in ADDABLE:
        if folder == str(model_folder(name)):
            return f"add it again with 'earmark models add {name}'"
    return "train or copy the model again"


def added_models() -> dict[str, Path]:
    """Return the folders of models that were added whole, by name; none if the cache is another user's."""
    folders = {name: model_folder(name) for name in ADDABLE}
    with contextlib.suppress(StoreError):
        return {
            name: folder
            for name, folder in folders.items()
            if all(local_kind(folder / file) == "file" for file in ("model.json", "model.keras"))
        }
    return {}
