"""Objects that are read and parsed: what does not parse is read again, before it is called damaged."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pipeline.storage import storage
from pipeline.storage.errors import DamagedAnswerError
from pipeline.storage.retry import with_retries

T = TypeVar("T")


def read_parsed(location: str, parse: Callable[[bytes], T]) -> T:
    """Return what `parse` makes of an object.

    A store may cut an answer short and say that it is the whole. Where `parse` fails and the object is longer
    than what came, that is what happened, and the object is read again.

    Parameters
    ----------
    location : str
        Path or URI.
    parse : callable
        Makes something of the object's bytes; what it raises of bytes that are whole is raised.

    Raises
    ------
    FileNotFoundError
        If there is no such object.
    OSError
        If it cannot be read; `StoreFailingError` if the store does not hand out all of it.
    """

    def once() -> T:
        data = storage.read_bytes(location)
        try:
            return parse(data)
        except Exception as error:
            size = _size_of(location)
            if size != len(data):
                raise DamagedAnswerError(f"{len(data):,} of {size:,} bytes came") from error
            raise

    return with_retries(once)


def _size_of(location: str) -> int:
    protocol, path = storage.split(location)
    if protocol == "file":
        return Path(path).stat().st_size
    return int(storage.filesystem(protocol).info(path)["size"])
