"""MPEG audio and AAC without a container: durations and changes of sample rate, from the frame headers.

References
----------
ISO/IEC 11172-3, section 2.4.1.3, and 13818-3, section 2.4.2.3 (MPEG audio); 14496-3, section 1.A.3.2 (ADTS).
http://gabriel.mp3-tech.org/mp3infotag.html (the Xing and Info tags)
"""

from collections.abc import Iterator
from itertools import pairwise, product
from typing import NamedTuple

from pipeline.audio.decode.joined_streams import Stream
from pipeline.audio.decode.source import CHUNK_BYTES, ID3_HEADER_BYTES, Source, id3_block_bytes

_BITRATES_KBPS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""By version (2 includes 2.5) and layer."""

_MPEG_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
"""By the two version bits."""

AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)

MAX_FRAME_BYTES = 1 << 13
"""Upper bound of the size of any frame."""

HEAD_BYTES = 1 << 16
"""The first frame is searched for in this many bytes."""

PROBES = 8
"""Places at which a file without a frame count is probed."""

MIN_FRAMES = 8
"""A stretch of fewer frames than this is damage, or too short to matter."""

PROBE_BYTES = 4096
"""Enough for two frames; fewer bytes after the frames that a header counts are not a recording."""


class Frame(NamedTuple):
    """The facts in a frame's header; the layer is 0 for AAC."""

    layer: int
    rate: int
    bitrate_kbps: int
    n_samples: int
    n_bytes: int


def mpeg_streams(source: Source) -> list[Stream]:
    """Return the streams of an mp3, mp2 or ADTS file, each of one sample rate, with exact durations.

    Little is read of a file whose header has a frame count, or whose frames all have one bitrate.

    Returns
    -------
    list of Stream
        Empty if FFmpeg handles the file correctly as a whole, or if there is no frame.
    """
    head = source.read_at(0, HEAD_BYTES)
    start = _find_frame(head, 0)
    first = None if start is None else frame_at(head, start)
    if start is None or first is None:
        return []
    if first.layer:
        counted = _counted_bytes(head[start : start + PROBE_BYTES])
        if counted and not _goes_on(source, start + counted):
            # Long tags at the end make FFmpeg distrust the count; a stream without them avoids that.
            is_plain = start + counted + PROBE_BYTES > source.size()
            return [] if is_plain else [Stream(0, start + counted, None, first.rate)]
        if not counted and _is_uniform(source, start, first):
            return []
    stretches: list[_Stretch] = []
    for stretch in _stretches(source):
        if stretches and (stretch.n_frames < MIN_FRAMES or stretch.rate == stretches[-1].rate):
            stretches[-1].add(stretch)
        elif stretches and stretches[-1].n_frames < MIN_FRAMES:
            stretch.start = stretches.pop().start
            stretches.append(stretch)
        else:
            stretches.append(stretch)
    bounds = pairwise([*(stretch.start for stretch in stretches), source.size()])
    return [
        Stream(start, end, stretch.duration_s, stretch.rate)
        for stretch, (start, end) in zip(stretches, bounds, strict=True)
    ]


def frame_at(data: bytes, at: int) -> Frame | None:
    """Return the frame whose header is at `at` in `data`, or None."""
    if data[at : at + 1] != b"\xff":
        return None
    frame = MPEG_FRAMES.get(data[at + 1 : at + 3])
    return frame or _adts_frame(data[at : at + 7])


def is_free_format(header: bytes) -> bool:
    """Return whether a frame's header leaves its bit rate open, as ``lame --freeformat`` writes it."""
    is_open = len(header) > 2 and header[0] == 0xFF and header[2] < 1 << 4
    return is_open and bytes((header[1], header[2] | 1 << 4)) in MPEG_FRAMES


def _adts_frame(header: bytes) -> Frame | None:
    if len(header) < 7 or header[1] & 0xF6 != 0xF0:
        return None
    rate_index = header[2] >> 2 & 0xF
    n_bytes = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    if rate_index >= len(AAC_RATES) or n_bytes <= 7:
        return None
    return Frame(0, AAC_RATES[rate_index], 0, 1024 * ((header[6] & 3) + 1), n_bytes)


