"""Reads a file's tags (artist, album, title, year, genre) in any of their formats."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, BinaryIO

from mutagen.apev2 import APETextValue, APEv2File
from mutagen.id3 import ParseID3v1
from mutagen.mp4 import MP4

from pipeline.audio.decode.decoders import UndecodableError
from pipeline.audio.decode.ffmpeg import open_container
from pipeline.audio.decode.source import ID3_HEADER_BYTES, Source, id3_block_bytes
from pipeline.audio.tags.bounded_tags import KINDS_WITHOUT_ID3, TagSource, open_tagged
from pipeline.audio.tags.dates import parse_date
from pipeline.audio.tags.id3 import Id3Error, genre_names, parse_id3
from pipeline.audio.tags.iff_chunks import read_chunks
from pipeline.audio.tags.mp3_end import read_mp3_end
from pipeline.audio.tags.several_values import SEPARATOR
from schemas.tracks import Tags

NAMES: dict[str, tuple[str, ...]] = {
    "artist": (
        "tpe1", "\xa9art", "artist", "author", "track/artist", "artists", "wm/artists",
        "tpe2", "aart", "wm/albumartist", "albumartist", "album artist", "album_artist", "band",
        "album/artist",
    ),
    "album": ("talb", "\xa9alb", "wm/albumtitle", "album", "album/title"),
    "title": ("tit2", "\xa9nam", "title", "track/title"),
    "date": (
        "tdrc", "tyer", "\xa9day", "wm/year", "date", "year",
        "date_released", "track/date_released", "album/date_released",
        "date_recorded", "track/date_recorded", "album/date_recorded",
        "tdrl", "releasedate", "releasetime",
        "tdor", "tory", "wm/originalreleasetime", "wm/originalreleaseyear",
        "originaldate", "original release date", "originalyear", "original year", "origyear",
    ),
    "genre": ("tcon", "\xa9gen", "wm/genre", "genre", "track/genre", "album/genre"),
}  # fmt: skip
"""The names of each field in lower case, in order of preference.

They are those of ID3, mp4, asf, Vorbis comments, APEv2, Matroska and FFmpeg, then those of the user-defined
frames and atoms that taggers write, for fields that a format lacks and sometimes in place of its own.

