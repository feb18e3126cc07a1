"""Modules of a user's own that hide those of the same name which Earmark needs."""

import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path


def hidden_module() -> str | None:
    """Return a sentence about a module that lies on PYTHONPATH and hides another one; None if none does.

    To be asked when something has failed that cannot fail: to have two modules of a name is no fault in
    itself. It imports next to nothing, since whatever it might import may be the one that is hidden.
    """
    for folder in filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)):
        others = [place for place in sys.path if place and Path(place).resolve() != Path(folder).resolve()]
        for name in _modules_in(folder):
            theirs = _found(name, [folder])
            if theirs is not None and _found(name, others) is not None:
                return (
                    f"{theirs} hides the module '{name}' that Earmark needs; rename it, or keep {folder} off "
                    "PYTHONPATH"
                )
    return None


def _modules_in(folder: str) -> list[str]:
    try:
        return sorted({entry.partition(".")[0] for entry in os.listdir(folder)})  # noqa: PTH208
    except OSError:
        return []


def _found(name: str, places: list[str]) -> str | None:
    """Where a module is; None for a folder without code, before which Python takes any other."""
    spec = PathFinder.find_spec(name, places)
    return None if spec is None else spec.origin
