"""Ogg: finds the links of a chained file, the consecutive streams that internet radio writes.

References
----------
RFC 3533, sections 4 (multiplexing and chaining) and 6 (page format).
"""

from itertools import pairwise

from pipeline.audio.decode.source import CHUNK_BYTES, Source

SCANNED_BYTES = 32 << 20
"""Files up to this size, which are fetched whole anyway, are searched; larger ones are probed first."""

PROBE_BYTES = 1 << 17
"""Enough to contain a whole page, which has at most 65,307 bytes."""

PROBES = 16

_HEADER_BYTES = 27
_PAGE = b"OggS\0"
_FIRST_PAGE = b"OggS\0\x02"


def ogg_links(source: Source) -> list[tuple[int, int]]:
    """Return where each link of an ogg starts and ends, in bytes.

    Multiplexed streams, such as the audio and video of a film, are one link. A recording that was started in
    the middle of a stream cannot be decoded before its first link; that part belongs to none.

    Returns
    -------
    list of (int, int)
        One link for an ordinary file; none if no stream begins in it.
    """
    size = source.size()
    if size > SCANNED_BYTES and not _looks_chained(source, size):
        return [(0, size)]
    starts = []
    group_end = -1
    for offset in _first_pages(source):
        length = _first_page_bytes(source, offset)
        if length is None:
            continue
        if offset != group_end:
            starts.append(offset)
        group_end = offset + length
    return list(pairwise([*starts, size]))


def begins_amid_page(source: Source) -> bool:
    """Return whether a file begins with the rest of a page, in the middle of a stream."""
    pages = _pages(source.read_at(0, PROBE_BYTES))
    return len(pages) > 1 and pages[0][0] == pages[1][0] and pages[0][1] + 1 == pages[1][1]


def opus_lead_s(source: Source, link: int) -> float:
    """Return the pre-skip of an Opus stream, seconds, which FFmpeg includes in its duration.

    References
    ----------
    RFC 7845, section 5.1.
    """
    head = source.read_at(link, _HEADER_BYTES + 255)
    at = head.find(b"OpusHead")
    return int.from_bytes(head[at + 10 : at + 12], "little") / 48_000 if at >= 0 else 0.0


def _first_pages(source: Source) -> list[int]:
    """Return the offsets of the signature of a stream's first page."""
    found = []
    base, data = 0, b""
    while more := source.read_at(base + len(data), CHUNK_BYTES):
        rest = data[1 - len(_FIRST_PAGE) :]
        base, data = base + len(data) - len(rest), rest + more
        at = data.find(_PAGE)
        while at >= 0:
            if data.startswith(_FIRST_PAGE, at):
                found.append(base + at)
            # Jump from page to page while they are contiguous: searching is twenty times slower.
            n_segments = data[at + 26 : at + _HEADER_BYTES]
            body = at + _HEADER_BYTES + (n_segments[0] if n_segments else 0)
            following = body + sum(data[at + _HEADER_BYTES : body])
            at = following if data.startswith(_PAGE, following) else data.find(_PAGE, at + 1)
    return found


def _first_page_bytes(source: Source, offset: int) -> int | None:
    """Return the length of the page at `offset`, or None if it is not the first of a stream."""
    data = source.read_at(offset, _HEADER_BYTES + 255)
    if len(data) < _HEADER_BYTES or any(data[6:14]):  # the granule position
        return None
    lacing = data[_HEADER_BYTES : _HEADER_BYTES + data[26]]
    length = _HEADER_BYTES + data[26] + sum(lacing)
    return length if source.read_at(offset + length, len(_PAGE)) in (_PAGE, b"") else None


def _looks_chained(source: Source, size: int) -> bool:
    """Return whether probed pages belong to other streams than those that the file begins with."""
    latest = dict(_pages(source.read_at(0, PROBE_BYTES)))
    for probe in range(1, PROBES + 1):
        for serial, number in _pages(source.read_at(size * probe // PROBES - PROBE_BYTES, PROBE_BYTES)):
            if number < latest.get(serial, number + 1):
                return True
            latest[serial] = number
    return False


def _pages(data: bytes) -> list[tuple[bytes, int]]:
    """Return the stream serial number and the page number of each page in `data`."""
    pages = []
    at = data.find(_PAGE)
    while 0 <= at <= len(data) - _HEADER_BYTES:
        pages.append((data[at + 14 : at + 18], int.from_bytes(data[at + 18 : at + 22], "little")))
        at = data.find(_PAGE, at + 1)
    return pages
