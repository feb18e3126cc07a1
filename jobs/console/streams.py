"""The standard streams: what happens to text that they cannot encode or that does not arrive."""

import io
import sys
from typing import Any

from jobs.console.messages import UNREAD
from pipeline.storage.errors import reason
from schemas.errors import StoreError


class _Output(io.FileIO):
    """A stdout that says once why it cannot be written, and drops what follows, so that the exit is quiet."""

    _failed = False

    def write(self, data: Any) -> int:
        if self._failed:
            return len(data)
        try:
            return super().write(data)
        except OSError as error:
            self._failed = True
            if isinstance(error, BrokenPipeError):  # nobody reads on: end without a word, as `cat` does
                sys.exit(UNREAD)
            raise StoreError(f"cannot write the output: {reason(error)}") from error


class _Messages(io.FileIO):
    """A stderr that drops what cannot be written: no command fails for its messages."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def prepare_streams() -> None:
    """Let stdout escape characters that its encoding lacks, and explain why it cannot be written.

    A stderr that cannot be written is ignored. Streams that a program or a test has replaced are left alone.
    """
    if sys.stdout is sys.__stdout__:
        sys.stdout = _wrap(sys.stdout, _Output)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _wrap(sys.stderr, _Messages)


def flush_output() -> None:
    """Write what is left of the output.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    sys.stdout.flush()


def _wrap(stream: Any, kind: type[io.FileIO]) -> Any:
    if not isinstance(stream, io.TextIOWrapper):  # of an interactive shell, for instance
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(kind(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering or stream.write_through,  # -u: nothing waits in a buffer
        write_through=stream.write_through,
    )
