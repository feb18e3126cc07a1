"""Files that are not audio are named, and audio is never mistaken for something else."""

import gzip
import io
import json
import lzma
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipeline.audio.decode.audio import read_segments
from pipeline.audio.decode.not_audio import kind_of, undecoded_kind_of
from pipeline.audio.decode.source import Source
from schemas.errors import DecodeError
from schemas.features import FeatureSpec
from tests.encoders import FFMPEG, SOUNDFILE, encode, sweep
from tests.unit.test_audio_damage import id3_block


def song() -> bytes:
    return encode(sweep(44100, 3.0, 2), 44100, "mp3")


def archive(form: str) -> bytes:
    """Return an archive with an mp3 in it, uncompressed if the format allows."""
    file = io.BytesIO()
    if form == "zip":
        with zipfile.ZipFile(file, "w") as zipped:
            zipped.writestr("song.mp3", song())
    else:
        with tarfile.open(fileobj=file, mode="w") as tar:
            member = tarfile.TarInfo("song.mp3")
            member.size = len(song())
            tar.addfile(member, io.BytesIO(song()))
    return file.getvalue()


OTHERS = {
    "a JPEG picture": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + bytes(5000),
    "a JPEG picture ": b"\xff\xd8\xff\xe1\x1f\xfeExif\x00\x00MM\x00*" + bytes(5000),
    "a PNG picture": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(1000),
    "a GIF picture": b"GIF89a" + bytes(500),
    "a WebP picture": b"RIFF\x24\x10\x00\x00WEBPVP8 " + bytes(4000),
    "a PDF document": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj",
    "a zip archive": archive("zip"),
    "a tar archive": archive("tar"),
    "a gzip archive": gzip.compress(song()),
    "an xz archive": lzma.compress(song()),
    "a 7z archive": b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(300),
    "a RAR archive": b"Rar!\x1a\x07\x01\x00" + bytes(300),
    "a program": Path(sys.executable).resolve().read_bytes()[:100_000],
    "a MIDI file": b"MThd\x00\x00\x00\x06\x00\x01\x00\x02\x01\xe0MTrk" + bytes(100),
    "an AppleDouble file": b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(4000),
    "an HTML page": b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html><body>404 not found</body></html>" * 20,
    "an HTML page ": b"<html><body>404 not found</body></html>",
    "an error message of an object store": (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>'
    ),
    "an XML document": b'<?xml version="1.0"?><rss version="2.0"></rss>',
    "a JSON document": json.dumps({"error": "not found"}, indent=2).encode(),
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "an m3u playlist": b"#EXTM3U\n#EXTINF:123,Song\nsong.mp3\n",
    "a pls playlist": b"[playlist]\nFile1=http://radio/stream\n",
    "a cue sheet": b'REM GENRE Jazz\nPERFORMER "X"\nFILE "x.wav" WAVE\n',
    "a text file": "Это не музыка.\n".encode() * 200,
    "a text file ": "This is not music.\n".encode("utf-16"),
    "a file of zeros": bytes(100_000),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_file_of_another_kind_is_named(kind: str) -> None:
    """Fails: the user looks for a codec where a cover or an error page has the name of a track.

    Archives that hold an mp3 as it is would even be labeled.
    """
    with pytest.raises(DecodeError) as caught:
        read_segments(io.BytesIO(OTHERS[kind]), "s3://music/a.mp3", FeatureSpec())
    message = str(caught.value)
    assert message.startswith(f"s3://music/a.mp3 is {kind.strip()}")
    assert message.endswith("not audio; remove or replace it")


def test_leading_tags_do_not_hide_another_kind() -> None:
    """Fails: a picture with an ID3 tag is reported as an unknown format."""
    with pytest.raises(DecodeError, match="is a JPEG picture"):
        read_segments(io.BytesIO(id3_block(300) + OTHERS["a JPEG picture"]), "a", FeatureSpec())


@pytest.mark.parametrize("form", [*SOUNDFILE, *FFMPEG])
def test_audio_is_not_mistaken_for_another_kind(form: str) -> None:
    """Fails: good tracks of that format are refused as pictures."""
    rate, channels = {"amr": (8000, 1), "ra": (8000, 1)}.get(form, (48000, 2))
    source = Source(io.BytesIO(encode(sweep(rate, 1.5, channels), rate, form)), "track")
    assert kind_of(source) is None
    assert undecoded_kind_of(source) is None


@pytest.mark.parametrize("tag", [b"drms", b"enca"])
@pytest.mark.parametrize("movflags", ["faststart", "frag_keyframe+empty_moov"])
def test_a_protected_file_says_so(tag: bytes, movflags: str) -> None:
    """Fails: purchases with DRM are labeled on noise, or called broken."""
    data = encode(sweep(44100, 3.0, 2), 44100, "m4a", movflags=movflags)
    at = data.index(b"mp4a", data.index(b"stsd"))
    protected = data[:at] + tag + data[at + 4 :]
    with pytest.raises(DecodeError, match=r"encrypted \(DRM\)"):
        read_segments(io.BytesIO(protected), "a.m4p", FeatureSpec())
