"""Writes genres to ogg, m4a and wma files with mutagen; refuses files whose other tags would change."""

import re
from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from typing import Any, BinaryIO

import mutagen
from mutagen.asf import ASF
from mutagen.mp4 import MP4
from mutagen.ogg import OggPage
from mutagen.oggflac import OggFLAC
from mutagen.oggopus import OggOpus
from mutagen.oggspeex import OggSpeex
from mutagen.oggvorbis import OggVorbis

from pipeline.audio.tags.mp4_atoms import Mp4Tag, is_fragmented, mp4_tags
from pipeline.audio.tags.vorbis_comments import parse_comments

_OGG_PREFIXES = {
    OggVorbis: len(b"\3vorbis"),
    OggOpus: len(b"OpusTags"),
    OggFLAC: len(b"\4\0\0\0"),
    OggSpeex: 0,
}
_ASF_GENRE = "WM/Genre"
_MP4_GENRE = "\xa9gen"
_MP4_GENRES = (_MP4_GENRE.encode("latin-1"), b"gnre")
_FREE_FORM = b"----"
_FREE_GENRE = re.compile(
    rb".{4}mean.{4}com\.apple\.iTunes.{4}name.{4}genre.{4}data", re.IGNORECASE | re.DOTALL
)
"""An atom that some taggers write; FFmpeg and what plays with it prefer it to the genre."""


class RefusedError(Exception):
    """The genre cannot be written safely; the message is a reason without the file's name."""


def write_native(path: Path, genre: str) -> None:
    """Change the genre of an ogg, m4a or wma file in place.

    Raises
    ------
    RefusedError
        If it is another kind of file, or other tags would change.
    Exception
        Any exception, from mutagen.
    """
    tagged = mutagen.File(path, options=[*_OGG_PREFIXES, MP4, ASF])
    if tagged is None:
        raise RefusedError("its codec has no known tags in this container")
    before = _others(tagged, path)
    if isinstance(tagged, MP4):
        _write_mp4(tagged, path, genre)
    elif isinstance(tagged, ASF):
        tagged.tags[:] = [(name, value) for name, value in tagged.tags if not _is_asf_genre(name)]
        tagged[_ASF_GENRE] = [genre]
        tagged.save()
    else:
        tagged["genre"] = [genre]
        tagged.save()
    if _others(type(tagged)(path), path) != before:
        raise RefusedError("other tags would change")


def _others(tagged: Any, path: Path) -> Counter[Hashable]:
    """Return all tags except the genre, as raw bytes."""
    if isinstance(tagged, ASF):
        return Counter(_asf_tag(name, value) for name, value in tagged.tags if not _is_asf_genre(name))
    with path.open("rb") as file:
        if isinstance(tagged, MP4):
            return Counter(tag for tag in mp4_tags(file) if not _is_mp4_genre(tag))
        packet = _ogg_comments(file, tagged.info.serial)
    comments = parse_comments(packet[_OGG_PREFIXES[type(tagged)] :])
    return Counter([comments.vendor, *comments.others])


def _asf_tag(name: str, value: Any) -> Hashable:
    return name, value.render_ml("")  # with language and stream; `render` fails on more than 64 KiB


def _is_asf_genre(name: str) -> bool:
    return name.lower().removeprefix("wm/") == "genre"


def _is_mp4_genre(tag: Mp4Tag) -> bool:
    is_free = tag.name == _FREE_FORM and _FREE_GENRE.match(tag.content) is not None
    return tag.place == b"ilst" and (tag.name in _MP4_GENRES or is_free)


def _ogg_comments(file: BinaryIO, serial: int) -> bytes:
    """Return the second packet of a stream."""
    pages: list[OggPage] = []
    while not pages or not (pages[-1].complete or len(pages[-1].packets) > 1):
        page = OggPage(file)
        if page.serial == serial and not page.first:
            pages.append(page)
    packets: list[bytes] = OggPage.to_packets(pages, strict=False)
    return packets[0]


def _write_mp4(tagged: MP4, path: Path, genre: str) -> None:
    """Write the genre atom and pass all other atoms through as raw bytes."""
    with path.open("rb") as file:
        in_fragments = is_fragmented(file)
        kept = [tag for tag in mp4_tags(file) if tag.place == b"ilst" and not _is_mp4_genre(tag)]
    if tagged.tags is None:
        tagged.add_tags()
    tagged.tags.clear()
    # mutagen writes back unchanged the atoms that it failed to parse; treat all but the genre as such.
    failed: dict[str, list[bytes]] = {}
    for tag in kept:
        failed.setdefault(tag.name.decode("latin-1"), []).append(tag.content)
    tagged.tags._failed_atoms = failed
    tagged.tags[_MP4_GENRE] = [genre]
    tagged.save(padding=_padding_in_place if in_fragments else None)


def _padding_in_place(info: Any) -> int:
    """Return the padding that keeps the fragments at their offsets."""
    if info.padding < 0:
        raise RefusedError(
            "it is fragmented and has no padding for a genre; remux it with 'ffmpeg -i OLD -c copy NEW'"
        )
    return int(info.padding)
