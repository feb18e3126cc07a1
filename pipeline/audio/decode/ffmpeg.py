"""Decoding with FFmpeg, through PyAV: mp3, ogg, m4a, wma, webm and other formats made of packets."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import accumulate, chain, islice
from math import inf

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

from pipeline.audio.decode.decoders import BLOCK_FRAMES, UndecodableError, reason_of
from pipeline.audio.decode.ffmpeg_frames import MAX_CHANNELS, steady_blocks, to_float, without_lead
from pipeline.audio.decode.formats import FORMATS
from pipeline.audio.decode.musepack import sv8_samples, without_seek_table
from pipeline.audio.decode.source import Source
from pipeline.audio.decode.wavpack import next_block
from schemas.tracks import AudioInfo

PREROLLS_S = (1.0, 10.0)
"""Lead-in decoded and dropped before an excerpt; the second one is for a seek that landed too late.

An mp3 frame at a low bitrate needs bits of the 20 frames before it; an Opus decoder converges in 80 ms.
"""

ASIDE = (
    Disposition.comment
    | Disposition.hearing_impaired
    | Disposition.visual_impaired
    | Disposition.descriptions
    | Disposition.dependent
)
"""Streams that accompany the music: commentary, audio description, parts of other streams."""

CHECKED = {"err_detect": "crccheck+explode"}
"""Makes FFmpeg drop TTA frames with a wrong checksum, which would decode to noise as loud as music."""

FRAMES_TO_PLACE = 4
"""Frames after a seek from which the position is determined."""

VORBIS_JITTER_S = 0.046
"""Timestamps of Vorbis frames that follow longer ones are late by up to a quarter of 8,192 samples."""

SEEKS_BADLY = ("ac3", "amr", "dts", "dtshd", "eac3", "mpc8", "rm")
"""Formats that are decoded from their start, because FFmpeg's seeks do not land where it reports, or its
decoder keeps state from before the seek.
"""

MATROSKA = "matroska,webm"
"""The format whose duration counts from time zero, wherever the audio starts."""

LOSSLESS = ("alac", "ape", "flac", "tak", "tta", "wavpack")
"""Codecs that preserve a bitstream stored as PCM."""

PROTECTED = ("drms", "enca", "aavd")
"""Codec tags of encrypted audio: FairPlay, Common Encryption, Audible."""

MAX_STUMBLES = 100
"""Times that FFmpeg may fail to find the next packet; each time it skips some bytes of damage."""

MAX_STREAMS = 8
"""Audio streams of a file to try, if the first ones do not decode."""


class FfmpegDecoder:
    """Decodes mp3, ogg (vorbis, opus), m4a (aac, alac), wma, webm and more with FFmpeg.

    Excerpts are exact to the sample, except for noise that AAC decoders synthesize, and for Vorbis in webm,
    whose timestamps are in milliseconds.

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
        self._source = source = without_seek_table(source)
        self._counted_samples = sv8_samples(source)
        self._container, self._stream, first, frames = _open_stream(source)
        if first.layout.nb_channels > MAX_CHANNELS:
            self.close()
            raise UndecodableError(f"more than {MAX_CHANNELS} channels")
        self._rate = first.sample_rate
        self._first_samples = first.samples
        self._origin_s = guessed_s = first.time or 0.0
        self._ticks_per_s = 1 / float(self._stream.time_base or 1 / av.time_base)
        codec = self._stream.codec_context.codec.canonical_name
        is_pcm = codec.startswith("pcm_")
        opening = _opening(first, frames) if is_pcm or codec in LOSSLESS else []
        self.opening = _samples(opening)
        self._opening: Iterator[av.AudioFrame] | None = chain(opening or [first], frames)
        codec = self._container.format.name if is_pcm else codec
        self.seeks = self._container.format.name not in SEEKS_BADLY
        self._settles = self._container.format.name == "ogg" and codec not in ("vorbis", "opus")
        duration_s, self._stated_s = self._declared_s(), -inf
        from_zero = self._container.format.name == MATROSKA
        if self._settles or from_zero:
            self._origin_s, self._stated_s = _stated_times(source, self._stream.index, first)
            duration_s += (0.0 if from_zero else guessed_s) - self._origin_s
        self.info = AudioInfo(codec, duration_s, self._rate, first.layout.nb_channels)

    def _declared_s(self) -> float:
        """Return the duration that the container states, or that FFmpeg estimates from the bitrate."""
        if self._counted_samples is not None:
            return self._counted_samples / self._rate
        if self._stream.duration is not None and self._stream.time_base is not None:
            return float(self._stream.duration * self._stream.time_base)
        duration = self._container.duration
        return float("nan") if duration is None else duration / av.time_base

    def _position(self, frame: av.AudioFrame) -> int:
        """Return where in the track `frame` starts, in samples from the first decoded one."""
        position = ((frame.time or 0.0) - self._origin_s) * self._rate
        if self._ticks_per_s < self._rate:
            # Timestamps are coarser than samples. If all frames have one size, as in wma and opus, the
            # frame's number gives the exact sample.
            number = round((position - self._first_samples) / frame.samples)
            snapped = self._first_samples + number * frame.samples
            if abs(position - snapped) * self._ticks_per_s <= self._rate:
                return snapped
        return round(position)

    def _seek(self, start: int) -> tuple[int, Iterator[av.AudioFrame]]:
        """Seek to or before `start`; return the surplus samples before it, and the frames from there on."""
        opening, self._opening = self._opening, None
        if start == 0 and opening is not None:
            return 0, opening
        start_s = self._origin_s + start / self._rate
        if not self.seeks or start_s - PREROLLS_S[0] < self._stated_s:
            return start, self._reopen()
        for target_s in (*(start_s - preroll_s for preroll_s in PREROLLS_S), 0.0, -1.0):
            try:
                self._container.seek(round(target_s * self._ticks_per_s), stream=self._stream)
            except av.FFmpegError:
                continue
            frames = _frames(self._container, self._stream, self._source, settled=self._settles)
            first = list(islice(frames, FRAMES_TO_PLACE))
            if first and (position := self._place(first)) <= start:
                return start - position, chain(first, frames)
        return start, self._reopen()

    def _place(self, frames: list[av.AudioFrame]) -> int:
        """Return where the first of `frames` starts; for Vorbis, some timestamps are late."""
        lengths = accumulate((frame.samples for frame in frames), initial=0)
        positions = [self._position(frame) - length for frame, length in zip(frames, lengths, strict=False)]
        return min(positions) if self.info.codec == "vorbis" else positions[0]

    def _reopen(self) -> Iterator[av.AudioFrame]:
        """Reopen the file and return all frames of the stream, for when seeking fails."""
        self.close()
        self._container, self._stream, first, frames = _open_stream(self._source)
        return chain([first], frames)

    def blocks(self, start: int) -> Iterator[NDArray[np.float32]]:
        """Yield blocks from sample `start` on; UndecodableError if that cannot be reached."""
        lead, frames = self._seek(start)
        room = self.info.duration_s * self._rate - start + lead
        jitter_s = VORBIS_JITTER_S if self.info.codec == "vorbis" else 0.0
        blocks = steady_blocks(frames, self._rate, self._ticks_per_s, room, jitter_s)
        yield from without_lead(blocks, lead)

    def close(self) -> None:
        """Free FFmpeg's handle."""
        self._container.close()


