"""Audio: excerpts of a track as mono float32, for any format, sample rate, channel count or damage."""

from contextlib import closing
from dataclasses import replace
from typing import BinaryIO

from pipeline.audio.decode.decoder_choice import DecoderType, decoders_for
from pipeline.audio.decode.decoders import UndecodableError
from pipeline.audio.decode.excerpts import seek_segments, walk_segments
from pipeline.audio.decode.not_audio import kind_of, undecoded_kind_of
from pipeline.audio.decode.placement import Excerpt
from pipeline.audio.decode.source import ID3_HEADER_BYTES, Source, id3_bytes
from schemas.errors import DecodeError, EmptyFileError, TooShortError
from schemas.features import FeatureSpec
from schemas.tracks import AudioInfo


def read_segments(file: BinaryIO, name: str, spec: FeatureSpec) -> tuple[AudioInfo, list[Excerpt]]:
    """Decode the segments of a track, reading only what they need.

    If the container promises more audio than decodes (a truncated file, a wrong header), the audio that
    decodes is measured first and the segments are placed in it.

    Parameters
    ----------
    file : BinaryIO
        Seekable; it stays open.
    name : str
        The track's URI, for messages.
    spec : FeatureSpec
        Sample rate, length and number of segments.

    Returns
    -------
    info : AudioInfo
        Audio facts, with the duration that decodes, as far as it is known.
    segments : list of (float, ndarray of float32)
        Start in seconds and the samples at ``spec.sample_rate``, mono.

    Raises
    ------
    EmptyFileError
        If the file has no bytes.
    DecodeError
        If no decoder finds audio in it.
    TooShortError
        If less than ``spec.min_s`` decodes.
    ReadError
        If the store does not return the bytes.
    """
    source = open_source(file, name)
    reasons = []
    measured: list[tuple[AudioInfo, DecoderType]] = []
    for decoder_type in decoders_for(source):
        try:
            sought = _seek_segments(decoder_type, source, spec)
            source.raise_if_failed()
            if sought is not None:
                return sought
            measured.append((_measure(decoder_type, source), decoder_type))
        except UndecodableError as error:
            source.raise_if_failed()
            reasons.append(f"{decoder_type.library}: {error}")
            if error.final:
                break
            continue
        source.raise_if_failed()
    if not measured:
        raise _undecodable(source, reasons)
    return _walk_segments(source, measured, spec)


def open_source(file: BinaryIO, name: str) -> Source:
    """Return the view of `file` that decoders read, without the ID3v2 blocks at its start.

    Raises
    ------
    EmptyFileError
        If the file has no bytes.
    DecodeError
        If it is a picture, an archive or the like.
    ReadError
        If the store does not return the bytes.
    """
    source = Source(file, name)
    size = source.size()
    source.raise_if_failed()
    if size == 0:
        raise EmptyFileError(f"{name} is empty (0 bytes)")
    offset = id3_bytes(source)
    source.raise_if_failed()
    if offset == size:
        raise DecodeError(f"{name} holds tags (ID3) but no audio; replace it")
    # A block longer than the file has a broken header; what follows the header may be audio.
    source = Source(file, name, offset if offset < size else ID3_HEADER_BYTES)
    kind = kind_of(source)
    source.raise_if_failed()
    if kind is not None:
        raise DecodeError(f"{name} is {kind}, not audio; remove or replace it")
    return source


def _seek_segments(
    decoder_type: DecoderType, source: Source, spec: FeatureSpec
) -> tuple[AudioInfo, list[Excerpt]] | None:
    """Return the excerpts, or None if seeking does not find them: the track has to be decoded as a whole."""
    with closing(decoder_type.open(source)) as decoder:
        info = decoder.info
        if not info.duration_s >= spec.min_s:  # also if it is unknown (NaN)
            return None
        excerpts = seek_segments(decoder, spec)
        return (info, excerpts) if excerpts else None


def _walk_segments(
    source: Source, measured: list[tuple[AudioInfo, DecoderType]], spec: FeatureSpec
) -> tuple[AudioInfo, list[Excerpt]]:
    """Decode the segments with the decoder that gets furthest: libsndfile stops at damage."""
    info, decoder_type = max(measured, key=lambda found: found[0].duration_s)
    if info.duration_s < spec.min_s:
        length = f"{info.duration_s:.2f} s of audio"
        raise TooShortError(f"{source.uri} has {length}, less than the {spec.min_s:g} s that features need")
    excerpts = walk_segments(lambda: decoder_type.open(source), info.duration_s, spec)
    source.raise_if_failed()
    return info, excerpts


def _measure(decoder_type: DecoderType, source: Source) -> AudioInfo:
    """Decode a whole track and return its facts, with the duration that decodes."""
    with closing(decoder_type.open(source)) as decoder:
        n_samples = sum(block.shape[1] for block in decoder.blocks(0))
        if not n_samples:
            raise UndecodableError("no audio in it decodes")
        return replace(decoder.info, duration_s=n_samples / decoder.info.sample_rate)


def _undecodable(source: Source, reasons: list[str]) -> DecodeError:
    kind = undecoded_kind_of(source)
    source.raise_if_failed()
    name = source.uri
    if kind is not None:
        return DecodeError(f"{name} is {kind}, not audio; remove or replace it")
    return DecodeError(f"{name} is not audio that can be decoded ({'; '.join(reasons)}); replace the file")
