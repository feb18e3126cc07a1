"""ID3v2 as raw frames, byte for byte, in the version that the file has.

mutagen parses a tag into values and renders it again from them, which drops frames that it considers broken,
unknown or redundant. Here frames stay raw bytes, and only requested text frames are parsed.

References
----------
https://id3.org/id3v2.4.0-structure, https://id3.org/id3v2.3.0, https://id3.org/id3v2-00
"""

import re
import zlib
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from mutagen.id3 import TCON

from pipeline.audio.decode.source import ID3_HEADER_BYTES, Source, id3_block_bytes

MAX_UNPACKED_BYTES = 1 << 20
"""Total size that the compressed frames of a tag may unpack to when text is read."""
MAX_STRINGS = 1000
"""Strings of a frame; a compressed megabyte can hold a billion."""
ID3V1_BYTES = 128
_MAX_TEXT_BYTES = 1 << 20
"""Longer frames are not text that anyone wrote, and are ignored."""
_PADDING = 1 << 10
_MAX_SIZE = (1 << 28) - 1

_APE = b"APE"
_NAME = re.compile(rb"[A-Za-z0-9]{3}[A-Za-z0-9 \0]?")
_SUCCESSORS = {
    "TP1": "TPE1", "TP2": "TPE2", "TAL": "TALB", "TT2": "TIT2", "TCO": "TCON",
    "TYE": "TYER", "TDA": "TDAT", "TOR": "TORY", "TXX": "TXXX",
}  # fmt: skip
_USER_DEFINED = "TXXX"
_ENCODINGS = ("latin-1", "utf-16", "utf-16-be", "utf-8")


class Id3Error(ValueError):
    """A tag that cannot be parsed; the message is a reason without the file's name."""


@dataclass(frozen=True, slots=True)
class Id3:
    """An ID3v2 tag.

    Attributes
    ----------
    version : int
        2, 3 or 4.
    unsynchronized : bool
        Whether the tag's flag says that a zero follows each 0xFF in its frames.
    frames : tuple of bytes
        The frames, including their headers.
    n_bytes : int
        The size of the tag in the file, including its padding.
    whole : bool
        Whether nothing but padding follows the frames.
    """

    version: int
    unsynchronized: bool
    frames: tuple[bytes, ...]
    n_bytes: int
    whole: bool

    @property
    def _name_bytes(self) -> int:
        return 3 if self.version == 2 else 4

    def name(self, frame: bytes) -> str:
        """Return the name of a frame, in the spelling of ID3v2.3 and 2.4."""
        name = frame[: self._name_bytes].decode("latin-1").rstrip(" \0")
        return _SUCCESSORS.get(name, name)

    def texts(self, names: frozenset[str]) -> dict[str, list[str]]:
        """Return the strings of the text frames with these names, by `text`; none of broken or huge ones."""
        found: dict[str, list[str]] = {}
        left = MAX_UNPACKED_BYTES
        for frame in self.frames:
            name = self.name(frame)
            if name not in names and name != _USER_DEFINED:
                continue
            name, strings, n_unpacked = self.text(frame, left)
            left -= n_unpacked
            if name in names:
                known = found.setdefault(name, [])
                known += islice(filter(None, strings), MAX_STRINGS - len(known))
        return found

    def text(self, frame: bytes, most: int = MAX_UNPACKED_BYTES) -> tuple[str, list[str], int]:
        """Return the name of a text frame, its strings, and how many bytes were unpacked, of at most `most`.

        The name of a user-defined frame is its description in lower case.
        """
        content, n_unpacked = _content(frame, self.version, self.unsynchronized, most)
        name, strings = self.name(frame), _strings(content)
        if name == _USER_DEFINED:
            name = strings.pop(0).lower() if strings else ""
        return name, strings, n_unpacked


