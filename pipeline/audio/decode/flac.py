"""Flac: finds files that were concatenated, of which a decoder plays the first one only.

References
----------
RFC 9639, sections 8.2 (the stream's facts) and 9.1 (the header of a frame).
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from pipeline.audio.decode.source import Source

PROBE_BYTES = 1 << 16
"""Enough to contain the header of a frame."""

PROBE_SHARES = (0.3, 0.55, 0.8)
"""Where the frame numbers of an ordinary file must ascend, as fractions of its size."""

_SIGNATURE = b"fLaC"
_FACTS_BYTES = 42
_MAX_HEADER_BYTES = 16


class Facts(NamedTuple):
    """What a flac states at its start: the size of most blocks, and how many samples it has (0: unknown)."""

    block_samples: int
    n_samples: int


class Frame(NamedTuple):
    """Where a frame starts and ends in its stream, in samples."""

    start: int
    end: int


def flac_links(source: Source) -> list[tuple[int, int]]:
    """Return where each of several concatenated flac files starts and ends, in bytes.

    Of an ordinary file only some frames are read, whose numbers ascend up to the stated length.

    Returns
    -------
    list of (int, int)
        Empty for an ordinary file.
    """
    facts = _facts(source.read_at(0, _FACTS_BYTES))
    if facts is None or _is_plain(source, facts):
        return []
    starts = [at for at, head in source.find_each(_SIGNATURE, _FACTS_BYTES) if _facts(head) is not None]
    return list(pairwise([*starts, source.size()])) if len(starts) > 1 else []


def _facts(head: bytes) -> Facts | None:
    """Return the facts of the flac that begins with `head`, or None if it is not one."""
    is_flac = head[:4] == _SIGNATURE and head[4:5] in b"\x00\x80" and head[5:8] == b"\0\0\x22"
    if len(head) < _FACTS_BYTES or not is_flac or not int.from_bytes(head[18:21]) >> 4:
        return None
    return Facts(int.from_bytes(head[10:12]), int.from_bytes(head[21:26]) & (1 << 36) - 1)


def _is_plain(source: Source, facts: Facts) -> bool:
    """Return whether probed frames are those of one stream."""
    size = source.size()
    position = -1
    for share in PROBE_SHARES if size > 2 * PROBE_BYTES else ():
        frame = next(_frames(source.read_at(int(size * share), PROBE_BYTES), facts), None)
        if frame is None or not position < frame.start <= facts.n_samples:
            return False
        position = frame.start
    tail = source.read_at(max(size - PROBE_BYTES, 0), PROBE_BYTES)
    return tail.count(_SIGNATURE) <= (size <= PROBE_BYTES) and any(
        frame.end == facts.n_samples for frame in _frames(tail, facts)
    )


def _frames(data: bytes, facts: Facts) -> Iterator[Frame]:
    """Yield the frames whose headers are in `data`, by their checksums."""
    at = data.find(b"\xff")
    while at >= 0:
        frame = _frame(data[at : at + _MAX_HEADER_BYTES], facts)
        if frame is not None:
            yield frame
        at = data.find(b"\xff", at + 1)


def _frame(header: bytes, facts: Facts) -> Frame | None:
    if len(header) < _MAX_HEADER_BYTES or header[1] & 0xFE != 0xF8:
        return None
    size_code, rate_code = header[2] >> 4, header[2] & 15
    n_ones = next(n for n in range(9) if not header[4] << n & 0x80)
    if not size_code or rate_code == 15 or n_ones in (1, 8):
        return None
    after = 4 + max(n_ones, 1)
    number = header[4] & 0xFF >> n_ones + 1
    for byte in header[5:after]:
        number = number << 6 | byte & 0x3F
    n_size_bytes = max(size_code - 5, 0) if size_code < 8 else 0
    end = after + n_size_bytes + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if _crc8(header[:end]) != header[end]:
        return None
    n_samples = _block_samples(size_code, header[after : after + n_size_bytes])
    start = number if header[1] & 1 else number * facts.block_samples
    return Frame(start, start + n_samples)


def _block_samples(code: int, explicit: bytes) -> int:
    if explicit:
        return int.from_bytes(explicit) + 1
    return 192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc << 1 ^ (0x107 if crc & 0x80 else 0)
    return crc
