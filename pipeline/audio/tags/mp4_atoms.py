"""The atoms of m4a files that hold tags.

References
----------
ISO/IEC 14496-12, section 4.2; QuickTime File Format, "Metadata"
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_HEADER_BYTES = 8
_LONG_HEADER_BYTES = 16
_META_VERSION_BYTES = 4
_NO_TAGS = (b"hdlr", b"free", b"skip")
"""Atoms beside tags that are not tags: the type of metadata, and free space."""


class AtomError(ValueError):
    """Atoms that cannot be parsed; the message is a reason without the file's name."""


@dataclass(frozen=True, slots=True)
class Mp4Tag:
    """A tag of an m4a.

    Attributes
    ----------
    place, name : bytes
        The name of its parent atom, usually ``ilst``, and its own.
    content : bytes
        Its content.
    """

    place: bytes
    name: bytes
    content: bytes


@dataclass(frozen=True, slots=True)
class _Atom:
    name: bytes
    start: int
    end: int


def is_fragmented(file: BinaryIO) -> bool:
    """Return whether the audio is in fragments (``moof``), whose offsets mutagen does not update."""
    return any(atom.name == b"moof" for atom in _atoms(file, 0, _size(file)))


def mp4_tags(file: BinaryIO) -> Iterator[Mp4Tag]:
    """Yield all tags of an m4a, including those outside ``ilst``.

    Raises
    ------
    AtomError
        If its atoms are damaged.
    """
    whole = _Atom(b"", 0, _size(file))
    for udta in _children(file, [whole], b"moov", b"udta"):
        for child in _atoms(file, udta.start, udta.end):
            if child.name == b"meta":
                yield from _meta(file, child)
            else:
                yield _tag(file, udta, child)


def _meta(file: BinaryIO, meta: _Atom) -> Iterator[Mp4Tag]:
    for child in _atoms(file, meta.start + _META_VERSION_BYTES, meta.end):
        if child.name == b"ilst":
            for tag in _atoms(file, child.start, child.end):
                yield _tag(file, child, tag)
        elif child.name not in _NO_TAGS:
            yield _tag(file, meta, child)


def _children(file: BinaryIO, atoms: list[_Atom], *names: bytes) -> list[_Atom]:
    for name in names:
        inner = (child for atom in atoms for child in _atoms(file, atom.start, atom.end))
        atoms = [child for child in inner if child.name == name]
    return atoms


def _tag(file: BinaryIO, parent: _Atom, atom: _Atom) -> Mp4Tag:
    file.seek(atom.start)
    return Mp4Tag(parent.name, atom.name, file.read(atom.end - atom.start))


def _atoms(file: BinaryIO, start: int, end: int) -> Iterator[_Atom]:
    while start + _HEADER_BYTES <= end:
        file.seek(start)
        header = file.read(_LONG_HEADER_BYTES)
        size, n_header = int.from_bytes(header[:4]), _HEADER_BYTES
        if size == 1:
            size, n_header = int.from_bytes(header[8:]), _LONG_HEADER_BYTES
        elif size == 0:
            size = end - start
        if size < n_header or start + size > end:
            raise AtomError("its atoms are damaged")
        yield _Atom(header[4:8], start + n_header, start + size)
        start += size


def _size(file: BinaryIO) -> int:
    return file.seek(0, io.SEEK_END)
