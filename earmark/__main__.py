"""The command ``earmark``: it looks first whether something hides a package of Earmark's."""

import sys

from earmark._own_packages import check_own_packages


def main() -> None:
    """Run the command line, or say in a sentence what hides it."""
    try:
        check_own_packages()
    except ImportError as error:
        print(f"earmark: error: {error}", file=sys.stderr)
        sys.exit(1)
    from jobs.cli import main as run

    run()


if __name__ == "__main__":
    main()
