"""The command ``earmark``: it looks first whether something hides a package of Earmark's."""

import importlib.util
import sys
from pathlib import Path

_PACKAGES = ("jobs", "pipeline", "schemas")


def hidden() -> str | None:
    """Return the sentence about a file or folder that Python finds in place of a package of Earmark's.

    Returns
    -------
    str or None
        None, as a rule: the packages are those beside this module.
    """
    home = Path(__file__).resolve().parent
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None:
            continue
        found = [*(spec.submodule_search_locations or ()), spec.origin or package]
        if home / package not in (Path(found[0]).resolve(), Path(found[-1]).resolve().parent):
            return (
                f"{found[0]} hides Earmark's package '{package}'; rename it, or keep its folder off "
                "PYTHONPATH and out of the job's working_dir, and run again"
            )
    return None


def main() -> None:
    """Run the command line, or say in a sentence why it cannot be found."""
    if (sentence := hidden()) is not None:
        print(f"earmark: error: {sentence}", file=sys.stderr)
        sys.exit(1)
    from jobs.cli import main as run

    run()


if __name__ == "__main__":
    main()
