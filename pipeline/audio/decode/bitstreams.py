"""Bitstreams: DTS, AC-3 and the like that are stored as if they were PCM, and would decode to noise.

Rips of DTS CDs hold DTS frames in the words of a wav; recordings of a digital output hold S/PDIF bursts.
`pipeline.audio.decode.elementary` recognizes frames of other codecs.

References
----------
ETSI TS 102 114, section 6.1 (the sync words of DTS); IEC 61937-1, section 6 (bursts).
"""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from math import inf

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.audio.decode.decoders import Decoder, UndecodableError, reason_of
from pipeline.audio.decode.elementary import ElementaryDecoder, FramedStream, find_stream, pcm_words
from pipeline.audio.decode.ffmpeg_frames import MAX_CHANNELS, silence, steady_blocks, without_lead
from schemas.tracks import AudioInfo

PREROLL_S = 1.0
"""Lead-in decoded and dropped before an excerpt."""

FRAME_BYTES = 4
"""Two channels of 16 bits."""

DTS_HEADER_BYTES = 16

OPENING_FRAMES = 9
"""Frames from which the ratio of decoded samples to PCM samples is measured."""

PROBE_BYTES = 1 << 16

PROBE_SHARES = tuple((2 * i + 1) / n for n in (2, 4, 8, 16, 32) for i in range(n // 2))
"""Where a track that begins with silence is probed until there is sound, as fractions of its length."""

QUIET = 1e-3
"""Samples that stay below this are not a bitstream: every burst and frame has louder ones in its header."""


@dataclass(frozen=True, slots=True)
class Packing:
    """A way to store a bitstream as PCM.

    Attributes
    ----------
    sync : bytes
        The bytes that each frame begins with, in little-endian words.
    container : str
        FFmpeg's name for it.
    name : str
        Its name for users.
    min_frames : int
        Frames at equal distances that distinguish it from PCM.
    swapped : bool
        Whether FFmpeg needs the words in big-endian order.
    """

    sync: bytes
    container: str
    name: str
    min_frames: int = 3
    swapped: bool = False


PACKINGS = (
    Packing(b"\x72\xf8\x1f\x4e", "spdif", "an S/PDIF bitstream (IEC 61937)", 2),
    Packing(b"\xf8\x72\x4e\x1f", "spdif", "an S/PDIF bitstream (IEC 61937)", 2, swapped=True),
    Packing(b"\xfe\x7f\x01\x80", "dts", "DTS"),
    Packing(b"\x7f\xfe\x80\x01", "dts", "DTS"),
    Packing(b"\xff\x1f\x00\xe8", "dts", "DTS"),
    Packing(b"\x1f\xff\xe8\x00", "dts", "DTS"),
)


def unpack_bitstream(decoder: Decoder) -> Decoder:
    """Return `decoder` or, if its samples are a bitstream, the decoder of that.

    Raises
    ------
    UndecodableError
        If they are a bitstream that FFmpeg cannot decode.
    """
    found: Packing | FramedStream | None = None
    for y in _probe(decoder):
        if not y.size or _is_quiet(y):
            continue
        found = find_packing(y) or find_stream(y)
        if not isinstance(found, FramedStream) or found.varies:
            break
    if isinstance(found, Packing):
        return BitstreamDecoder(decoder, found)
    return ElementaryDecoder(decoder, found) if found is not None and found.varies else decoder


def _probe(decoder: Decoder) -> Iterator[NDArray[np.float32]]:
    """Yield samples from the start and then, for tracks that begin with silence, from places farther on."""
    yield decoder.opening
    n_samples = decoder.info.duration_s * decoder.info.sample_rate
    if decoder.opening.size and n_samples < 1 << 40:
        for share in PROBE_SHARES:
            yield next(decoder.blocks(int(n_samples * share)), decoder.opening)


def find_packing(y: NDArray[np.float32]) -> Packing | None:
    """Return how samples of shape (2, n) hold a bitstream; None for PCM."""
    with np.errstate(invalid="ignore"):  # NaN is not a bitstream either
        if len(y) != 2 or not (np.abs(y) <= 1).all():
            return None
    data = pcm_words(y).tobytes()
    for packing in PACKINGS:
        places = list(islice(_places(data, packing.sync), packing.min_frames))
        distances = set(np.diff(places).tolist())
        if len(places) == packing.min_frames and len(distances) == 1:
            header = data[places[0] : places[0] + DTS_HEADER_BYTES]
            if packing.container != "dts" or _dts_bytes(header, packing) <= distances.pop():
                return packing
    return None


def _dts_bytes(header: bytes, packing: Packing) -> float:
    """Return how many bytes of PCM a DTS frame takes, by its header; infinity if the header is invalid."""
    is_14_bits = b"\x1f\xff" in (packing.sync[:2], packing.sync[1::-1])
    words = np.frombuffer(header, ">u2" if packing.sync[0] in b"\x7f\x1f" else "<u2")
    width = 14 if is_14_bits else 16
    bits = "".join(f"{word & (1 << width) - 1:0{width}b}" for word in words.tolist())
    n_blocks, n_bytes = int(bits[39:46], 2) + 1, int(bits[46:60], 2) + 1
    is_sound = bits[33:38] == "11111" and n_blocks >= 6 and n_bytes >= 96
    return n_bytes * 16 / width if is_sound else inf


class BitstreamDecoder:
    """Decodes a bitstream that another decoder takes for PCM.

    Parameters
    ----------
    pcm : Decoder
        The decoder of the PCM; it is closed with this one.
    packing : Packing
        How the PCM holds the bitstream.

    Raises
    ------
    UndecodableError
        If FFmpeg cannot decode it.
    """

    def __init__(self, pcm: Decoder, packing: Packing) -> None:
        self.opening, self.seeks = np.empty((0, 0), np.float32), True
        self._pcm = pcm
        self._packing = packing
        with closing(self._frames(0)) as frames:
            try:
                opening = list(islice(frames, OPENING_FRAMES))
            except av.FFmpegError as error:
                raise self._undecodable(reason_of(error)) from error
        if len(opening) < OPENING_FRAMES or opening[0][1].layout.nb_channels > MAX_CHANNELS:
            raise self._undecodable("no audio in it")
        (first_place, first), (last_place, _) = opening[0], opening[-1]
        n_samples = sum(frame.samples for _, frame in opening[:-1])
        self._ratio = n_samples / (last_place - first_place)
        self._rate = first.sample_rate
        duration_s = pcm.info.duration_s * pcm.info.sample_rate * self._ratio / self._rate
        self.info = AudioInfo(self._codec, duration_s, self._rate, first.layout.nb_channels)

    def blocks(self, start: int) -> Iterator[NDArray[np.float32]]:
        """Yield blocks from sample `start` on; UndecodableError if that cannot be reached."""
        from_place = max(int(start / self._ratio - PREROLL_S * self._pcm.info.sample_rate), 0)
        with closing(self._frames(from_place)) as frames:
            opening = next(frames, None)
            if opening is None:
                return
            place, first = opening
            lead = start - round((from_place + place) * self._ratio)
            yield from silence(first.layout.nb_channels, max(-lead, 0))
            rest = (frame for _, frame in frames)
            blocks = steady_blocks(chain([first], rest), self._rate, self._rate, room=0)
            yield from without_lead(blocks, max(lead, 0))

    def close(self) -> None:
        """Free the decoder of the PCM."""
        self._pcm.close()

    def _frames(self, place: int) -> Generator[tuple[float, av.AudioFrame], None, None]:
        """Yield the frames from PCM sample `place` on, each with its offset from there in samples."""
        words = _WordFile(self._pcm.blocks(place), self._packing)
        options = {"probesize": str(PROBE_BYTES)}
        with av.open(words, "r", format=self._packing.container, options=options) as container:
            stream = container.streams.audio[0]
            self._codec = stream.codec_context.codec.canonical_name
            for packet in container.demux(stream):
                try:
                    for frame in packet.decode():
                        yield (words.skipped + (packet.pos or 0)) / FRAME_BYTES, frame
                except av.FFmpegError:
                    continue

    def _undecodable(self, reason: str) -> UndecodableError:
        return UndecodableError(f"it holds {self._packing.name} stored as PCM, and {reason}", final=True)


class _WordFile:
    """PCM as the file of bytes that FFmpeg reads a bitstream from, starting at the first sync word.

    Attributes
    ----------
    skipped : int
        Bytes before the first sync word.
    """

    def __init__(self, blocks: Iterator[NDArray[np.float32]], packing: Packing) -> None:
        self.skipped = 0
        self._packing = packing
        self._pieces = self._from_sync(pcm_words(block).tobytes() for block in blocks)
        self._data = b""

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, none at the end."""
        while not self._data:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._data = piece
        data, self._data = self._data[:size], self._data[size:]
        return data

    def _from_sync(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        rest = b""
        for piece in pieces:
            found = (rest + piece).find(self._packing.sync)
            if found >= 0:
                self.skipped += found
                yield from map(self._ordered, chain([(rest + piece)[found:]], pieces))
                return
            kept = (rest + piece)[-FRAME_BYTES:]
            self.skipped += len(rest + piece) - len(kept)
            rest = kept

    def _ordered(self, words: bytes) -> bytes:
        if not self._packing.swapped:
            return words
        return np.frombuffer(words, "<i2").astype(">i2").tobytes()


def _is_quiet(y: NDArray[np.float32]) -> bool:
    return bool((np.abs(y) < QUIET).all())


def _places(data: bytes, sync: bytes) -> Iterator[int]:
    """Yield the offsets of `sync` in `data`."""
    at = data.find(sync)
    while at >= 0:
        yield at
        at = data.find(sync, at + 1)