References
----------
The mappings of MusicBrainz Picard, Mp3tag (https://docs.mp3tag.de/mapping/), foobar2000 and beets.
"""

PROBE_BYTES = 1 << 12
"""Enough to detect a format; nothing about its audio is needed here."""

_KNOWN = frozenset(name for names in NAMES.values() for name in names)
_ID3_NAMES = frozenset({*_KNOWN, *(name.upper() for name in _KNOWN if len(name) == 4), "TDAT"})
_PREFIX = re.compile(r"----:com\.apple\.itunes:|com\.apple\.quicktime\.")
_DSF_HEADER_BYTES = 28

Stored = Mapping[str, Any] | list[tuple[str, Any]]
"""Tags by name, as mutagen and FFmpeg return them; a list for Vorbis comments and asf."""


def read_tags(file: BinaryIO, name: str) -> Tags:
    """Read a track's tags, reading little of the file.

    If a file has several kinds of tags, those native to its format come first, then ID3v2, APEv2 and ID3v1;
    each fills in the fields that the previous ones lack.

    Parameters
    ----------
    file : BinaryIO
        Seekable; its position afterwards is undefined.
    name : str
        The track's URI, for messages.

    Returns
    -------
    Tags
        Text as stored, several values joined by "; "; empty for a file without tags or with broken ones.

    Raises
    ------
    ReadError, NotFoundError
        If the store does not return the bytes.
    """
    source = TagSource(file, name)
    tags = Tags()
    for stored in _read_each_kind(source, file):
        source.raise_if_failed()
        tags = _fill_in(tags, stored)
        if None not in (tags.artist, tags.album, tags.title, tags.year, tags.genre_tag):
            break
    source.raise_if_failed()
    return tags


def _read_each_kind(source: TagSource, file: BinaryIO) -> Iterator[Stored]:
    """Yield each kind of tags that a file has, in order of precedence."""
    source.seek(0)
    header = source.read(ID3_HEADER_BYTES)
    n_id3 = id3_block_bytes(header)
    # Some taggers put ID3 before formats that have native tags.
    inner = TagSource(file, source.uri, n_id3)
    tagged = open_tagged(inner, KINDS_WITHOUT_ID3)
    inner.raise_if_failed()
    tags = getattr(tagged, "tags", None)
    is_native = tagged is not None and type(tagged) is not APEv2File
    if is_native and tags is not None:
        yield tags
    if id3 := _id3(source, n_id3):
        yield id3
    if isinstance(tagged, MP4) and not _by_name(tags or {}):  # QuickTime has other tags than iTunes
        yield ffmpeg_metadata(inner)
        inner.raise_if_failed()
    if is_native:
        return
    end = read_mp3_end(source)
    if tags is None and end.ape:  # mutagen looks for it only at the very end
        before = TagSource(file, source.uri, n_id3, end.ape[0].end)
        tags = getattr(open_tagged(before, [APEv2File]), "tags", None)
        before.raise_if_failed()
    if tags is not None:
        yield tags
    inner.seek(0)
    magic = inner.read(2)
    id3v1 = (ParseID3v1(end.id3v1) or {}) if end.id3v1 else {}
    if id3v1:
        yield id3v1
    is_mpeg = magic[:1] == b"\xff" and magic[1:] >= b"\xe0"
    if not is_mpeg and not id3 and tags is None and not id3v1:
        yield ffmpeg_metadata(inner)
        inner.raise_if_failed()


def _id3(source: TagSource, n_at_start: int) -> dict[str, list[str]]:
    """Return the text frames of the ID3v2 tag, which is at the start of a file or in one of its chunks."""
    start, n_bytes = 0, n_at_start
    if not n_bytes:
        start, n_bytes = _id3_place(source)
    if not n_bytes:
        return {}
    source.seek(start)
    try:
        texts = parse_id3(source.read(n_bytes)).texts(_ID3_NAMES)
    except Id3Error:
        return {}
    for name in texts.keys() & {"TCON", "genre"}:
        texts[name] = genre_names(texts[name])
    year, day = "".join(texts.get("TYER", ())), "".join(texts.pop("TDAT", ()))
    if len(year) == len(day) == 4 and (year + day).isdecimal():  # 2.3 has a separate frame for the day, ddmm
        texts["TYER"] = [f"{year}-{day[2:]}-{day[:2]}"]
    return texts


def _id3_place(source: TagSource) -> tuple[int, int]:
    """Return the offset and size of the ID3 tag of wav, aiff and dsf; zeros if there is none."""
    if chunks := read_chunks(source):
        return (chunks.id3[0].data_start, chunks.id3[0].size) if chunks.id3 else (0, 0)
    source.seek(0)
    header = source.read(_DSF_HEADER_BYTES)
    if header[:4] == b"DSD " and (start := int.from_bytes(header[20:28], "little")):
        source.seek(start)
        return start, id3_block_bytes(source.read(ID3_HEADER_BYTES))
    return 0, 0


def ffmpeg_metadata(source: Source) -> dict[str, str]:
    """Read the tags that mutagen does not support: RIFF INFO of wav, text chunks of aiff, Matroska."""
    try:
        with open_container(source, PROBE_BYTES) as container:
            metadata = _decode_metadata(container.metadata)
            for stream in container.streams.audio[:1]:
                of_stream = _decode_metadata(stream.metadata)
                of_stream.pop("title", None)  # the stream's title, not the track's: "Stereo"
                metadata = of_stream | metadata
            return metadata
    except UndecodableError:
        return {}


def _decode_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    return {key.lower(): _decode_text(value) for key, value in metadata.items()}


def _decode_text(text: str) -> str:
    """Decode FFmpeg's text; what is not UTF-8 is taken for Windows-1252, the source of most such tags."""
    if text.isascii():
        return text
    data = text.encode("utf-8", "surrogateescape")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _fill_in(tags: Tags, stored: Stored) -> Tags:
    """Fill in missing fields from what mutagen, FFmpeg or `_id3` returned."""
    texts = _by_name(stored)
    found: dict[str, Any] = {}
    for field, key in (("artist", "artist"), ("album", "album"), ("title", "title"), ("genre_tag", "genre")):
        if getattr(tags, field) is None:
            found[field] = _first(texts, NAMES[key], lambda text: text or None)
    if tags.year is None and (released := _first(texts, NAMES["date"], parse_date)):
        found |= {"year": int(released[:4]), "release_date": released}
    return replace(tags, **found)


def _by_name(stored: Stored) -> dict[str, list[str]]:
    """Return the values of known names, which are in lower case."""
    texts: dict[str, list[str]] = {}
    for name, value in stored if isinstance(stored, list) else stored.items():
        if (known := _PREFIX.sub("", name.lower())) in _KNOWN:
            texts.setdefault(known, []).extend(_values(value))
    return texts


def _values(value: Any) -> list[str]:
    # ID3's genre frame may hold numbers, which `genres` replaces by names; other ID3 frames have `text`.
    parts = getattr(value, "genres", None) or getattr(value, "text", value)
    values = parts if isinstance(parts, (list, APETextValue)) else [parts]
    return [each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each) for each in values]


def _first(
    texts: Mapping[str, list[str]], names: tuple[str, ...], meaning: Callable[[str], str | None]
) -> str | None:
    """Return the meaning of the first of `names` that has one."""
    found = (meaning(_join(texts[name])) for name in names if name in texts)
    return next((meant for meant in found if meant is not None), None)


def _join(values: list[str]) -> str:
    """Return several values as one text that UTF-8 can hold."""
    # wma may hold the same value in two places.
    text = SEPARATOR.join(dict.fromkeys(each for each in values if each.strip()))
    return text.encode("utf-8", "replace").decode()
