"""The chunks of wav and aiff files, one of which may hold an ID3 tag."""

import io
from dataclasses import dataclass
from typing import Literal, Protocol

HEADER_BYTES = 8
"""A chunk's header: its name and its size."""
CONTAINER_BYTES = 12
"""The file's header: RIFF or FORM, its size, and its type."""
_MAX_CHUNKS = 10_000
_LONG_FORMS = (b"RF64", b"BW64")
_BIG_ENDIAN = (b"FORM", b"RIFX")
_UNKNOWN_SIZES = (0, 0xFFFFFFFF)
_ID3 = (b"ID3 ", b"id3 ")


class _File(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...
    def seek(self, offset: int, whence: int = 0, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk.

    Attributes
    ----------
    name : bytes
        Four letters.
    start, size : int
        Offset of its header, and number of bytes after that, without the pad byte.
    end : int
        Offset of the next chunk.
    """

    name: bytes
    start: int
    size: int
    end: int

    @property
    def is_uneven(self) -> bool:
        """Whether its size is odd and the pad byte is missing."""
        return self.size % 2 == 1 and self.end == self.data_end

    @property
    def data_start(self) -> int:
        """Offset of its content."""
        return self.start + HEADER_BYTES

    @property
    def data_end(self) -> int:
        """Offset of the end of its content."""
        return self.data_start + self.size


@dataclass(frozen=True, slots=True)
class Chunks:
    """The chunks of a wav or aiff.

    Attributes
    ----------
    form : bytes
        RIFF, RIFX, RF64, BW64 or FORM.
    declared_bytes : int
        The size of the file according to its header; for RF64 and BW64, to the chunk ``ds64``.
    n_bytes : int
        The size of the file.
    chunks : tuple of Chunk
        In the order of the file, up to the first bytes that are not a chunk.
    open_ended : bool
        Whether the audio runs to the end of the file because the header has no valid size: the file was
        written to a pipe, the recording was interrupted, or the file is truncated.
    """

    form: bytes
    declared_bytes: int
    n_bytes: int
    chunks: tuple[Chunk, ...]
    open_ended: bool

    @property
    def byteorder(self) -> Literal["little", "big"]:
        """The byte order of its numbers."""
        return "big" if self.form in _BIG_ENDIAN else "little"

    @property
    def audio(self) -> Chunk | None:
        """The chunk with the audio."""
        return self._first(b"SSND" if self.form == b"FORM" else b"data")

    @property
    def id3(self) -> list[Chunk]:
        """The chunks with an ID3 tag; most programs read the first."""
        return [chunk for chunk in self.chunks if chunk.name in _ID3]

    @property
    def sizes(self) -> Chunk | None:
        """The chunk with the sizes of RF64 and BW64, which do not fit in the headers."""
        return self._first(b"ds64")

    def _first(self, name: bytes) -> Chunk | None:
        return next((chunk for chunk in self.chunks if chunk.name == name), None)


def read_chunks(file: _File) -> Chunks | None:
    """Read the chunks of a wav or aiff, little more than their headers; return None for other files."""
    file.seek(0)
    header = file.read(CONTAINER_BYTES)
    form, kind = header[:4], header[8:]
    if form == b"FORM":
        known = kind in (b"AIFF", b"AIFC")
    else:
        known = form in (b"RIFF", b"RIFX", *_LONG_FORMS) and kind == b"WAVE"
    if not known:
        return None
    return _walk(file, form, HEADER_BYTES + _number(header[4:], form), file.seek(0, io.SEEK_END))


def _walk(file: _File, form: bytes, declared: int, n_bytes: int) -> Chunks:
    audio_name, audio_bytes = (b"SSND" if form == b"FORM" else b"data"), None
    chunks: list[Chunk] = []
    open_ended = False
    start = CONTAINER_BYTES
    while len(chunks) < _MAX_CHUNKS and not open_ended and _is_chunk(file, start):
        file.seek(start)
        name, size = file.read(4), _number(file.read(4), form)
        if name == b"ds64" and form in _LONG_FORMS:
            declared = HEADER_BYTES + int.from_bytes(file.read(8), "little")
            audio_bytes = int.from_bytes(file.read(8), "little")
        data_start = start + HEADER_BYTES
        if name == audio_name:
            size = size if audio_bytes is None else audio_bytes
            open_ended = size in _UNKNOWN_SIZES or data_start + size > n_bytes
            size = n_bytes - data_start if open_ended else size
        end = data_start + size
        if end > n_bytes:
            break
        if size % 2 and end < n_bytes and not _lacks_pad(file, form, end, n_bytes):
            end += 1
        chunks.append(Chunk(name, start, size, end))
        start = end
    return Chunks(form, declared, n_bytes, tuple(chunks), open_ended)


def _lacks_pad(file: _File, form: bytes, end: int, n_bytes: int) -> bool:
    """Whether the next chunk follows an odd one without a pad byte, as some programs write it."""
    file.seek(end)
    header = file.read(HEADER_BYTES)
    fits = end + HEADER_BYTES + _number(header[4:], form) <= n_bytes
    return header[:1] != b"\0" and fits and _is_chunk(file, end)


def _is_chunk(file: _File, start: int) -> bool:
    file.seek(start)
    header = file.read(HEADER_BYTES)
    return len(header) == HEADER_BYTES and all(0x20 <= byte < 0x7F for byte in header[:4])


def _number(data: bytes, form: bytes) -> int:
    return int.from_bytes(data[:4], "big" if form in _BIG_ENDIAN else "little")