def open_container(
    source: Source, probe_bytes: int = 5_000_000, **options: str
) -> av.container.InputContainer:
    """Open `source` with FFmpeg, which may open no other file.

    Parameters
    ----------
    source : Source
        The track.
    probe_bytes : int
        How far FFmpeg may read to detect the format and its streams.
    **options
        Further options of FFmpeg.

    Raises
    ------
    UndecodableError
        If FFmpeg does not recognize the format.
    """
    source.seek(0)
    try:
        return av.open(
            source,
            mode="r",
            options={"format_whitelist": FORMATS, "probesize": str(probe_bytes)} | options,
            metadata_errors="surrogateescape",
            io_open=_refuse_url,
        )
    except (av.FFmpegError, ValueError) as error:
        raise UndecodableError(reason_of(error)) from error


def _open_stream(
    source: Source,
) -> tuple[av.container.InputContainer, av.AudioStream, av.AudioFrame, Iterator[av.AudioFrame]]:
    """Open the audio stream that a player would play, or the next one that decodes, with its first frame."""
    failure = UndecodableError("no audio in it")
    for choice in range(MAX_STREAMS):
        container = open_container(source)
        streams = _by_preference(container)
        if choice < len(streams):
            frames = _frames(container, streams[choice], source)
            try:
                return container, streams[choice], next(frames), frames
            except StopIteration:
                pass
            except UndecodableError as error:
                failure = error
        container.close()
        if choice + 1 >= len(streams):
            break
    raise failure


