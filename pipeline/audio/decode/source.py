"""Source: a track's bytes for decoders that cannot propagate Python exceptions."""

import io
from collections.abc import Iterator
from typing import BinaryIO

from pipeline.storage.errors import is_transient, reason
from schemas.errors import NotFoundError, ReadError

CHUNK_BYTES = 1 << 20
"""Bytes that are read at a time where much of a file is searched."""
ID3_HEADER_BYTES = 10
MAX_OFFSET = 1 << 43
"""Beyond the size of any track, in bytes; a seek further than this would look like a disk error."""


class Source:
    """A readable, seekable view of a track's file that remembers why reading failed.

    libsndfile, FFmpeg and mutagen call back into Python for bytes. An exception raised there is printed and
    lost, or taken for a broken file. So a failed read looks like the end of the file, and `raise_if_failed`
    raises the reason afterwards.

    It deliberately has no ``name``: a wrong extension would mislead decoders that look at it.

    Parameters
    ----------
    file : BinaryIO
        The track's file.
    name : str
        The track's URI, for messages.
    offset : int
        Bytes at the start of `file` that the view leaves out.
    end : int, optional
        Where in `file` the view ends; by default at the end of the file.
    """

    def __init__(self, file: "BinaryIO | Source", name: str, offset: int = 0, end: int | None = None) -> None:
        self.uri = name
        self._file = file
        self._offset = offset
        self._end = end
        self._failure: BaseException | None = None

    def window(self, start: int, end: int) -> "Source":
        """Return a view of a byte range of this one; this one also remembers its failures."""
        return Source(self, self.uri, start, end)

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, none at the end or after a failure."""
        if self._failure is not None:
            return b""
        try:
            if self._end is not None:
                left = max(self._end - self._file.tell(), 0)
                size = left if size < 0 else min(size, left)
            return self._file.read(size)
        except BaseException as failure:  # even KeyboardInterrupt, which the C code in between would drop
            self._failure = failure
            return b""

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset` on."""
        self.seek(offset)
        return self.read(size)

    def find_each(self, signature: bytes, n_bytes: int, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield the places of a signature, from `start` on, each with the `n_bytes` that begin there.

        The caller may read elsewhere in between.
        """
        base, data = start, b""
        while more := self.read_at(base + len(data), CHUNK_BYTES):
            rest = data[1 - n_bytes :]  # in which a header that the chunks divide may begin
            base, data = base + len(data) - len(rest), rest + more
            at = data.find(signature)
            while 0 <= at <= len(data) - n_bytes:
                yield base + at, data[at : at + n_bytes]
                at = data.find(signature, at + 1)

    def readinto(self, buffer: memoryview) -> int:
        """Read bytes into `buffer` and return their count."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to `offset` and return the new position; -1 for one that only a broken header can request."""
        try:
            if whence == io.SEEK_CUR:
                offset += self._file.tell()
            elif whence == io.SEEK_END:
                offset += self._file.seek(0, io.SEEK_END) if self._end is None else self._end
            else:
                offset += self._offset
            if not self._offset <= offset <= MAX_OFFSET:
                return -1
            return self._file.seek(offset) - self._offset
        except BaseException as failure:
            self._failure = self._failure or failure
            return -1

    def tell(self) -> int:
        """Return the position."""
        try:
            return max(self._file.tell() - self._offset, 0)
        except BaseException as failure:
            self._failure = self._failure or failure
            return -1

    def size(self) -> int:
        """Return the size of the view in bytes, leaving the position at its end."""
        return self.seek(0, io.SEEK_END)

    def raise_if_failed(self) -> None:
        """Raise the error of a read or a seek that failed.

        Raises
        ------
        NotFoundError
            If the file is gone.
        ReadError
            If the store did not return the bytes.
        """
        failure, self._failure = self._failure, None
        if failure is None:
            return
        if isinstance(failure, FileNotFoundError):
            raise NotFoundError(f"{self.uri} was listed but no longer exists") from failure
        if isinstance(failure, MemoryError) or not isinstance(failure, Exception):
            raise failure
        error = ReadError(f"{self.uri} could not be read ({reason(failure)}); run again to retry")
        error.transient = is_transient(failure)
        raise error from failure


def id3_bytes(source: Source) -> int:
    """Return the length in bytes of the ID3v2 blocks at the start of `source`, 0 if there are none.

    They are hidden from decoders: libmpg123 prints warnings about odd ones to stderr, and some taggers put
    them before wav and flac, where not every decoder skips them.

    References
    ----------
    ID3v2.4.0 main structure, section 3.1: https://id3.org/id3v2.4.0-structure
    """
    return sum(id3_blocks(source))


def id3_blocks(source: Source) -> Iterator[int]:
    """Yield the length in bytes of each ID3v2 block at the start of `source`."""
    start = 0
    while block := id3_block_bytes(source.read_at(start, ID3_HEADER_BYTES)):
        yield block
        start += block


def id3_block_bytes(header: bytes) -> int:
    """Return the length in bytes of the ID3v2 block that begins with `header`, or 0."""
    if len(header) < ID3_HEADER_BYTES or header[:3] != b"ID3" or any(byte & 0x80 for byte in header[6:10]):
        return 0
    footer = ID3_HEADER_BYTES if header[5] & 0x10 else 0
    body = header[6] << 21 | header[7] << 14 | header[8] << 7 | header[9]
    return ID3_HEADER_BYTES + body + footer
