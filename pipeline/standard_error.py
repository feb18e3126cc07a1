"""The standard error of a process, which programs without a console do not have."""

import contextlib
import os
import sys


def open_if_closed() -> None:
    """Open file descriptor 2 on the null device if it is closed.

    Otherwise the next file or connection of this process gets the number, and what native code prints goes
    there.
    """
    try:
        os.fstat(2)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.set_inheritable(2, True)


def flush() -> None:
    """Flush `sys.stderr`, if there is one that can be flushed."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stderr.flush()
