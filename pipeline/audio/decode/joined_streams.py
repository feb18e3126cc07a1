"""Decodes a file of several consecutive streams as one track."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from math import gcd

import numpy as np
import soxr
from numpy.typing import NDArray

from pipeline.audio.decode.decoders import UndecodableError
from pipeline.audio.decode.ffmpeg import FfmpegDecoder
from pipeline.audio.decode.ffmpeg_frames import silence, without_lead
from pipeline.audio.decode.source import Source
from schemas.tracks import AudioInfo

LEAD_SAMPLES = 4096
"""Samples fed to a resampler before an excerpt, so that its filter has settled."""

PADDED_S = 1.0
"""A stream that is short of its duration by up to this is padded; more means that the duration is wrong."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stretch of a file that decodes by itself.

    Attributes
    ----------
    start, end : int
        Its byte range in the file.
    duration_s : float, optional
        How long it plays; for a single stream, None stands for the container's duration.
    rate : int
        Its sample rate in Hz; for AAC with spectral band replication half of what decodes.
    """

    start: int
    end: int
    duration_s: float | None
    rate: int


class JoinedDecoder:
    """Decodes the consecutive streams of a track as one, at the sample rate of most of it.

    Each stream takes exactly its stated duration, so an excerpt is located without decoding other streams.

    Parameters
    ----------
    source : Source
        The track.
    streams : sequence of Stream
        The streams in playing order; at least one.

    Raises
    ------
    UndecodableError
        If the main stream does not decode.
    """

    def __init__(self, source: Source, streams: Sequence[Stream]) -> None:
        self._source = source
        self._streams = streams
        self._opened: tuple[Stream, FfmpegDecoder] | None = None
        info = self._decoder_of(_main_stream(streams)).info
        known_s = [info.duration_s if stream.duration_s is None else stream.duration_s for stream in streams]
        ends_s = list(accumulate(known_s))
        self._bounds = [0, *(round(end_s * info.sample_rate) for end_s in ends_s)]
        self.opening, self.seeks = np.empty((0, 0), np.float32), True
        self.info = AudioInfo(info.codec, ends_s[-1], info.sample_rate, info.channels)

    def blocks(self, start: int) -> Iterator[NDArray[np.float32]]:
        """Yield blocks from sample `start` on; UndecodableError if that cannot be reached."""
        first = min(bisect_right(self._bounds, start), len(self._streams)) - 1
        for number in range(first, len(self._streams)):
            skipped = max(start - self._bounds[number], 0)
            left = self._bounds[number + 1] - self._bounds[number] - skipped
            channels = self.info.channels
            for block in self._stream_blocks(self._streams[number], skipped):
                yield block[:, :left]
                channels, left = len(block), max(left - block.shape[1], 0)
                if not left:
                    break
            if left <= PADDED_S * self.info.sample_rate:
                yield from silence(channels, left)

    def close(self) -> None:
        """Free FFmpeg's handle."""
        if self._opened is not None:
            self._opened[1].close()
            self._opened = None

    def _decoder_of(self, stream: Stream) -> FfmpegDecoder:
        # It stays open: FFmpeg seeks in an mp3 by reading up to the position, except to those already read.
        if self._opened is None or self._opened[0] is not stream:
            self.close()
            self._opened = stream, FfmpegDecoder(self._source.window(stream.start, stream.end))
        return self._opened[1]

    def _stream_blocks(self, stream: Stream, start: int) -> Iterator[NDArray[np.float32]]:
        """Yield the blocks of a stream at the track's rate, from sample `start` at that rate on."""
        rate = self.info.sample_rate
        try:
            decoder = self._decoder_of(stream)
            if decoder.info.sample_rate == rate:
                yield from decoder.blocks(start)
            else:
                yield from _resample(decoder, rate, start)
        except UndecodableError:
            return


def _main_stream(streams: Sequence[Stream]) -> Stream:
    """Return the longest stream at the sample rate that plays longest in total."""
    played_s: defaultdict[int, float] = defaultdict(float)
    for stream in streams:
        played_s[stream.rate] += stream.duration_s or 0.0
    rate = max(played_s, key=lambda rate: played_s[rate])
    return max(
        (stream for stream in streams if stream.rate == rate), key=lambda stream: stream.duration_s or 0.0
    )


def _resample(decoder: FfmpegDecoder, rate: int, start: int) -> Iterator[NDArray[np.float32]]:
    """Yield blocks resampled to `rate`, from sample `start` at that rate on.

    Decoding starts earlier, at a position that both rates share, so that samples stay exactly aligned.
    """
    from_rate = decoder.info.sample_rate
    divisor = gcd(from_rate, rate)
    steps = max(start // (rate // divisor) - -(-LEAD_SAMPLES // (from_rate // divisor)), 0)
    lead = start - steps * (rate // divisor)
    blocks = decoder.blocks(steps * (from_rate // divisor))
    yield from without_lead(_convert_rate(blocks, from_rate, rate), lead)


def _convert_rate(
    blocks: Iterator[NDArray[np.float32]], from_rate: int, rate: int
) -> Iterator[NDArray[np.float32]]:
    for channels, alike in groupby(blocks, key=len):
        resampler = soxr.ResampleStream(from_rate, rate, channels, dtype="float32", quality="HQ")
        for block in alike:
            yield resampler.resample_chunk(np.ascontiguousarray(block.T)).T
        yield resampler.resample_chunk(np.empty((0, channels), np.float32), last=True).T
