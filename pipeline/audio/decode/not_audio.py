"""Identifies files that are not audio, so that the error says what they are."""

import re
from codecs import getincrementaldecoder

from pipeline.audio.decode.source import Source

HEAD_BYTES = 1024

_SIGNATURES = [
    (re.compile(pattern, re.DOTALL), kind)
    for pattern, kind in (
        (rb"\xff\xd8\xff[\xc0-\xfe]", "a JPEG picture"),
        (rb"\x89PNG\r\n\x1a\n", "a PNG picture"),
        (rb"GIF8[79]a", "a GIF picture"),
        (rb"RIFF....WEBP", "a WebP picture"),
        (rb"(II\*\x00|MM\x00\*)", "a TIFF picture"),
        (rb"BM....\x00\x00\x00\x00", "a BMP picture"),
        (rb"....ftyp(heic|heix|mif1|avif)", "a HEIF picture"),
        (rb"8BPS\x00\x01", "a Photoshop picture"),
        (rb"%PDF-", "a PDF document"),
        (rb"\{\\rtf", "an RTF document"),
        (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document"),
        (rb"PK(\x03\x04|\x05\x06|\x07\x08)", "a zip archive"),
        (rb"\x1f\x8b\x08[\x00-\x1f].{4}[\x00-\x04]", "a gzip archive"),
        (rb"BZh[1-9](1AY&SY|\x17rE8P\x90)", "a bzip2 archive"),
        (rb"\xfd7zXZ\x00", "an xz archive"),
        (rb"\x28\xb5\x2f\xfd", "a Zstandard archive"),
        (rb"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (rb"Rar!\x1a\x07", "a RAR archive"),
        (rb".{257}ustar[\x00 ]", "a tar archive"),
        (rb"\x7fELF[\x01\x02][\x01\x02]", "a program"),
        (rb"MZ.{38,}?PE\x00\x00", "a program"),
        (rb"(\xfe\xed\xfa[\xce\xcf]|[\xce\xcf]\xfa\xed\xfe)", "a program"),
        (rb"SQLite format 3\x00", "an SQLite database"),
        (rb"PAR1", "a Parquet file"),
        (rb"(RIFF....RMID|MThd\x00\x00\x00\x06)", "a MIDI file (notes without sound)"),
        (rb"RIFF....sfbk", "a SoundFont (instruments without music)"),
        (rb"RIFF....CDDA", "a pointer to a CD track (the audio stayed on the CD)"),
        (
            rb"\x00\x05\x16[\x00\x07]\x00[\x01\x02]\x00\x00",
            "an AppleDouble file (attributes of a file)",
        ),
        (rb"\x00\x00\x00\x01Bud1", "a macOS .DS_Store file"),
        (rb"bplist0", "a macOS property list"),
        (rb"L\x00\x00\x00\x01\x14\x02\x00", "a Windows shortcut"),
        (rb"d(8:announce|13:announce|7:comment|10:created by)", "a torrent file"),
    )
]
"""Signatures of other kinds of files, specific enough not to match any audio."""

_TEXTS = [
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in (
        (rb"version https://git-lfs", "a Git LFS pointer (the file itself was not fetched)"),
        (rb"(<\?xml[^>]*>\s*)?<Error\b[^>]*>\s*<Code>", "an error message of an object store"),
        (rb"<!doctype html|<html", "an HTML page"),
        (rb"<(\?xml|!--|!doctype|[a-z][\w:.-]*[\s/>])", "an XML document"),
        (rb"#EXTM3U", "an m3u playlist"),
        (rb"\[playlist\]", "a pls playlist"),
        (rb"(REM|PERFORMER|TITLE|FILE) .*\n", "a cue sheet"),
        (rb"(\{\s*[\"}]|\[\s*[\[{\"\d\]])", "a JSON document"),
        (rb"#!", "a script"),
    )
]
"""How kinds of text begin, after white space."""

_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def kind_of(source: Source) -> str | None:
    """Return the kind of a file whose first bytes show that it is not audio, such as "a JPEG picture"."""
    head = source.read_at(0, HEAD_BYTES)
    return next((kind for pattern, kind in _SIGNATURES if pattern.match(head)), None)


def undecoded_kind_of(source: Source) -> str | None:
    """Return the kind of a file that does not decode: a kind of text, or a file of zeros.

    Some audio formats also begin with text or zeros, so only call this after decoding has failed.
    """
    head = source.read_at(0, HEAD_BYTES)
    middle = source.read_at(source.size() // 2, HEAD_BYTES)
    if not any(head) and not any(middle):
        return "a file of zeros (as from an interrupted download)"
    text = _as_utf8(head)
    if text is None:
        return None
    text = text.lstrip()
    return next((kind for pattern, kind in _TEXTS if pattern.match(text)), "a text file")


def _as_utf8(head: bytes) -> bytes | None:
    """Return `head` as UTF-8 without a byte order mark, or None if it is not text."""
    try:
        if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
            head = head.decode("utf-16").encode()
        else:
            getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
    except UnicodeError:
        return None
    return None if _CONTROL.search(head) else head.removeprefix(b"\xef\xbb\xbf")
