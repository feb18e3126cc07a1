"""The length of a track according to its header, capped by what the file's bytes can hold."""

import math
from contextlib import suppress
from typing import Any, BinaryIO

from pipeline.audio.tags.bounded_tags import TagSource, open_tagged

_MIN_BITS_PER_S = 200
"""Codecs need more than this even for silence: a header that claims less is broken."""
_PLAIN_WAV = {1: "PCM", 3: "float", 6: "A-law", 7: "μ-law", 0xFFFE: "extensible"}
"""Formats of wav whose blocks are samples; mutagen assumes that of all, so it gets others' lengths wrong."""
_PLAIN_AIFC = frozenset(
    {b"none", b"raw ", b"twos", b"sowt", b"in24", b"in32", b"23ni", b"fl32", b"fl64", b"alaw", b"ulaw"}
)
"""Codecs of AIFF-C, in lower case, whose frames are samples; of others, mutagen takes packets for samples."""
_AIFC_RATIO = 2
"""The highest compression ratio of these: A-law and μ-law have 8 bits where the header may state 16."""
_PLACES, _FRAMES = 3, 100
"""How an MPEG file without a length is probed for a varying bit rate: places, frames (26 ms) at each."""


def header_length_s(file: BinaryIO, name: str, size: int) -> float | None:
    """Return the length of audio that a file's header states, seconds; None if none, or an impossible one.

    An MPEG file of constant bit rate needs no header: its length follows from its size.

    A header written before the audio, as by a program that writes to a pipe, may state any length: the
    largest number that a wav can hold is 13 hours of stereo. The length is capped by what the bytes can hold.

    Parameters
    ----------
    file : BinaryIO
        The file, of which little is read.
    name : str
        The file's name; for some formats the extension matters.
    size : int
        Its size, bytes.
    """
    tagged = open_tagged(TagSource(file, name))
    info: Any = getattr(tagged, "info", None)
    length_s = float(getattr(info, "length", None) or 0.0)
    if not length_s > 0 or _is_compressed(info, file) or _is_guessed(info, file, size):
        return None
    if bytes_per_s := _bytes_per_s(info, file):
        length_s = min(length_s, size / bytes_per_s)
    return length_s if size * 8 / length_s >= _MIN_BITS_PER_S else None


def _is_compressed(info: Any, file: BinaryIO) -> bool:
    """Return whether a wav or an AIFF consists of packets, whose samples mutagen does not count."""
    from mutagen.aiff import AIFFFile, AIFFInfo
    from mutagen.wave import WaveStreamInfo

    if isinstance(info, AIFFInfo) and _is_aifc(file):
        file.seek(0)
        codec: bytes = AIFFFile(file)["COMM"].read()[18:22]
        return codec.lower() not in _PLAIN_AIFC
    return isinstance(info, WaveStreamInfo) and info.audio_format not in _PLAIN_WAV


def _is_aifc(file: BinaryIO) -> bool:
    file.seek(8)
    return file.read(4) == b"AIFC"


def _is_guessed(info: Any, file: BinaryIO, size: int) -> bool:
    """Return whether mutagen took the first frame's bit rate for that of a file in which it varies."""
    from mutagen.mp3 import HeaderNotFoundError, MPEGFrame, MPEGInfo

    if not isinstance(info, MPEGInfo):
        return False
    start: int = info.frame_offset
    if not math.isclose(info.length * info.bitrate, 8 * (size - start)):
        return False
    found = {info.bitrate}
    for place in range(_PLACES):
        with suppress(HeaderNotFoundError):  # no frames, or no more of them
            probed = MPEGInfo(file, offset=start + (size - start) * place // _PLACES)
            file.seek(probed.frame_offset)
            for _ in range(_FRAMES):
                found.add(MPEGFrame(file).bitrate)
    return len(found) > 1


def _bytes_per_s(info: Any, file: BinaryIO) -> float:
    """Return the least number of bytes that a second takes, according to the header; 0 if unknown."""
    from mutagen.aiff import AIFFInfo
    from mutagen.mp3 import MPEGInfo
    from mutagen.wave import WaveStreamInfo

    if isinstance(info, WaveStreamInfo | AIFFInfo):
        plain: float = info.channels * -(-info.bits_per_sample // 8) * info.sample_rate
        return plain / (_AIFC_RATIO if _is_aifc(file) else 1)
    return float(info.bitrate) / 8 if isinstance(info, MPEGInfo) else 0.0