def read_id3v1(file: BinaryIO | Source, size: int) -> bytes:
    """Return the ID3v1 tag at the end of a file of `size` bytes; empty if there is none.

    The header of an APEv2 tag, ``APETAGEX``, may lie so that it seems to begin with its last five letters.
    """
    file.seek(max(size - ID3V1_BYTES - len(_APE), 0))
    end = file.read(ID3V1_BYTES + len(_APE))
    tag = end[-ID3V1_BYTES:]
    is_tag = len(tag) == ID3V1_BYTES and tag.startswith(b"TAG") and end[:-ID3V1_BYTES] != _APE
    return tag if is_tag else b""


def parse_id3(data: bytes) -> Id3:
    """Parse the tag that `data` begins with.

    Raises
    ------
    Id3Error
        If there is none, or its version is not supported.
    """
    n_bytes = id3_block_bytes(data)
    if not n_bytes:
        raise Id3Error("no ID3v2 tag")
    version, flags = data[3], data[5]
    if version not in (2, 3, 4) or (version == 2 and flags & 0x40):
        raise Id3Error(f"its ID3v2.{version} tag has an unknown form")
    body = data[ID3_HEADER_BYTES : ID3_HEADER_BYTES + _synchsafe(data[6:10])]
    unsynchronized = bool(flags & 0x80)
    if unsynchronized and version < 4:
        body = _resynchronize(body)
    if version > 2 and flags & 0x40:
        n_extended = _extended_header_bytes(body, version)
        if n_extended > len(body):
            raise Id3Error("its ID3v2 tag has a damaged header")
        body = body[n_extended:]
    frames, whole = _frames(body, version)
    return Id3(version, unsynchronized and version == 4, frames, n_bytes, whole and n_bytes <= len(data))


def render_id3(tag: Id3) -> bytes:
    """Return a tag as bytes for a file: in its old size if the frames fit, else with some padding.

    Raises
    ------
    Id3Error
        If it exceeds the size that ID3 allows.
    """
    body = b"".join(tag.frames)
    size = tag.n_bytes - ID3_HEADER_BYTES
    size = size if len(body) <= size else len(body) + _PADDING
    if size > _MAX_SIZE:
        raise Id3Error("its ID3v2 tag has no room for a genre")
    header = bytes([tag.version, 0, 0x80 if tag.unsynchronized else 0])
    return b"ID3" + header + _synchsafe_bytes(size) + body.ljust(size, b"\0")


def with_genre(tag: Id3, genre: str) -> Id3:
    """Return a tag with another genre and all other frames byte for byte the same.

    A user-defined frame of that name is left out: FFmpeg and what plays with it prefer it to the genre.
    """
    is_genre = [_is_genre(tag, frame) for frame in tag.frames]
    place = is_genre.index(True) if True in is_genre else len(is_genre)
    others = [frame for frame, other in zip(tag.frames, is_genre, strict=True) if not other]
    frames = (*others[:place], _genre_frame(genre, tag.version), *others[place:])
    return Id3(tag.version, tag.unsynchronized, frames, tag.n_bytes, tag.whole)


def has_genre(tag: Id3) -> bool:
    """Return whether a tag has a genre, or a user-defined frame of that name."""
    return any(_is_genre(tag, frame) for frame in tag.frames)


def genre_names(texts: list[str]) -> list[str]:
    """Return genres with ID3v1 numbers, such as "(17)" or "17", replaced by names."""
    names: list[str] = TCON(encoding=3, text=texts).genres
    return names


def _is_genre(tag: Id3, frame: bytes) -> bool:
    name = tag.name(frame)
    if name == _USER_DEFINED:
        name, _, _ = tag.text(frame)
    return name in ("TCON", "genre")


def _genre_frame(genre: str, version: int) -> bytes:
    # UTF-8 is new in 2.4. It has no 0xFF, so the frame needs no unsynchronization.
    if version == 4:
        content = b"\3" + genre.encode()
    else:
        content = b"\0" + genre.encode() if genre.isascii() else b"\1" + genre.encode("utf-16")
    if version == 2:
        return b"TCO" + len(content).to_bytes(3) + content
    size = len(content) if version == 3 else int.from_bytes(_synchsafe_bytes(len(content)))
    return b"TCON" + size.to_bytes(4) + b"\0\0" + content


