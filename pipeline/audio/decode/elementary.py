"""Elementary streams: frames of AC-3, MPEG audio or AAC that are stored as if they were PCM.

FFmpeg's command writes them if it is told to copy a stream into a wav of another codec, and its probe reads
them. One sync word occurs in music by chance, so only frames that follow each other count.

References
----------
ETSI TS 102 366, sections 4.3 and E.1.2 (AC-3 and E-AC-3); ISO/IEC 14496-3, section 1.7.2 (LOAS).
"""

import io
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.decode.decoders import Decoder, UndecodableError
from pipeline.audio.decode.ffmpeg import FfmpegDecoder
from pipeline.audio.decode.joined_streams import JoinedDecoder
from pipeline.audio.decode.mpeg import AAC_RATES, MPEG_FRAMES, mpeg_streams
from pipeline.audio.decode.source import Source

HEADER_BYTES = 8

MIN_FRAMES = 5
"""Consecutive frames that distinguish a stream from PCM."""

MIN_COVERAGE = 0.75
"""Fraction of the probed bytes that frames must cover; some may be damaged."""

_AC3_KBPS = np.array(
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640], np.int32
)


@dataclass(frozen=True, slots=True)
class Framing:
    """How the frames of a kind of stream are found.

    Attributes
    ----------
    name : str
        Its name for users.
    mask, sync : int
        The bits of a frame's first two bytes that are fixed, and their values.
    measure : callable
        Returns, for headers of shape (n, `HEADER_BYTES`), the length in bytes of each frame, 0 if its header
        is invalid, and a number that all frames of a stream share.
    """

    name: str
    mask: int
    sync: int
    measure: Callable[[NDArray[np.int32]], tuple[NDArray[np.int32], NDArray[np.int32]]]


@dataclass(frozen=True, slots=True)
class FramedStream:
    """An elementary stream in the bytes of PCM.

    Attributes
    ----------
    name : str
        Its name for users.
    swapped : bool
        Whether the bytes of each word are in the other order.
    start : int
        Where the first frame begins, in bytes.
    varies : bool
        Whether its frames differ. Those of encoded silence do not, nor does a periodic tone that happens to
        look like frames.
    """

    name: str
    swapped: bool
    start: int
    varies: bool


def find_stream(y: NDArray[np.float32]) -> FramedStream | None:
    """Return the elementary stream that samples of shape (channels, n) hold; None for PCM."""
    with np.errstate(invalid="ignore"):  # NaN is not a bitstream either
        if not y.size or not (np.abs(y) <= 1).all():
            return None
    words = pcm_words(y)
    for swapped in (False, True):
        data = np.frombuffer(words.byteswap() if swapped else words, np.uint8)
        wide = data.astype(np.uint16)
        pairs = wide[: 1 - HEADER_BYTES] << np.uint16(8) | wide[1 : 2 - HEADER_BYTES]
        for framing in FRAMINGS:
            frames = _find_frames(data, pairs, framing)
            if frames:
                start, end = frames[0]
                varies = any(not np.array_equal(data[first:last], data[start:end]) for first, last in frames)
                return FramedStream(framing.name, swapped, start, varies)
    return None


def pcm_words(y: NDArray[np.float32]) -> NDArray[np.int16]:
    """Return samples of shape (channels, n) as the little-endian words that they were decoded from."""
    words: NDArray[np.int16] = np.clip(y.T * np.float32(32768), -32768, 32767).astype("<i2")
    return words.ravel()


def _find_frames(
    data: NDArray[np.uint8], pairs: NDArray[np.uint16], framing: Framing
) -> list[tuple[int, int]]:
    """Return the start and end of the frames, if there are enough of them for a stream."""
    places = np.flatnonzero(pairs & framing.mask == framing.sync)
    lengths, kinds = framing.measure(data[places[:, np.newaxis] + np.arange(HEADER_BYTES)].astype(np.int32))
    valid = lengths > 0
    places, ends, kinds = places[valid], (places + lengths)[valid], kinds[valid]
    if len(places) < MIN_FRAMES:
        return []
    kind_at = np.full(len(pairs), -1)
    kind_at[places] = kinds
    goes_on = (ends >= len(pairs)) | (kind_at[np.minimum(ends, len(pairs) - 1)] == kinds)
    frames: list[tuple[int, int]] = []
    for start, end in zip(places[goes_on].tolist(), ends[goes_on].tolist(), strict=True):
        if not frames or start >= frames[-1][1]:
            frames.append((start, end))
    whole = [(start, end) for start, end in frames if end <= len(data)]
    covered = sum(min(end, len(data)) - start for start, end in frames)
    enough = len(whole) >= MIN_FRAMES and covered >= MIN_COVERAGE * (len(data) - frames[0][0])
    return whole if enough else []


