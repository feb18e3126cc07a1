"""Decoders: libsndfile and FFmpeg behind one small interface, mono float32 blocks from any position."""

from collections.abc import Iterator
from typing import Any, Protocol

import av
import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from pipeline.source import Source
from schemas.tracks import AudioInfo

BLOCK_FRAMES = 1 << 16
"""Frames decoded at a time: what bounds memory, whatever the length of the track."""

LOUDEST = 1e12
"""Float samples beyond this, infinite or NaN are damage and count as 0: their power has no float32."""

MAX_FRAMES = 1 << 40
"""libsndfile's count for a stream of unknown length lies far beyond this."""

PREROLLS_S = (0.5, 10.0, float("inf"))
"""Lead-in decoded and dropped before an excerpt: bit reservoirs and overlapping windows need it."""

FORMATS = "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,flac,matroska,mov,mp3,mpc,mpc8,mpegts,ogg,tta,w64,wav,wv"
"""What FFmpeg may take a file for. Playlists and scripts are left out: they would open other files."""

SF_CODECS = {
    "VORBIS": "vorbis",
    "OPUS": "opus",
    "MPEG_LAYER_I": "mp1",
    "MPEG_LAYER_II": "mp2",
    "MPEG_LAYER_III": "mp3",
}


class UndecodableError(Exception):
    """The decoder makes no audio of the file; the message is a short reason without the file's name."""


class Decoder(Protocol):
    """An open track.

    Attributes
    ----------
    info : AudioInfo
        What the container says; `measure` tells what is true.
    """

    info: AudioInfo

    def blocks(self, start: int) -> Iterator[NDArray[np.float32]]:
        """Yield the mono mix at the file's own rate, from sample `start` to the end or the first damage."""
        ...

    def close(self) -> None:
        """Free the decoder; the file stays open."""
        ...


class SoundfileDecoder:
    """wav, aiff, au, flac, mp3, ogg vorbis, opus and the like, through libsndfile.

    Parameters
    ----------
    source : Source
        The track.

    Raises
    ------
    UndecodableError
        If libsndfile does not know the format, or the header is broken.
    """

    def __init__(self, source: Source) -> None:
        source.seek(0)
        try:
            self._file = sf.SoundFile(source)
        except (RuntimeError, ValueError) as error:
            raise UndecodableError(_reason(error)) from error
        frames = self._file.frames
        codec = SF_CODECS.get(self._file.subtype, self._file.format.lower().removesuffix("ex"))
        rate = self._file.samplerate
        duration_s = frames / rate if frames < MAX_FRAMES else float("nan")
        self.info = AudioInfo(codec, duration_s, rate, self._file.channels)

    def blocks(self, start: int) -> Iterator[NDArray[np.float32]]:
        """Yield mono blocks from sample `start` on; UndecodableError if that cannot be reached."""
        buffer = np.empty((BLOCK_FRAMES, self._file.channels), np.float32)
        try:
            if self._file.tell() != start:
                self._file.seek(start)
        except (RuntimeError, ValueError) as error:
            raise UndecodableError(_reason(error)) from error
        while True:
            try:
                block = self._file.read(out=buffer)
            except RuntimeError:
                return
            if not len(block):
                return
            yield to_mono(block.T)

    def close(self) -> None:
        """Free libsndfile's handle."""
        self._file.close()


class FfmpegDecoder:
    """m4a (aac, alac), wma, webm and what else FFmpeg reads, through PyAV.

    A position is exact to the sample where the container's clock is (mp4, ogg), and to its millisecond
    in asf (wma) and Matroska (webm).

    Parameters
    ----------
    source : Source
        The track.

    Raises
    ------
    UndecodableError
        If FFmpeg finds no audio in the file.
    """

    def __init__(self, source: Source) -> None:
        source.seek(0)
        try:
            self._container = av.open(source, mode="r", options={"format_whitelist": FORMATS})
        except (av.FFmpegError, ValueError) as error:
            raise UndecodableError(_reason(error)) from error
        try:
            self._stream = self._container.streams.audio[0]
            first = next(self._frames())
        except (IndexError, StopIteration) as error:
            self.close()
            raise UndecodableError("no audio in it") from error
        self._rate = first.sample_rate
        self._origin_s = max(first.time or 0.0, 0.0)
        codec = self._stream.codec_context.codec.canonical_name
        self.info = AudioInfo(codec, self._declared_s(), self._rate, len(first.layout.channels))

    def _declared_s(self) -> float:
        if self._stream.duration is not None and self._stream.time_base is not None:
            return float(self._stream.duration * self._stream.time_base)
        duration = self._container.duration
        return float("nan") if duration is None else duration / av.time_base

    def _frames(self) -> Iterator[Any]:
        """Yield decoded frames; a broken packet is left out, a broken container is the end."""
        try:
            for packet in self._container.demux(self._stream):
                try:
                    yield from packet.decode()
                except av.FFmpegError:
                    continue
        except av.FFmpegError:
            return

    def _frames_from(self, start: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield (position, mono samples), the first of them at or before `start`."""
        for preroll_s in PREROLLS_S:
            start_s = max(self._origin_s + start / self._rate - preroll_s, 0.0)
            try:
                self._container.seek(round(start_s * av.time_base))
            except av.FFmpegError as error:
                raise UndecodableError(_reason(error)) from error
            position = -1
            for frame in self._frames():
                if position < 0:
                    position = round(((frame.time or 0.0) - self._origin_s) * self._rate)
                    if position > start and start_s > 0:
                        break
                if frame.sample_rate == self._rate:
                    y = to_mono(to_float(frame.to_ndarray(), frame.format.name, len(frame.layout.channels)))
                    yield position, y
                    position += len(y)
            else:
                return

    def blocks(self, start: int) -> Iterator[NDArray[np.float32]]:
        """Yield mono blocks from sample `start` on; UndecodableError if that cannot be reached."""
        for position, y in self._frames_from(start):
            if position + len(y) > start:
                yield y[max(start - position, 0) :]

    def close(self) -> None:
        """Free FFmpeg's handle."""
        self._container.close()


def _reason(error: Exception) -> str:
    """Return FFmpeg's or libsndfile's own words for `error`, without file object addresses."""
    words = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return str(words).rstrip(".")


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
        return (samples.astype(np.float32) - 128.0) / np.float32(128.0)
    return samples.astype(np.float32) / np.float32(-float(np.iinfo(samples.dtype).min))


def to_mono(y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of the channels of `y`, shape (channels, n), with damaged float samples set to 0."""
    mono: NDArray[np.float32] = y[0].copy()
    for channel in y[1:]:
        mono += channel
    if len(y) > 1:
        mono /= np.float32(len(y))
    if not -LOUDEST < float(mono.min(initial=0.0)) <= float(mono.max(initial=0.0)) < LOUDEST:
        mono[~(np.abs(mono) < LOUDEST)] = 0.0
    return mono
