"""The command ``earmark``: it looks first whether something hides a package of Earmark's."""

import sys
from typing import NoReturn

from earmark._own_packages import check_own_packages


def main() -> None:
    """Run the command line, or say in a sentence what hides it."""
    try:
        check_own_packages()
    except ImportError as error:
        _fail(str(error))
    try:
        from jobs.cli.main import main as run
    except KeyboardInterrupt:
        print("earmark: interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception:
        from jobs.cli.hidden_modules import hidden_module

        if (hidden := hidden_module()) is None:
            raise
        _fail(hidden)
    run()


def _fail(reason: str) -> NoReturn:
    print(f"earmark: error: {reason}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
