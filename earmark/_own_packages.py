"""Check that Earmark imports its own packages, and not a user's folders of the same name."""

import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

_NAMES = ("schemas", "pipeline", "jobs")


def check_own_packages() -> None:
    """Check that ``schemas``, ``pipeline`` and ``jobs`` are the packages beside this one.

    Raises
    ------
    ImportError
        If something else hides one of them; the message names it and says what to do.
    """
    home = Path(__file__).resolve().parent.parent
    for name in _NAMES:
        places = [Path(place).resolve() for place in _places(name)]
        if home / name in places:
            continue
        if not places:
            raise ImportError(f"Earmark's package '{name}' is not in {home}; install Earmark again")
        kind = "folder" if places[0].is_dir() else "file"
        raise ImportError(
            f"the {kind} {places[0]} hides Earmark's own package '{name}'; rename it, or start in another "
            "folder and keep this one off PYTHONPATH and out of a job's working_dir"
        )


def is_command() -> bool:
    """Return whether this process is the command, which reports a hidden package without a traceback."""
    return Path(sys.argv[0] if sys.argv else "").name in ("earmark", "earmark.exe", "-m")


def _places(name: str) -> Iterable[str]:
    """Return the folders of a package, or the file of a single module."""
    module = sys.modules.get(name)
    if module is not None:
        return list(getattr(module, "__path__", ())) or [getattr(module, "__file__", None) or "<unknown>"]
    spec = importlib.util.find_spec(name)
    if spec is None:
        return []
    return list(spec.submodule_search_locations or ()) or [spec.origin or "<unknown>"]
