"""FFmpeg, through PyAV: mp3, ogg, m4a, wma, webm and what else comes in packets."""

from collections.abc import Iterator
from itertools import chain, groupby
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.decoding.decoders import BLOCK_FRAMES, UndecodableError, reason_of
from pipeline.decoding.source import Source
from schemas.tracks import AudioInfo

PREROLLS_S = (1.0, 10.0)
"""Lead-in decoded and dropped before an excerpt, the next one where a seek landed too late.

An mp3 frame at a low bitrate needs the bits of the 20 frames before it, an Opus decoder 80 ms to converge.
"""

MAX_CHANNELS = 8
"""A planar frame has as many pointers to samples; PyAV crashes where a broken header claims more."""

FORMATS = "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,flac,matroska,mov,mp3,mpc,mpc8,mpegts,ogg,tta,w64,wav,wv"
"""What FFmpeg may take a file for. Playlists and scripts are left out: they would open other files."""


class FfmpegDecoder:
    """mp3, ogg (vorbis, opus), m4a (aac, alac), wma, webm and what else FFmpeg reads, through PyAV.

    Excerpts are exact to the sample, but for noise that an AAC encoder left to the decoder to make up, and
    for Vorbis in webm, whose clock ticks in milliseconds.

    Parameters
    ----------
    source : Source
        The track.

    Raises
    ------
    UndecodableError
        If FFmpeg finds no audio in the file.
    """

    library = "FFmpeg"

    def __init__(self, source: Source) -> None:
        self._container = open_container(source)
        try:
            self._stream = self._container.streams.audio[0]
            frames = self._frames()
            first = next(frames)
        except (IndexError, StopIteration) as error:
            self.close()
            raise UndecodableError("no audio in it") from error
        if first.layout.nb_channels > MAX_CHANNELS:
            self.close()
            raise UndecodableError(f"more than {MAX_CHANNELS} channels")
        self._opening: Iterator[av.AudioFrame] | None = chain([first], frames)
        self._rate = first.sample_rate
        self._first_samples = first.samples
        self._origin_s = first.time or 0.0
        self._ticks_per_s = 1 / float(self._stream.time_base or 1 / av.time_base)
        codec = self._stream.codec_context.codec.canonical_name
        if codec.startswith("pcm_"):
            codec = self._container.format.name
        self.info = AudioInfo(codec, self._declared_s(), self._rate, first.layout.nb_channels)

    def _declared_s(self) -> float:
        """Return the duration that the container states, or that FFmpeg guesses from the bitrate."""
        if self._stream.duration is not None and self._stream.time_base is not None:
            return float(self._stream.duration * self._stream.time_base)
        duration = self._container.duration
        return float("nan") if duration is None else duration / av.time_base

    def _frames(self) -> Iterator[av.AudioFrame]:
        """Yield decoded frames; a broken packet is left out, a broken container is the end."""
        try:
            for packet in self._container.demux(self._stream):
                try:
                    yield from packet.decode()
                except av.FFmpegError:
                    continue
        except av.FFmpegError:
            return

    def _position(self, frame: av.AudioFrame) -> int:
        """Return where in the track `frame` starts, in samples from the first one that decodes."""
        position = ((frame.time or 0.0) - self._origin_s) * self._rate
        if self._ticks_per_s < self._rate:
            # Where all frames have one size, as in wma and opus, the frame's number tells the sample.
            number = round((position - self._first_samples) / frame.samples)
            snapped = self._first_samples + number * frame.samples
            if abs(position - snapped) * self._ticks_per_s <= self._rate:
                return snapped
        return round(position)

    def _seek(self, start: int) -> tuple[int, Iterator[av.AudioFrame]]:
        """Return how many samples there are before `start`, and the frames that begin with those."""
        opening, self._opening = self._opening, None
        if start == 0 and opening is not None:
            return 0, opening
        start_s = self._origin_s + start / self._rate
        for target_s in (*(start_s - preroll_s for preroll_s in PREROLLS_S), 0.0, -1.0):
            try:
                self._container.seek(round(target_s * self._ticks_per_s), stream=self._stream)
            except av.FFmpegError:
                continue
            frames = self._frames()
            first = next(frames, None)
            if first is not None and self._position(first) <= start:
                return start - self._position(first), chain([first], frames)
        raise UndecodableError("cannot seek in it")

    def _blocks_of(self, frames: Iterator[av.AudioFrame]) -> Iterator[NDArray[np.float32]]:
        """Yield the samples of `frames` in blocks: NumPy calls for each frame cost half the decoding."""
        # A stream may go on with other channels, which a FIFO takes for its own and crashes; or, most often
        # by damage, at another rate or with many channels, and such frames are left out.
        for (rate, channels, _), alike in groupby(frames, key=_kind):
            if rate != self._rate or channels > MAX_CHANNELS:
                continue
            fifo = av.AudioFifo()
            for frame in alike:
                frame.pts = None
                fifo.write(frame)
                if fifo.samples >= BLOCK_FRAMES:
                    yield _drain(fifo)
            yield _drain(fifo)

    def blocks(self, start: int) -> Iterator[NDArray[np.float32]]:
        """Yield blocks from sample `start` on; UndecodableError if that cannot be reached."""
        lead, frames = self._seek(start)
        yield from without_lead(self._blocks_of(frames), lead)

    def close(self) -> None:
        """Free FFmpeg's handle."""
        self._container.close()


