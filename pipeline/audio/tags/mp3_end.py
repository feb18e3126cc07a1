"""The tags at the end of an mp3: ID3v1, APEv2, Lyrics3 and, hardly ever, ID3v2, in any order.

References
----------
https://id3.org/Lyrics3v2 and https://id3.org/Lyrics3, https://id3.org/id3v2.4.0-structure, section 3.4
"""

import io
from dataclasses import dataclass
from typing import BinaryIO

from pipeline.audio.decode.source import ID3_HEADER_BYTES, Source, id3_block_bytes
from pipeline.audio.tags.ape_genre import ApeTag, read_ape
from pipeline.audio.tags.id3 import read_id3v1

_LYRICS = b"LYRICSBEGIN"
_LYRICS_END, _LYRICS_2_END = b"LYRICSEND", b"LYRICS200"
_LYRICS_2_DIGITS = 6
_MAX_LYRICS_BYTES = 5100 + len(_LYRICS) + len(_LYRICS_END)


@dataclass(frozen=True, slots=True)
class Mp3End:
    """What follows the audio of an mp3.

    Attributes
    ----------
    start : int
        Where the first of the tags begins.
    id3v1 : bytes
        The ID3v1 tag; empty if there is none.
    ape : tuple of ApeTag
        The APEv2 tags, the last one first.
    has_id3v2 : bool
        Whether one of the tags is ID3v2.
    """

    start: int
    id3v1: bytes
    ape: tuple[ApeTag, ...]
    has_id3v2: bool


def read_mp3_end(file: BinaryIO | Source) -> Mp3End:
    """Find the tags at the end of an mp3."""
    size = file.seek(0, io.SEEK_END)
    id3v1 = read_id3v1(file, size)
    end = size - len(id3v1)
    ape: list[ApeTag] = []
    has_id3v2 = False
    while True:
        if tag := read_ape(file, end):
            ape.append(tag)
            end = tag.header_start
        elif n_lyrics := _lyrics_bytes(file, end):
            end -= n_lyrics
        elif n_id3 := _id3_bytes(file, end):
            has_id3v2 = True
            end -= n_id3
        else:
            return Mp3End(end, id3v1, tuple(ape), has_id3v2)


def _lyrics_bytes(file: BinaryIO | Source, end: int) -> int:
    """Return the size of the Lyrics3 tag that ends at `end`, or 0."""
    file.seek(max(end - _MAX_LYRICS_BYTES, 0))
    tail = file.read(min(end, _MAX_LYRICS_BYTES))
    if tail.endswith(_LYRICS_END):
        start = tail.rfind(_LYRICS)
        return len(tail) - start if start >= 0 else 0
    digits = tail[-len(_LYRICS_2_END) - _LYRICS_2_DIGITS : -len(_LYRICS_2_END)]
    if not tail.endswith(_LYRICS_2_END) or not digits.isdigit():
        return 0
    n_bytes = int(digits) + _LYRICS_2_DIGITS + len(_LYRICS_2_END)
    file.seek(max(end - n_bytes, 0))
    return n_bytes if file.read(len(_LYRICS)) == _LYRICS else 0


def _id3_bytes(file: BinaryIO | Source, end: int) -> int:
    """Return the size of the ID3v2 tag whose footer ends at `end`, or 0."""
    file.seek(max(end - ID3_HEADER_BYTES, 0))
    footer = file.read(ID3_HEADER_BYTES)
    return id3_block_bytes(b"ID3" + footer[3:]) if footer.startswith(b"3DI") else 0