def _stated_times(source: Source, index: int, first: av.AudioFrame) -> tuple[float, float]:
    """Return when the first frame of a stream starts, and the first time that the file states, in seconds.

    After a cut, Matroska has no times before zero, and Ogg none on the first page: FFmpeg makes them up. So
    the start is the first stated time minus the length of what precedes it.
    """
    at = source.tell()
    times_s = first.time or 0.0, -inf
    n_samples = 0
    with open_container(source, fflags="nofillin") as container:
        in_ogg = container.format.name == "ogg"
        stream = next(stream for stream in container.streams.audio if stream.index == index)
        for number, packet in enumerate(_packets(container, stream)):
            if packet.pts is not None and packet.time_base is not None and (number or not in_ogg):
                stated_s = float(packet.pts * packet.time_base)
                if number:
                    times_s = stated_s - n_samples / first.sample_rate, stated_s
                break
            try:
                n_samples += sum(frame.samples for frame in packet.decode())
            except av.FFmpegError:
                break
    source.seek(at)  # the container that is open reads on from there
    return times_s


def _frames(
    container: av.container.InputContainer, stream: av.AudioStream, source: Source, *, settled: bool = False
) -> Iterator[av.AudioFrame]:
    """Yield decoded frames, skipping damage as far as FFmpeg finds what follows.

    `settled` skips the first page of an ogg, whose timestamps FFmpeg guesses after a seek.
    """
    if stream.codec_context is None:
        raise UndecodableError("FFmpeg has no decoder for its codec")
    if container.format.name == "tta":
        stream.codec_context.options = CHECKED
    is_mp4, is_wavpack = container.format.name.startswith("mov"), container.format.name == "wv"
    unsettled, end = None, 0
    for packet in _packets(container, stream):
        if is_mp4 and (stream.codec_context.codec_tag in PROTECTED or packet.has_sidedata("encryption_info")):
            # Other decoders would read the encrypted bytes as audio.
            raise UndecodableError("its audio is encrypted (DRM)", final=True)
        if settled and unsettled is None:
            unsettled = packet.pos
        if is_wavpack and packet.pos is not None:
            end = packet.pos + packet.size
        try:
            frames = packet.decode()
            if not settled or packet.pos != unsettled:
                yield from frames
        except av.FFmpegError:
            continue
    if is_wavpack:
        yield from _later_blocks(source, end)


def _later_blocks(source: Source, end: int) -> Iterator[av.AudioFrame]:
    """Yield the frames of WavPack blocks that follow damage, from byte `end` on."""
    while (start := next_block(source, end)) is not None:
        end = start + 1
        try:
            container = open_container(source.window(start, source.size()))
        except UndecodableError:
            continue
        with container:
            for stream in container.streams.audio[:1]:
                for packet in _packets(container, stream):
                    end = end if packet.pos is None else start + packet.pos + packet.size
                    with suppress(av.FFmpegError):
                        yield from packet.decode()


def _packets(
    container: av.container.InputContainer, stream: av.AudioStream
) -> Iterator["av.Packet[av.AudioStream]"]:
    """Yield the packets of a stream, resuming after damage if FFmpeg makes progress."""
    for _ in range(MAX_STUMBLES):
        try:
            yield from container.demux(stream)
            return
        except (av.FFmpegError, IndexError):  # IndexError: a packet of a stream that appeared midway
            continue


def _by_preference(container: av.container.InputContainer) -> list[av.AudioStream]:
    """Return the audio streams in a player's order: the default one first, else FFmpeg's choice."""
    best = container.streams.best("audio")

    def rank(stream: av.AudioStream) -> tuple[bool, bool, bool]:
        aside = bool(stream.disposition & ASIDE)
        return not stream.disposition & Disposition.default, aside, stream is not best

    return sorted(container.streams.audio, key=rank)


def _opening(first: av.AudioFrame, frames: Iterator[av.AudioFrame]) -> list[av.AudioFrame]:
    """Return the first frames, enough of them to tell PCM from a bitstream."""
    taken, n_samples = [first], first.samples
    while n_samples < BLOCK_FRAMES and (frame := next(frames, None)) is not None:
        taken.append(frame)
        n_samples += frame.samples
    return taken


def _samples(frames: list[av.AudioFrame]) -> NDArray[np.float32]:
    """Return the samples of `frames`, as far as they have the channels of the first."""
    arrays = [to_float(each) for each in frames]
    alike = [y for y in arrays if len(y) == len(arrays[0])]
    return np.hstack(alike) if alike else np.empty((0, 0), np.float32)


def _refuse_url(url: str, flags: int, options: dict[str, str]) -> None:
    raise PermissionError(f"a track may not open another file ({url})")
