"""Musepack SV8: what FFmpeg misreads.

It rounds lengths down to whole packets of 1.7 s, and finds no audio if bytes are missing.

References
----------
https://trac.musepack.net/musepack/wiki/SV8Specification (the stream header packet)
"""

from pipeline.audio.decode.source import Source

_HEAD_BYTES = 1 << 12
_MAX_FIELDS = 12
_MAGIC, _AUDIO, _SEEK_TABLE_OFFSET, _UNKNOWN = b"MPCK", b"AP", b"SO", b"XX"
_FACTS_AT = 5
"""Bytes of the checksum and the version, before the counts."""


def sv8_samples(source: Source) -> int | None:
    """Return how many samples play, by the stream header; None if it is not at the start or does not know."""
    head = source.read_at(0, _HEAD_BYTES)
    if head[:6] != _MAGIC + b"SH":
        return None
    try:
        _, at = _number(head, 6)
        n_samples, at = _number(head, at + _FACTS_AT)
        n_silent, _ = _number(head, at)
    except IndexError:
        return None
    return n_samples - n_silent if n_samples > n_silent else None


def without_seek_table(source: Source) -> Source:
    """Return a view of an SV8 in which no packet refers to the seek table; `source` itself for other formats.

    Earmark decodes SV8 from its start, without the table.
    """
    head = source.read_at(0, _HEAD_BYTES)
    at = len(_MAGIC)
    while head.startswith(_MAGIC) and at < len(head) - _MAX_FIELDS and head[at : at + 2] != _AUDIO:
        if head[at : at + 2] == _SEEK_TABLE_OFFSET:
            return _Relabeled(source, at)
        at += max(_number(head, at + 2)[0], 1)
    return source


class _Relabeled(Source):
    """A view in which the packet at `at` has a key that decoders skip."""

    def __init__(self, source: Source, at: int) -> None:
        super().__init__(source, source.uri)
        self._at = at

    def read(self, size: int = -1) -> bytes:
        start = self.tell()
        data = super().read(size)
        if start - len(_UNKNOWN) < self._at < start + len(data):
            patched = bytearray(data)
            for place, byte in enumerate(_UNKNOWN, self._at - start):
                if 0 <= place < len(data):
                    patched[place] = byte
            data = bytes(patched)
        return data


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of seven bits a byte and where it ends."""
    number = data[at] & 0x7F
    while data[at] & 0x80:
        at += 1
        number = number << 7 | data[at] & 0x7F
    return number, at + 1