def _resynchronize(data: bytes) -> bytes:
    """Remove the zeros after 0xFF, unless there are none: some taggers set the flag without adding them."""
    return data if re.search(rb"\xff[\xe0-\xff]", data) else data.replace(b"\xff\0", b"\xff")


def _synchsafe(data: bytes) -> int:
    return data[0] << 21 | data[1] << 14 | data[2] << 7 | data[3]


def _synchsafe_bytes(size: int) -> bytes:
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


def _extended_header_bytes(body: bytes, version: int) -> int:
    # Some taggers set the flag without writing an extended header: the body begins with a frame.
    if len(body) < 4 or _NAME.fullmatch(body[:4]):
        return 0
    return _synchsafe(body[:4]) if version == 4 else 4 + int.from_bytes(body[:4])


def _frames(body: bytes, version: int) -> tuple[tuple[bytes, ...], bool]:
    """Return the frames of a body, and whether nothing but padding follows them."""
    frames, whole = _walk(body, version, synchsafe=version == 4)
    if version == 4 and not whole:  # iTunes wrote sizes as in 2.3
        plain, plain_whole = _walk(body, version, synchsafe=False)
        if plain_whole:
            return plain, True
    return frames, whole


def _walk(body: bytes, version: int, *, synchsafe: bool) -> tuple[tuple[bytes, ...], bool]:
    n_name, n_header = (3, 6) if version == 2 else (4, 10)
    frames: list[bytes] = []
    start = 0
    while start + n_header <= len(body) and body[start]:
        size_bytes = body[start + n_name : start + (6 if version == 2 else 8)]
        if synchsafe and max(size_bytes) > 0x7F:
            return tuple(frames), False
        size = _synchsafe(size_bytes) if synchsafe else int.from_bytes(size_bytes)
        end = start + n_header + size
        if not _NAME.fullmatch(body[start : start + n_name]) or end > len(body):
            return tuple(frames), False
        frames.append(body[start:end])
        start = end
    return tuple(frames), start >= len(body) or not body[start]


def _content(frame: bytes, version: int, unsynchronized: bool, most: int) -> tuple[bytes, int]:
    """Return a frame's content, empty if encrypted, broken or too large, and how many bytes were unpacked."""
    if len(frame) > _MAX_TEXT_BYTES:
        return b"", 0
    if version == 2:
        return frame[6:], 0
    content, flags = frame[10:], int.from_bytes(frame[8:10])
    if version == 3:
        packed, encrypted, grouped, sized = flags & 0x80, flags & 0x40, flags & 0x20, flags & 0x80
    else:
        packed, encrypted, grouped, sized = flags & 0x08, flags & 0x04, flags & 0x40, flags & 0x09
    if encrypted:
        return b"", 0
    if version == 4 and (unsynchronized or flags & 0x02):
        content = _resynchronize(content)
    content = content[(1 if grouped else 0) + (4 if sized else 0) :]
    if not packed:
        return content, 0
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(content, max(most, 1))
    except zlib.error:
        return b"", 0
    return (unpacked if unpacker.eof else b""), len(unpacked)


def _strings(content: bytes) -> list[str]:
    if not content or content[0] >= len(_ENCODINGS):
        return []
    encoding = _ENCODINGS[content[0]]
    text = content[1:]
    if encoding.startswith("utf-16"):
        text = text[: len(text) & ~1]
    try:
        decoded = text.decode(encoding)
    except UnicodeDecodeError:
        return []
    strings = decoded.split("\0", MAX_STRINGS)
    if len(strings) > MAX_STRINGS:
        return []
    return [string.lstrip("\ufeff") for string in strings]
