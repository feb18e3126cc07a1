"""Read and parse an object; one that does not parse is read again before it is called damaged."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pipeline.storage import storage
from pipeline.storage.errors import DamagedAnswerError
from pipeline.storage.retry import with_retries

T = TypeVar("T")


def read_and_parse(location: str, parse: Callable[[bytes], T]) -> T:
    """Read an object and return what `parse` makes of it.

    A store may truncate a response and present it as complete. If `parse` fails and the object is longer than
    the bytes received, that is what happened, and the object is read again.

    Parameters
    ----------
    location : str
        Path or URI.
    parse : callable
        Parses the object's bytes; what it raises for complete bytes is raised.

    Raises
    ------
    FileNotFoundError
        If there is no such object.
    OSError
        If it cannot be read; `StoreFailingError` if it never arrives complete.
    """

    def once() -> T:
        data = storage.read_bytes(location)
        try:
            return parse(data)
        except Exception as error:
            size = _size_of(location)
            if size != len(data):
                raise DamagedAnswerError(f"received {len(data):,} of {size:,} bytes") from error
            raise

    return with_retries(once)


def _size_of(location: str) -> int:
    protocol, path = storage.split(location)
    if protocol == "file":
        return Path(path).stat().st_size
    return int(storage.filesystem(protocol).info(path)["size"])