def _measure_ac3(headers: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    rate, code, version = headers[:, 4] >> 6, headers[:, 4] & 63, headers[:, 5] >> 3
    kbps = _AC3_KBPS[np.minimum(code >> 1, len(_AC3_KBPS) - 1)]
    lengths = np.choose(rate, [4 * kbps, 2 * (kbps * 320 // 147 + (code & 1)), 6 * kbps, 0 * kbps])
    lengths[code >= 2 * len(_AC3_KBPS)] = 0
    enhanced = 2 * ((headers[:, 2] & 7) << 8 | headers[:, 3]) + 2
    return np.where(version <= 10, lengths, np.where(version <= 16, enhanced, 0)), rate


def _measure_mpeg(headers: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    second, third = headers[:, 1], headers[:, 2]
    adts = (headers[:, 3] & 3) << 11 | headers[:, 4] << 3 | headers[:, 5] >> 5
    adts[(second & 0xF6 != 0xF0) | (third >> 2 & 0xF >= len(AAC_RATES)) | (adts <= 7)] = 0
    lengths = _MPEG_LENGTHS[second << 8 | third]
    return np.where(lengths > 0, lengths, adts), second << 8 | third & np.where(lengths > 0, 0xC, 0x3C)


def _mpeg_lengths() -> NDArray[np.int32]:
    """Return the frame length for every pair of second and third header bytes, 0 if they are invalid."""
    lengths = np.zeros(1 << 16, np.int32)
    for pair, frame in MPEG_FRAMES.items():
        lengths[int.from_bytes(pair)] = frame.n_bytes
    return lengths


_MPEG_LENGTHS = _mpeg_lengths()


def _measure_loas(headers: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    return 3 + ((headers[:, 1] & 0x1F) << 8 | headers[:, 2]), np.zeros(len(headers), np.int32)


FRAMINGS = (
    Framing("AC-3", 0xFFFF, 0x0B77, _measure_ac3),
    Framing("MPEG audio", 0xFFE0, 0xFFE0, _measure_mpeg),
    Framing("AAC (LATM)", 0xFFE0, 0x56E0, _measure_loas),
)


class ElementaryDecoder:
    """Decodes an elementary stream that another decoder takes for PCM.

    Parameters
    ----------
    pcm : Decoder
        The decoder of the PCM; it is closed with this one.
    found : FramedStream
        The stream, as found somewhere in the PCM.

    Raises
    ------
    UndecodableError
        If FFmpeg cannot decode it.
    """

    def __init__(self, pcm: Decoder, found: FramedStream) -> None:
        self.opening = np.empty((0, 0), np.float32)
        self._pcm = pcm
        file = io.BufferedReader(_Payload(pcm, swapped=found.swapped), 1 << 16)
        source = Source(file, found.name, _first_frame(pcm))
        try:
            streams = mpeg_streams(source) if found.name == "MPEG audio" else []
            self._decoder: Decoder = JoinedDecoder(source, streams) if streams else FfmpegDecoder(source)
        except UndecodableError as error:
            raise UndecodableError(f"it holds {found.name} stored as PCM, and {error}", final=True) from error
        self.info, self.seeks = self._decoder.info, self._decoder.seeks
        if not isfinite(self.info.duration_s):  # FFmpeg does not estimate that of LATM
            n_samples = sum(block.shape[1] for block in self._decoder.blocks(0))
            self.info = replace(self.info, duration_s=n_samples / self.info.sample_rate)

    def blocks(self, start: int) -> Iterator[NDArray[np.float32]]:
        """Yield blocks from sample `start` on; UndecodableError if that cannot be reached."""
        return self._decoder.blocks(start)

    def close(self) -> None:
        """Free both decoders."""
        self._decoder.close()
        self._pcm.close()


def _first_frame(pcm: Decoder) -> int:
    """Return the offset of the first frame in the bytes of the PCM, which may begin with silence."""
    passed = 0
    for y in pcm.blocks(0):
        stream = find_stream(y)
        if stream is not None:
            return passed + stream.start
        passed += 2 * y.size
    return 0


class _Payload(io.RawIOBase):
    """The words of PCM as a seekable file."""

    def __init__(self, pcm: Decoder, *, swapped: bool) -> None:
        self._pcm = pcm
        self._swapped = swapped
        self._frame_bytes = 2 * pcm.info.channels
        n_frames = pcm.info.duration_s * pcm.info.sample_rate
        if not isfinite(n_frames):
            n_frames = sum(y.shape[1] for y in pcm.blocks(0))
        self._size = round(n_frames) * self._frame_bytes
        self._pieces: Iterator[bytes] = iter(())
        self._left = b""
        self._at = 0
        self.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        self._pieces, self._left = self._from(self._at), b""
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            self._left = next(self._pieces, b"")
        data, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _from(self, at: int) -> Iterator[bytes]:
        if at >= self._size:
            return
        start, skipped = divmod(at, self._frame_bytes)
        with closing(self._pcm.blocks(start)) as blocks:  # type: ignore[type-var]  # decoders yield
            for y in blocks:
                words = pcm_words(y)
                data = (words.byteswap() if self._swapped else words).tobytes()
                if data[skipped:]:
                    yield data[skipped:]
                skipped = max(skipped - len(data), 0)
