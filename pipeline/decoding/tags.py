"""Tags: what a file says of itself (artist, album, title, year, genre), read by mutagen and FFmpeg."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any, BinaryIO

from mutagen.aac import AAC
from mutagen.aiff import AIFF
from mutagen.wave import WAVE

from pipeline.decoding.bounded_tags import TagSource, open_tagged
from pipeline.decoding.decoders import UndecodableError
from pipeline.decoding.ffmpeg import open_container
from pipeline.decoding.source import Source
from schemas.tracks import Tags

KEYS: dict[str, tuple[str, ...]] = {
    "artist": (
        "artist",
        "TPE1",
        "\xa9ART",
        "Author",
        "author",
        "albumartist",
        "TPE2",
        "aART",
        "WM/AlbumArtist",
    ),
    "album": ("album", "TALB", "\xa9alb", "WM/AlbumTitle"),
    "title": ("title", "TIT2", "\xa9nam", "Title"),
    "date": ("date", "TDRC", "\xa9day", "WM/Year", "year", "TDRL", "TDOR", "originaldate"),
    "genre": ("genre", "TCON", "\xa9gen", "WM/Genre"),
}
"""The names of each field in Vorbis comments and FFmpeg, ID3, mp4 and asf, in order of preference."""

PROBE_BYTES = 1 << 12
"""Enough to know a format; what the audio is like is not asked here."""

YEAR = re.compile(r"(?<!\d)[12]\d{3}(?!\d)|^[12]\d{3}(?=\d{4}$)")
"""A year by itself or in a date: 1999, 1999-05-03, 03/05/1999, 19990503."""

ISO_DATE = re.compile(
    r"(?<!\d)(?P<year>[12]\d{3})(?P<dash>[-./]?)(?P<month>[01]\d)(?:(?P=dash)(?P<day>[0-3]\d))?(?!\d)"
)
"""A date that begins with its year: 1999-05-03, 1999-05, 1999.05.03, 19990503."""


def read_tags(file: BinaryIO, name: str) -> Tags:
    """Read a track's tags, touching little of the file.

    Parameters
    ----------
    file : BinaryIO
        Seekable; its position afterwards is undefined.
    name : str
        The track's URI, for messages.

    Returns
    -------
    Tags
        Text as stored, several values joined by "; "; empty for a file without tags, or with broken ones.

    Raises
    ------
    ReadError, NotFoundError
        If the store does not hand out the bytes.
    """
    source = TagSource(file, name)
    tagged = open_tagged(source)
    source.raise_if_failed()
    tags = _tags(tagged.tags if tagged is not None and tagged.tags is not None else {})
    if tags == Tags() and (tagged is None or isinstance(tagged, AAC | AIFF | WAVE)):
        tags = _tags(_ffmpeg_metadata(source))
        source.raise_if_failed()
    return tags


def _ffmpeg_metadata(source: Source) -> dict[str, str]:
    """Return what mutagen does not read: RIFF INFO of wav, text chunks of aiff, webm, ID3 before raw aac."""
    try:
        with open_container(source, PROBE_BYTES) as container:
            return {key.lower(): _unescaped(value) for key, value in container.metadata.items()}
    except UndecodableError:
        return {}


def _unescaped(text: str) -> str:
    """Return FFmpeg's text with the bytes that are no UTF-8 taken for Windows', which wrote most of them."""
    if text.isascii():
        return text
    data = text.encode("utf-8", "surrogateescape")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _tags(stored: Mapping[str, Any]) -> Tags:
    """Return our fields of a mapping as mutagen or FFmpeg gives it."""
    values = {field: _first(stored, keys) for field, keys in KEYS.items()}
    year = YEAR.search(values["date"] or "")
    year_text = year.group() if year else None
    return Tags(
        artist=values["artist"],
        album=values["album"],
        title=values["title"],
        year=int(year_text) if year_text else None,
        release_date=_release_date(values["date"] or "", year_text) if year_text else None,
        genre_tag=values["genre"],
    )


def _release_date(written: str, year: str) -> str:
    """Return a date tag in ISO 8601; the year alone where day and month could only be guessed."""
    found = ISO_DATE.search(written)
    if found is None or found["year"] != year:
        return year
    month, day = found["month"], found["day"]
    day = None if day == "00" else day  # how some taggers say that they do not know it
    try:
        date(int(year), int(month), int(day or 1))
    except ValueError:
        return year
    return f"{year}-{month}-{day}" if day else f"{year}-{month}"


def _first(stored: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    """Return the first of `keys` that has text in it."""
    for key in keys:
        try:
            value = stored.get(key)
        except (KeyError, ValueError):  # a key that this kind of tag cannot have
            continue
        if value is not None and (text := _text(value)).strip():
            return text
    return None


def _text(value: Any) -> str:
    """Return a tag's value as text that UTF-8 can hold."""
    # ID3's genre frame holds numbers too, which `genres` spells out; other ID3 frames have `text`.
    parts = getattr(value, "genres", None) or getattr(value, "text", value)
    text = "; ".join(map(str, parts)) if isinstance(parts, list) else str(parts)
    return text.encode("utf-8", "replace").decode()