def open_container(source: Source, probe_bytes: int = 5_000_000) -> av.container.InputContainer:
    """Open `source` with FFmpeg, which may look at this file only.

    Parameters
    ----------
    source : Source
        The track.
    probe_bytes : int
        How far FFmpeg may look for what the format is and what is in it.

    Raises
    ------
    UndecodableError
        If FFmpeg knows no such format.
    """
    source.seek(0)
    try:
        return av.open(
            source,
            mode="r",
            options={"format_whitelist": FORMATS, "probesize": str(probe_bytes)},
            metadata_errors="surrogateescape",
            io_open=_refuse,
        )
    except (av.FFmpegError, ValueError) as error:
        raise UndecodableError(reason_of(error)) from error


def without_lead(blocks: Iterator[NDArray[np.float32]], lead: int) -> Iterator[NDArray[np.float32]]:
    """Yield `blocks` without their first `lead` samples."""
    for block in blocks:
        if lead < block.shape[1]:
            yield block[:, lead:]
        lead = max(lead - block.shape[1], 0)


def to_float(samples: NDArray[Any], sample_format: str, channels: int) -> NDArray[np.float32]:
    """Return FFmpeg's samples as float32 of shape (channels, n), full scale ±1.

    Parameters
    ----------
    samples : ndarray
        (channels, n) for planar formats, (1, n · channels) for packed ones.
    sample_format : str
        FFmpeg's name of the sample format; planar ones end in ``p``.
    channels : int
        Channel count.
    """
    if not sample_format.endswith("p"):
        samples = samples.reshape(-1, channels).T
    if samples.dtype.kind == "f":
        return samples.astype(np.float32, copy=False)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - np.float32(128)) / np.float32(128)
    return samples.astype(np.float32) / np.float32(-float(np.iinfo(samples.dtype).min))


def _kind(frame: av.AudioFrame) -> tuple[int, int, str]:
    return frame.sample_rate, frame.layout.nb_channels, frame.format.name


def _drain(fifo: av.AudioFifo) -> NDArray[np.float32]:
    frame = fifo.read()
    if frame is None:
        return np.empty((1, 0), np.float32)
    return to_float(frame.to_ndarray(), frame.format.name, frame.layout.nb_channels)


def _refuse(url: str, flags: int, options: dict[str, str]) -> None:
    raise PermissionError(f"a track may not open another file ({url})")
