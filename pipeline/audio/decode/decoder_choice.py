"""Choice of decoders for a track, detected from its content, not the extension."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from math import isfinite

from pipeline.audio.decode.bitstreams import unpack_bitstream
from pipeline.audio.decode.decoders import Decoder, UndecodableError
from pipeline.audio.decode.ffmpeg import FfmpegDecoder
from pipeline.audio.decode.flac import flac_links
from pipeline.audio.decode.joined_streams import JoinedDecoder, Stream
from pipeline.audio.decode.libsndfile import SoundfileDecoder
from pipeline.audio.decode.mpeg import is_free_format, mpeg_streams
from pipeline.audio.decode.ogg import begins_amid_page, ogg_links, opus_lead_s
from pipeline.audio.decode.source import Source

LIBSNDFILE_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b".snd", b"caff")
"""Signatures of the formats that libsndfile reads better; FFmpeg is faster at the others."""


@dataclass(frozen=True, slots=True)
class DecoderType:
    """A way to decode tracks.

    Attributes
    ----------
    library : str
        The library that decodes, for messages.
    open : callable
        Makes the decoder of a track, or raises UndecodableError.
    """

    library: str
    open: Callable[[Source], Decoder]


_FFMPEG = DecoderType("FFmpeg", FfmpegDecoder)
_LIBSNDFILE = DecoderType("libsndfile", SoundfileDecoder)


def decoders_for(source: Source) -> tuple[DecoderType, ...]:
    """Return the decoders in the order to try them, by the content and never the file's name.

    Of mp3s, only those of free format go to libsndfile: its libmpg123 writes to stderr about others on each
    seek, but FFmpeg does not decode these.
    """
    magic = source.read_at(0, 4)
    if magic == b"fLaC":
        joined = _join_streams(_link_streams(source, flac_links(source)))
        return *joined, _unpacking(_LIBSNDFILE), _unpacking(_FFMPEG)
    if magic in LIBSNDFILE_MAGIC:
        return _unpacking(_LIBSNDFILE), _unpacking(_FFMPEG)
    if magic == b"OggS":
        return *_join_streams(_ogg_streams(source)), _unpacking(_FFMPEG), _LIBSNDFILE
    if is_free_format(magic):
        return _LIBSNDFILE, _FFMPEG
    if magic[:3] == b"ID3" or (magic[:1] == b"\xff" and magic[1:2] >= b"\xe0"):
        return *_join_streams(mpeg_streams(source)), _FFMPEG
    return _unpacking(_FFMPEG), _LIBSNDFILE, DecoderType("FFmpeg", _open_cut_ogg)


def _unpacking(inner: DecoderType) -> DecoderType:
    """Return a way to decode that detects a bitstream stored as PCM and decodes it."""

    def open_unpacked(source: Source) -> Decoder:
        decoder = inner.open(source)
        try:
            return unpack_bitstream(decoder)
        except UndecodableError:
            decoder.close()
            raise

    return DecoderType(inner.library, open_unpacked)


def _open_cut_ogg(source: Source) -> Decoder:
    """Open the links of an ogg that begins in the middle of a page, as a cut recording may."""
    streams = _ogg_streams(source) if begins_amid_page(source) else []
    if not streams:
        raise UndecodableError("no ogg stream begins in it")
    return JoinedDecoder(source, streams)


def _join_streams(streams: list[Stream]) -> tuple[DecoderType, ...]:
    return (DecoderType("FFmpeg", partial(JoinedDecoder, streams=streams)),) if streams else ()


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
