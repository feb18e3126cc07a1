"""The folder of the user's cache: of added models, and of copies that are made again if they are gone."""

import os
from pathlib import Path

CACHE_VARIABLE = "EARMARK_CACHE"
"""An environment variable that overrides the user's cache folder."""


def cache_folder() -> Path:
    """Return the folder in which added models and copies of embeddings are cached."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    import pooch

    return Path(pooch.os_cache("earmark"))