def _mpeg_frames() -> dict[bytes, Frame]:
    """Return the frame for every valid pair of second and third header bytes."""
    frames = {}
    for version, rates in _MPEG_RATES.items():
        for layer, bitrate, rate, padding in product(range(1, 4), range(14), range(3), range(2)):
            kbps = _BITRATES_KBPS[1 if version == 3 else 2, layer][bitrate]
            n_samples = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152
            slot = 4 if layer == 1 else 1
            n_bytes = (n_samples // 8 * kbps * 1000 // (rates[rate] * slot) + padding) * slot
            third = bitrate + 1 << 4 | rate << 2 | padding << 1
            for protection, private in product(range(2), range(2)):
                second = 0xE0 | version << 3 | 4 - layer << 1 | protection
                frames[bytes((second, third | private))] = Frame(layer, rates[rate], kbps, n_samples, n_bytes)
    return frames


MPEG_FRAMES = _mpeg_frames()
"""By the second and third header bytes."""


def _find_frame(data: bytes, at: int) -> int | None:
    """Return where the first two consecutive frames in `data` begin, from `at` on."""
    while (at := data.find(b"\xff", at)) >= 0:
        frame = frame_at(data, at)
        following = frame and frame_at(data, at + frame.n_bytes)
        if frame and following and frame.layer == following.layer:
            return at
        at += 1
    return None


def _goes_on(source: Source, end: int) -> bool:
    """Return whether another recording begins at `end`, as in concatenated files."""
    rest = source.read_at(end, PROBE_BYTES)
    return len(rest) == PROBE_BYTES and (
        id3_block_bytes(rest[:ID3_HEADER_BYTES]) > 0 or _find_frame(rest, 0) is not None
    )


def _is_uniform(source: Source, start: int, first: Frame) -> bool:
    """Return whether all probed frames have the sample rate and bitrate of the first."""
    size = source.size()
    for probe in range(1, PROBES + 1):
        data = source.read_at(start + (size - start) * probe // (PROBES + 1), PROBE_BYTES)
        at = _find_frame(data, 0)
        frame = None if at is None else frame_at(data, at)
        if frame is not None and (frame.rate, frame.bitrate_kbps) != (first.rate, first.bitrate_kbps):
            return False
    return True


def _counted_bytes(frame: bytes) -> int:
    """Return the file length that a Xing, Info or VBRI header in the first frame states, or 0."""
    for name in (b"Xing", b"Info"):
        at = frame.find(name, 0, 48)
        if at >= 0 and frame[at + 7 : at + 8] and frame[at + 7] & 2:
            counted = at + 8 + 4 * (frame[at + 7] & 1)
            return int.from_bytes(frame[counted : counted + 4])
    return int.from_bytes(frame[46:50]) if frame[36:40] == b"VBRI" else 0


class _Stretch:
    """A growing stretch of frames of one sample rate."""

    def __init__(self, start: int, rate: int) -> None:
        self.start = start
        self.rate = rate
        self.n_frames = 0
        self.duration_s = 0.0

    def add(self, other: "_Stretch") -> None:
        """Add another stretch to this one."""
        self.n_frames += other.n_frames
        self.duration_s += other.duration_s


def _stretches(source: Source) -> Iterator[_Stretch]:
    """Yield the stretches of frames of one sample rate, including very short ones."""
    stretch, n_samples = None, 0
    for offset, frame in _frames(source):
        if stretch is None or frame.rate != stretch.rate:
            if stretch is not None:
                stretch.duration_s = n_samples / stretch.rate
                yield stretch
            stretch, n_samples = _Stretch(offset, frame.rate), 0
        stretch.n_frames += 1
        n_samples += frame.n_samples
    if stretch is not None:
        stretch.duration_s = n_samples / stretch.rate
        yield stretch


def _frames(source: Source) -> Iterator[tuple[int, Frame]]:
    """Yield all frames with their offsets, skipping what lies between them."""
    size = source.size()
    base, at, data = 0, 0, b""
    while base + at < size:
        if at + MAX_FRAME_BYTES > len(data) and base + len(data) < size:
            base, at = base + at, 0
            data = source.read_at(base, CHUNK_BYTES)
            if not data:
                return
        frame = frame_at(data, at)
        if frame is not None and at + frame.n_bytes <= len(data):
            yield base + at, frame
            at += frame.n_bytes
        elif block := id3_block_bytes(data[at : at + ID3_HEADER_BYTES]):
            at += block
        else:
            found = _find_frame(data, at + 1)
            at = max(at + 1, len(data) - MAX_FRAME_BYTES) if found is None else found
