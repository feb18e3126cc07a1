"""Audio: excerpts of a track as mono float32, whatever the format, rate, channel count or damage."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.decoding.decoders import Decoder, UndecodableError
from pipeline.decoding.excerpts import read_mono, seek_segments, walk_segments
from pipeline.decoding.ffmpeg import FfmpegDecoder
from pipeline.decoding.libsndfile import SoundfileDecoder
from pipeline.decoding.placement import Excerpt
from pipeline.decoding.source import ID3_HEADER_BYTES, Source, id3_bytes
from schemas.errors import DecodeError, EmptyFileError, TooShortError
from schemas.features import FeatureSpec
from schemas.tracks import AudioInfo

DecoderType = type[SoundfileDecoder] | type[FfmpegDecoder]

LIBSNDFILE_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b".snd", b"caff", b"fLaC")
"""How the formats start that libsndfile reads better; the rest is FFmpeg's, which is faster at it."""


@dataclass(frozen=True, slots=True)
class Audio:
    """An open track.

    Attributes
    ----------
    info : AudioInfo
        What the container says of itself.
    """

    info: AudioInfo
    _decoder: Decoder
    _source: Source

    def read(self, start_s: float, duration_s: float) -> NDArray[np.float32]:
        """Return the mono mix of an excerpt at the track's own rate.

        Parameters
        ----------
        start_s, duration_s : float
            The excerpt in seconds; at the end of the audio fewer samples come back.

        Returns
        -------
        y : ndarray of float32, shape (n,)
            Mix of the channels (see `pipeline.decoding.downmix.mix_excerpt`), full scale ±1.

        Raises
        ------
        DecodeError
            If the start of the excerpt cannot be reached.
        ReadError
            If the store does not hand out the bytes.
        """
        rate = self.info.sample_rate
        try:
            y = read_mono(self._decoder, round(start_s * rate), round(duration_s * rate))
        except UndecodableError as error:
            self._source.raise_if_failed()
            raise DecodeError(f"{self._source.uri} does not decode at {start_s:.1f} s ({error})") from error
        self._source.raise_if_failed()
        return y


@contextmanager
def open_audio(file: BinaryIO, name: str) -> Iterator[Audio]:
    """Open a track with the first decoder that takes its content.

    Parameters
    ----------
    file : BinaryIO
        Seekable; it stays open.
    name : str
        The track's URI, for messages.

    Yields
    ------
    Audio
        Whose `read` gives excerpts.

    Raises
    ------
    EmptyFileError
        If the file has no bytes.
    DecodeError
        If no decoder takes it.
    ReadError
        If the store does not hand out the bytes.
    """
    source = open_source(file, name)
    reasons = []
    for decoder_type in decoders_for(source):
        try:
            decoder: Decoder = decoder_type(source)
        except UndecodableError as error:
            source.raise_if_failed()
            reasons.append(f"{decoder_type.library}: {error}")
            continue
        with closing(decoder):
            yield Audio(decoder.info, decoder, source)
        return
    raise _undecodable(name, reasons)


def read_segments(file: BinaryIO, name: str, spec: FeatureSpec) -> tuple[AudioInfo, list[Excerpt]]:
    """Decode the segments of a track, and no more of it than they need.

    Where the container promises more than decodes (a truncated file, a wrong header), what decodes is
    counted first and the segments are placed in that.

    Parameters
    ----------
    file : BinaryIO
        Seekable; it stays open.
    name : str
        The track's URI, for messages.
    spec : FeatureSpec
        Says the rate, length and number of segments.

    Returns
    -------
    info : AudioInfo
        With the duration that decodes, as far as is known.
    segments : list of (float, ndarray of float32)
        Start in seconds and the samples at ``spec.sample_rate``, mono.

    Raises
    ------
    EmptyFileError
        If the file has no bytes.
    DecodeError
        If no decoder makes audio of it.
    TooShortError
        If less than ``spec.min_s`` decodes.
    ReadError
        If the store does not hand out the bytes.
    """
    source = open_source(file, name)
    reasons = []
    longest_s = 0.0
    for decoder_type in decoders_for(source):
        try:
            info, excerpts = _decode_segments(decoder_type, source, spec)
        except UndecodableError as error:
            source.raise_if_failed()
            reasons.append(f"{decoder_type.library}: {error}")
            continue
        source.raise_if_failed()
        if info.duration_s >= spec.min_s:
            return info, excerpts
        longest_s = max(longest_s, info.duration_s)
    if longest_s > 0:
        raise TooShortError(
            f"{name} has {longest_s:.2f} s of audio, less than the {spec.min_s:g} s that features need"
        )
    raise _undecodable(name, reasons)


def open_source(file: BinaryIO, name: str) -> Source:
    """Return the view of `file` that decoders read: without ID3v2 blocks at its start.

    Raises
    ------
    EmptyFileError
        If the file has no bytes.
    ReadError
        If the store does not hand out the bytes.
    """
    source = Source(file, name)
    size = source.size()
    source.raise_if_failed()
    if size == 0:
        raise EmptyFileError(f"{name} is empty: it has 0 bytes")
    offset = id3_bytes(source)
    source.raise_if_failed()
    # A block that claims to be longer than the file has a broken header; what follows that may be audio.
    return Source(file, name, offset if offset < size else ID3_HEADER_BYTES)


def decoders_for(source: Source) -> tuple[DecoderType, ...]:
    """Return the decoders in the order to try them: the content decides, never the file's name.

    mp3 is kept from libsndfile, whose libmpg123 writes to stderr on each seek.
    """
    source.seek(0)
    magic = source.read(4)
    if magic in LIBSNDFILE_MAGIC:
        return SoundfileDecoder, FfmpegDecoder
    is_mpeg = magic[:3] == b"ID3" or (magic[:1] == b"\xff" and magic[1:2] >= b"\xe0")
    return (FfmpegDecoder,) if is_mpeg else (FfmpegDecoder, SoundfileDecoder)


def _decode_segments(
    decoder_type: DecoderType, source: Source, spec: FeatureSpec
) -> tuple[AudioInfo, list[Excerpt]]:
    """Return the excerpts at the rate of the features, by seeking if the container tells the truth."""
    with closing(decoder_type(source)) as decoder:
        info = decoder.info
        if info.duration_s >= spec.min_s:
            excerpts = seek_segments(decoder, spec)
            if excerpts:
                return info, excerpts
    source.raise_if_failed()
    with closing(decoder_type(source)) as decoder:
        duration_s = sum(block.shape[1] for block in decoder.blocks(0)) / info.sample_rate
    if not duration_s:
        raise UndecodableError("no audio in it decodes")
    return replace(info, duration_s=duration_s), walk_segments(lambda: decoder_type(source), duration_s, spec)


def _undecodable(name: str, reasons: list[str]) -> DecodeError:
    return DecodeError(f"{name} is not audio that can be decoded ({'; '.join(reasons)}); replace the file")
