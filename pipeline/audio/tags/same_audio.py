"""Checks that two files hold the same audio: the same packets for the decoder, at the same times."""

from collections.abc import Iterator
from contextlib import closing
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO

import av

from pipeline.audio.decode.decoders import UndecodableError, reason_of
from pipeline.audio.decode.ffmpeg import open_container
from pipeline.audio.decode.source import Source
from pipeline.audio.tags.mp3_end import read_mp3_end


class DifferentAudioError(Exception):
    """Two files do not hold the same audio; the message is a short reason without their names."""


def assert_same_audio(original: Path, copy: Path) -> None:
    """Compare the streams of two files packet by packet, holding one packet of each in memory.

    Chapters, and pictures that are streams, must be the same too.

    Parameters
    ----------
    original, copy : Path
        The files.

    Raises
    ------
    DifferentAudioError
        If they differ, or FFmpeg finds no packets to compare.
    """
    with original.open("rb") as one, copy.open("rb") as other:
        try:
            with (
                closing(open_container(_without_tags_at_end(one, original))) as before,
                closing(open_container(_without_tags_at_end(other, copy))) as after,
            ):
                _assert_same(before, after)
        except IndexError as error:  # PyAV does not support streams that appear midway
            raise DifferentAudioError("a stream starts midway, so the copy cannot be verified") from error
        except (UndecodableError, av.FFmpegError) as error:
            raise DifferentAudioError(f"FFmpeg cannot read it: {reason_of(error)}") from error


def _without_tags_at_end(file: BinaryIO, path: Path) -> Source:
    """Return a view without the tags that end an mp3: FFmpeg would take some, with the genre, for audio."""
    return Source(file, str(path), end=read_mp3_end(file).start)


def _assert_same(before: av.container.InputContainer, after: av.container.InputContainer) -> None:
    if [_facts(stream) for stream in before.streams] != [_facts(stream) for stream in after.streams]:
        raise DifferentAudioError("its streams differ")
    if before.chapters() != after.chapters():
        raise DifferentAudioError("its chapters differ")
    n_packets = 0
    for one, other in zip_longest(_packets(before), _packets(after)):
        if one != other:
            raise DifferentAudioError(f"its audio differs from packet {n_packets:,} on")
        n_packets += 1
    if not n_packets:
        raise DifferentAudioError("there is no audio to compare")


def _facts(stream: Any) -> tuple[object, ...]:
    """Return the parameters that a decoder gets before the first packet."""
    context = stream.codec_context
    of_audio = (context.sample_rate, context.layout.name) if stream.type == "audio" else ()
    codec = (context.name, context.extradata) if context is not None else ()
    return stream.type, stream.time_base, stream.start_time, *codec, *of_audio


def _packets(container: av.container.InputContainer) -> Iterator[tuple[object, ...]]:
    """Yield the packets of all streams up to the end or the first container error."""
    packets = container.demux()
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):
            return
        if packet.size:
            yield packet.stream_index, packet.pts, packet.dts, packet.duration, bytes(packet)
