"""Find user modules that hide modules of the same name that Earmark needs."""

import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path


def describe_hidden_module() -> str | None:
    """Return a sentence about a module on PYTHONPATH that hides another module; None if there is none.

    Call this only after an unexpected error: two modules of the same name are not a fault in themselves. This
    module imports as little as possible, because anything it imports may itself be hidden.
    """
    for folder in filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)):
        others = [place for place in sys.path if place and Path(place).resolve() != Path(folder).resolve()]
        for name in _modules_in(folder):
            theirs = _find_origin(name, [folder])
            if theirs is not None and _find_origin(name, others) is not None:
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


def _find_origin(name: str, places: list[str]) -> str | None:
    """Return where a module is; None for a folder without code, which Python ranks below any other."""
    spec = PathFinder.find_spec(name, places)
    return None if spec is None else spec.origin
