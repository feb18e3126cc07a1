"""Choice of decoders for a track, detected from its content, not the extension."""

from contextlib import closing
from dataclasses import dataclass
from math import isfinite
from typing import Protocol

from pipeline.audio.decode.bitstreams import unpack_bitstream
from pipeline.audio.decode.decoders import Decoder, UndecodableError
from pipeline.audio.decode.ffmpeg import FfmpegDecoder
from pipeline.audio.decode.flac import flac_links
from pipeline.audio.decode.joined_streams import JoinedStreams, Stream
from pipeline.audio.decode.libsndfile import SoundfileDecoder
from pipeline.audio.decode.mpeg import is_free_format, mpeg_streams
from pipeline.audio.decode.ogg import begins_amid_page, ogg_links, opus_lead_s
from pipeline.audio.decode.source import Source

LIBSNDFILE_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b".snd", b"caff")
"""Signatures of the formats that libsndfile reads better; FFmpeg is faster at the others."""


class DecoderType(Protocol):
    """Makes a decoder of a track, or raises UndecodableError."""

    @property
    def library(self) -> str:
        """The library that decodes, for messages."""
        ...

    def __call__(self, source: Source, /) -> Decoder:
        """Open the track."""
        ...


@dataclass(frozen=True, slots=True)
class Unpacking:
    """Makes decoders that detect a bitstream stored as PCM and decode it.

    Attributes
    ----------
    decoder_type : DecoderType
        Makes the decoder of the PCM.
    """

    decoder_type: DecoderType

    @property
    def library(self) -> str:
        """The library that decodes."""
        return self.decoder_type.library

    def __call__(self, source: Source, /) -> Decoder:
        """Open the track; UndecodableError if that fails."""
        decoder = self.decoder_type(source)
        try:
            return unpack_bitstream(decoder)
        except UndecodableError:
            decoder.close()
            raise


class CutOgg:
    """Makes decoders of the links of an ogg that begins in the middle of a page, as a cut recording may."""

    library = "FFmpeg"

    def __call__(self, source: Source, /) -> Decoder:
        """Open the links; UndecodableError if the file is not such an ogg or no link begins in it."""
        streams = _ogg_streams(source) if begins_amid_page(source) else []
        if not streams:
            raise UndecodableError("no ogg stream begins in it")
        return JoinedStreams(tuple(streams))(source)


def decoders_for(source: Source) -> tuple[DecoderType, ...]:
    """Return the decoders in the order to try them, by the content and never the file's name.

    Of mp3s, only those of free format go to libsndfile: its libmpg123 writes to stderr about others on each
    seek, but FFmpeg does not decode these.
    """
    magic = source.read_at(0, 4)
    if magic == b"fLaC":
        joined = _join_streams(_link_streams(source, flac_links(source)))
        return *joined, Unpacking(SoundfileDecoder), Unpacking(FfmpegDecoder)
    if magic in LIBSNDFILE_MAGIC:
        return Unpacking(SoundfileDecoder), Unpacking(FfmpegDecoder)
    if magic == b"OggS":
        return *_join_streams(_ogg_streams(source)), Unpacking(FfmpegDecoder), SoundfileDecoder
    if is_free_format(magic):
        return SoundfileDecoder, FfmpegDecoder
    if magic[:3] == b"ID3" or (magic[:1] == b"\xff" and magic[1:2] >= b"\xe0"):
        return *_join_streams(mpeg_streams(source)), FfmpegDecoder
    return Unpacking(FfmpegDecoder), SoundfileDecoder, CutOgg()


def _join_streams(streams: list[Stream]) -> tuple[DecoderType, ...]:
    return (JoinedStreams(tuple(streams)),) if streams else ()


def _ogg_streams(source: Source) -> list[Stream]:
    """Return the links of a chained ogg that decode; none for an ordinary file."""
    links = ogg_links(source)
    return [] if links == [(0, source.size())] else _link_streams(source, links)


def _link_streams(source: Source, links: list[tuple[int, int]]) -> list[Stream]:
    """Return the links that decode."""
    streams = []
    for start, end in links:
        try:
            with closing(FfmpegDecoder(source.window(start, end))) as decoder:
                info = decoder.info
        except UndecodableError:
            continue
        duration_s = info.duration_s - (opus_lead_s(source, start) if info.codec == "opus" else 0.0)
        if isfinite(duration_s) and duration_s > 0:
            streams.append(Stream(start, end, duration_s, info.sample_rate))
    return streams
