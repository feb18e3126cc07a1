"""Splicing: copies a file with some of its byte ranges replaced."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """The replacement of a byte range.

    Attributes
    ----------
    start, end : int
        The range; an empty range inserts.
    data : bytes
        What replaces it in the copy.
    """

    start: int
    end: int
    data: bytes


def splice(source: BinaryIO, edits: Iterable[Edit], target: Path) -> None:
    """Copy an open file with edits that do not overlap, holding little of it in memory.

    Raises
    ------
    OSError
        If it cannot be read or written.
    """
    position = 0
    with target.open("wb") as copy:
        for edit in sorted(edits):
            _copy(source, copy, position, edit.start)
            copy.write(edit.data)
            position = edit.end
        _copy(source, copy, position, None)


def _copy(source: BinaryIO, copy: BinaryIO, start: int, end: int | None) -> None:
    source.seek(start)
    while end is None or start < end:
        data = source.read(_COPY_BYTES if end is None else min(_COPY_BYTES, end - start))
        if not data:
            return
        copy.write(data)
        start += len(data)
