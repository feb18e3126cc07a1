"""mutagen within bounds: the tags of a file can neither fill the memory of a process nor hold it up."""

import zlib
from typing import Any

import mutagen
from mutagen.id3 import ID3JunkFrameError, TextFrame
from mutagen.id3 import _frames as id3_frames

from pipeline.decoding.source import Source

MOST_BYTES = 64 << 20
"""What is read of a file for its tags; tags that lie behind more are none."""
_MOST_UNPACKED = 1 << 20
_MOST_COPIED = 1 << 31


class TagSource(Source):
    """A view of a track's file that ends after `MOST_BYTES`, wherever they were read."""

    _left = MOST_BYTES

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, none when there were enough."""
        data = super().read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


def open_tagged(source: TagSource) -> mutagen.FileType | None:
    """Return what mutagen makes of a file; None where it knows no such format, or finds it broken."""
    source.seek(0)
    try:
        return mutagen.File(source)
    except Exception:  # mutagen meets odd bytes with whatever Python raises for them: no tags, not a failure
        return None


class _BoundedZlib:
    """zlib for ID3 frames, which mutagen unpacks whole: a megabyte of them may hold a gigabyte."""

    error = zlib.error

    @staticmethod
    def decompress(data: bytes) -> bytes:
        unpacker = zlib.decompressobj()
        unpacked = unpacker.decompress(data, _MOST_UNPACKED)
        if not unpacker.eof:
            raise zlib.error("incomplete, or larger than text should be")
        return unpacked


def _read_text(frame: TextFrame, id3: Any, data: bytes) -> bytes:
    """Read a text frame, but not so many strings that to cut off one after the other takes minutes."""
    terminator = b"\0\0" if data[:1] in (b"\1", b"\2") else b"\0"
    if data.count(terminator) * len(data) > _MOST_COPIED:
        raise ID3JunkFrameError("more strings than a tag has")
    rest: bytes = id3_frames.Frame._readData(frame, id3, data)
    return rest


id3_frames.zlib = _BoundedZlib
TextFrame._readData = _read_text
