"""The length of a track according to its header, capped by what the file's bytes can hold."""

from typing import Any, BinaryIO

from pipeline.audio.tags.bounded_tags import TagSource, open_tagged

_MIN_BITS_PER_S = 200
"""Codecs need more than this even for silence: a header that claims less is broken."""
_PLAIN_WAV = {1: "PCM", 3: "float", 6: "A-law", 7: "μ-law", 0xFFFE: "extensible"}
"""Formats of wav whose blocks are samples; mutagen assumes that of all, so it gets others' lengths wrong."""
_AIFC_RATIO = 6
"""The highest compression ratio of an AIFF-C codec."""


def header_length_s(file: BinaryIO, name: str, size: int) -> float | None:
    """Return the length of audio that a file's header states, seconds; None if none, or an impossible one.

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
    if not length_s > 0 or _is_compressed_wav(info):
        return None
    if bytes_per_s := _bytes_per_s(info, file):
        length_s = min(length_s, size / bytes_per_s)
    return length_s if size * 8 / length_s >= _MIN_BITS_PER_S else None


def _is_compressed_wav(info: Any) -> bool:
    from mutagen.wave import WaveStreamInfo

    return isinstance(info, WaveStreamInfo) and info.audio_format not in _PLAIN_WAV


def _bytes_per_s(info: Any, file: BinaryIO) -> float:
    """Return the least number of bytes that a second takes, according to the header; 0 if unknown."""
    from mutagen.aiff import AIFFInfo
    from mutagen.mp3 import MPEGInfo
    from mutagen.wave import WaveStreamInfo

    if isinstance(info, WaveStreamInfo | AIFFInfo):
        plain: float = info.channels * -(-info.bits_per_sample // 8) * info.sample_rate
        file.seek(8)
        return plain / (_AIFC_RATIO if file.read(4) == b"AIFC" else 1)
    return float(info.bitrate) / 8 if isinstance(info, MPEGInfo) else 0.0
