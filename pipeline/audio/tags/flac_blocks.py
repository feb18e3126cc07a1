"""Metadata blocks of flac: the comments are replaced, all others keep their bytes.

References
----------
RFC 9639, section 8
"""

from typing import BinaryIO

from pipeline.audio.tags.splicing import Edit
from pipeline.audio.tags.vorbis_comments import CommentError, Comments, parse_comments

_MAGIC_BYTES = 4
_HEADER_BYTES = 4
_PADDING, _COMMENTS = 1, 4
_LAST = 0x80
_MAX_SIZE = (1 << 24) - 1
_NEW_PADDING = 1 << 12
_VENDOR = b"earmark"

_Block = tuple[int, bytes]
"""Its type and its content."""


def flac_genre_edit(file: BinaryIO, start: int, genre: str) -> Edit:
    """Return the edit that sets the genre of a flac.

    Parameters
    ----------
    file : BinaryIO
        The flac.
    start : int
        Where it begins: after the ID3 tag, if there is one.
    genre : str
        The new genre.

    Raises
    ------
    CommentError
        If its blocks are damaged or have no room for the genre.
    """
    start += _MAGIC_BYTES
    blocks, audio = _read_blocks(file, start)
    kinds = [kind for kind, _ in blocks]
    place = kinds.index(_COMMENTS) if _COMMENTS in kinds else None
    comments = Comments(_VENDOR, ()) if place is None else parse_comments(blocks[place][1])
    content = comments.with_genre(genre).render()
    if len(content) > _MAX_SIZE:
        raise CommentError("its comments have no room for a genre")
    if place is None:
        blocks.insert(1, (_COMMENTS, content))
    else:
        blocks[place] = (_COMMENTS, content)
    kept = [_header(kind, data) + data for kind, data in blocks if kind != _PADDING]
    # If possible, pad so that the audio stays in place; otherwise leave some padding for the next edit.
    room = audio - start - sum(map(len, kept)) - _HEADER_BYTES
    padding = bytes(room if 0 <= room <= _MAX_SIZE else _NEW_PADDING)
    return Edit(start, audio, b"".join((*kept, _header(_LAST | _PADDING, padding), padding)))


def _read_blocks(file: BinaryIO, start: int) -> tuple[list[_Block], int]:
    """Return the blocks, and where the audio begins."""
    blocks: list[_Block] = []
    is_last = False
    file.seek(start)
    while not is_last:
        header = file.read(_HEADER_BYTES)
        size = int.from_bytes(header[1:])
        data = file.read(size)
        if len(header) < _HEADER_BYTES or len(data) < size or (not blocks and header[0] & ~_LAST):
            raise CommentError("its metadata blocks are damaged")
        is_last = bool(header[0] & _LAST)
        blocks.append((header[0] & ~_LAST, data))
        start += _HEADER_BYTES + size
    return blocks, start


def _header(kind: int, data: bytes) -> bytes:
    return bytes([kind]) + len(data).to_bytes(3)
