"""The command ``earmark``, which first checks whether anything hides one of Earmark's packages."""

import os
import sys
from typing import NoReturn

from earmark._own_packages import check_own_packages


def main() -> None:
    """Run the command line; if a package is hidden, print what hides it."""
    _open_missing_streams()
    _decode_names_as_utf8()
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


def _open_missing_streams() -> None:
    """Open the null device for standard streams that are closed.

    Otherwise, the next file that is opened would take the place of stdout or stderr, and get what is printed.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123


def _decode_names_as_utf8() -> None:
    """Start Python again in UTF-8 mode if the locale has another encoding; child processes inherit the mode.

    Otherwise, the ids and URIs of tracks with non-ASCII names would depend on the locale.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.environ.setdefault("PYTHONIOENCODING", sys.stdout.encoding)  # of the terminal
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


def _fail(reason: str) -> NoReturn:
    print(f"earmark: error: {reason}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
