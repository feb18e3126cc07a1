"""mutagen within bounds: the tags of a file can neither exhaust a process's memory nor stall it."""

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

from pipeline.audio.decode.source import ID3_HEADER_BYTES, Source, id3_block_bytes

MAX_BYTES = 64 << 20
"""Bytes of a file that are read for its tags; tags that need more are ignored."""


class TagSource(Source):
    """A view of a track's file that ends once `MAX_BYTES` were read, at any positions."""

    _left = MAX_BYTES

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, none once the limit is reached."""
        data = super().read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


class _SkippedId3:
    """Stand-in for mutagen's ID3 class that skips the tag: mutagen would parse and decompress every frame."""

    def __init__(self, fileobj: Any) -> None:
        fileobj.seek(0)
        self.size = id3_block_bytes(fileobj.read(ID3_HEADER_BYTES))
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
"""mutagen's formats with native or APEv2 tags."""
_KINDS = (_MP3, _TrueAudio, *KINDS_WITHOUT_ID3, _AIFF, AAC, AC3, _DSF, _WAVE)


def open_tagged(source: TagSource, kinds: Sequence[type] = _KINDS) -> mutagen.FileType | None:
    """Open a file with mutagen; return None if it does not recognize the format or finds it broken.

    Parameters
    ----------
    source : TagSource
        The track.
    kinds : sequence of type
        The formats to try. ID3 tags are not read in any of them; see `pipeline.audio.tags.id3`.
    """
    source.seek(0)
    try:
        return mutagen.File(source, options=kinds)
    except Exception:  # on odd bytes mutagen raises any Python exception; the file then has no tags
        return None
