"""mutagen within bounds: the tags of a file can neither fill the memory of a process nor hold it up."""

from collections.abc import Sequence
from typing import Any

import mutagen
from mutagen.aac import AAC
from mutagen.ac3 import AC3
from mutagen.aiff import AIFF, AIFFInfo
from mutagen.apev2 import APEv2File
from mutagen.asf import ASF
from mutagen.dsf import DSF, DSFFile, DSFInfo
from mutagen.flac import FLAC
from mutagen.id3 import ID3NoHeaderError
from mutagen.monkeysaudio import MonkeysAudio
from mutagen.mp3 import MP3
from mutagen.mp4 import MP4
from mutagen.musepack import Musepack
from mutagen.oggflac import OggFLAC
from mutagen.oggopus import OggOpus
from mutagen.oggspeex import OggSpeex
from mutagen.oggtheora import OggTheora
from mutagen.oggvorbis import OggVorbis
from mutagen.optimfrog import OptimFROG
from mutagen.tak import TAK
from mutagen.trueaudio import TrueAudio
from mutagen.wave import WAVE, WaveStreamInfo
from mutagen.wavpack import WavPack

from pipeline.audio.decode.source import ID3_HEADER_BYTES, Source
from pipeline.audio.tags.id3 import id3_at_start

MAX_BYTES = 64 << 20
"""What is read of a file for its tags; tags that lie behind more are none."""


class TagSource(Source):
    """A view of a track's file that ends after `MAX_BYTES`, wherever they were read."""

    _left = MAX_BYTES

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, none when there were enough."""
        data = super().read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


class _SkippedId3:
    """Stand-in for mutagen's ID3 class that skips the tag: mutagen would parse and decompress every frame."""

    def __init__(self, fileobj: Any) -> None:
        fileobj.seek(0)
        self.size = id3_at_start(fileobj.read(ID3_HEADER_BYTES))
        if not self.size:
            raise ID3NoHeaderError


class _MP3(MP3):  # type: ignore[misc]
    ID3 = _SkippedId3


class _TrueAudio(TrueAudio):  # type: ignore[misc]
    ID3 = _SkippedId3


class _WAVE(WAVE):  # type: ignore[misc]
    def load(self, fileobj: Any, **_: object) -> None:
        self.info = WaveStreamInfo(fileobj)


class _AIFF(AIFF):  # type: ignore[misc]
    def load(self, fileobj: Any, **_: object) -> None:
        self.info = AIFFInfo(fileobj)


class _DSF(DSF):  # type: ignore[misc]
    def load(self, fileobj: Any, **_: object) -> None:
        self.info = DSFInfo(DSFFile(fileobj).fmt_chunk)


KINDS_WITHOUT_ID3 = (
    OggTheora, OggSpeex, OggVorbis, OggFLAC, FLAC, APEv2File, MP4, WavPack, Musepack, MonkeysAudio, OptimFROG,
    ASF, OggOpus, TAK,
)  # fmt: skip
"""The formats of mutagen whose tags are their own, or APEv2."""
_KINDS = (_MP3, _TrueAudio, *KINDS_WITHOUT_ID3, _AIFF, AAC, AC3, _DSF, _WAVE)


def open_tagged(source: TagSource, kinds: Sequence[type] = _KINDS) -> mutagen.FileType | None:
    """Return what mutagen makes of a file; None where it knows no such format, or finds it broken.

    Parameters
    ----------
    source : TagSource
        The track.
    kinds : sequence of type
        The formats it may be. ID3 tags are not read, whatever the format; see `pipeline.audio.tags.id3`.
    """
    source.seek(0)
    try:
        return mutagen.File(source, options=kinds)
    except Exception:  # mutagen meets odd bytes with whatever Python raises for them: no tags, not a failure
        return None
