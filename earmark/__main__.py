"""The command ``earmark``, which first checks whether anything hides one of Earmark's packages."""

import sys
from typing import NoReturn

from earmark._own_packages import check_own_packages


def main() -> None:
    """Run the command line; if a package is hidden, print what hides it."""
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
        from jobs.cli.shadowed_modules import describe_hidden_module

        if (hidden := describe_hidden_module()) is None:
            raise
        _fail(hidden)
    run()


def _fail(reason: str) -> NoReturn:
    print(f"earmark: error: {reason}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
