"""The length of a track as its header has it, believed as far as the file's bytes can hold it."""

from typing import Any, BinaryIO

from pipeline.audio.tags.bounded_tags import TagSource, open_tagged

_MIN_BITS_PER_S = 200
"""Codecs need more than this even for silence: a header that claims less is broken."""
_PLAIN_WAV = {1: "PCM", 3: "float", 6: "A-law", 7: "μ-law", 0xFFFE: "extensible"}
"""Formats of wav whose blocks are samples; mutagen takes all others for such, and their length is wrong."""
_AIFC_RATIO = 6
"""What the strongest codec of AIFF-C saves."""


def header_length_s(file: BinaryIO, name: str, size: int) -> float | None:
    """Seconds of audio as the header of a file says; None where it says none, or what cannot be.

    A header that was written before the audio, as by a program that pipes it, claims any length: 13 hours of
    stereo are what the greatest number of a wav comes to. The length is at most what the bytes can hold.

    Parameters
    ----------
    file : BinaryIO
        The file, which is read in few places.
    name : str
        What it is called; for some formats the extension counts.
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
    """Bytes that a second takes at least, where the header tells; else 0."""
    from mutagen.aiff import AIFFInfo
    from mutagen.mp3 import MPEGInfo
    from mutagen.wave import WaveStreamInfo

    if isinstance(info, WaveStreamInfo | AIFFInfo):
        plain: float = info.channels * -(-info.bits_per_sample // 8) * info.sample_rate
        file.seek(8)
        return plain / (_AIFC_RATIO if file.read(4) == b"AIFC" else 1)
    return float(info.bitrate) / 8 if isinstance(info, MPEGInfo) else 0.0
