"""Tags of every format that people tag, as stored, and without harm from broken ones."""

import io
import random
import struct
from collections.abc import Callable, Mapping

import av
import numpy as np
import pytest
import soundfile as sf
from mutagen.aiff import AIFF
from mutagen.asf import ASF
from mutagen.flac import FLAC
from mutagen.id3 import ID3, TALB, TCON, TDRC, TIT2, TPE1
from mutagen.mp3 import MP3
from mutagen.mp4 import MP4
from mutagen.oggopus import OggOpus
from mutagen.oggvorbis import OggVorbis
from mutagen.wave import WAVE

from pipeline.decoding.bounded_tags import MOST_BYTES, TagSource
from pipeline.decoding.tags import read_tags
from pipeline.shards.limits import private_bytes
from schemas.errors import ReadError
from schemas.tracks import Tags
from tests.encoders import encode, sweep
from tests.hostile import LABELLED

EXPECTED = Tags(
    artist="Sigur Rós",
    album="( ) ☃ #1 100%",
    title="Tab\tand\x01bell",
    year=1999,
    release_date="1999-05-03",
    genre_tag="Post-Rock",
)
ID3_FRAMES = (
    TPE1(encoding=3, text=["Sigur Rós"]),
    TALB(encoding=1, text=["( ) ☃ #1 100%"]),
    TIT2(encoding=0, text=["Tab\tand\x01bell"]),
    TDRC(encoding=3, text=["1999-05-03"]),
    TCON(encoding=3, text=["Post-Rock"]),
)
VORBIS = {
    "ARTIST": "Sigur Rós",
    "album": "( ) ☃ #1 100%",
    "Title": "Tab\tand\x01bell",
    "DATE": "1999-05-03",
    "genre": "Post-Rock",
}
MP4_ATOMS = dict(zip(("\xa9ART", "\xa9alb", "\xa9nam", "\xa9day", "\xa9gen"), VORBIS.values(), strict=True))
ASF_NAMES = dict(
    zip(("Author", "WM/AlbumTitle", "Title", "WM/Year", "WM/Genre"), VORBIS.values(), strict=True)
)
MUTAGEN: dict[str, tuple[Callable[[io.BytesIO], object], object]] = {
    "mp3": (MP3, ID3_FRAMES),
    "wav": (WAVE, ID3_FRAMES),
    "aiff": (AIFF, ID3_FRAMES),
    "flac": (FLAC, VORBIS),
    "vorbis": (OggVorbis, VORBIS),
    "opus": (OggOpus, VORBIS),
    "m4a": (MP4, MP4_ATOMS),
    "alac": (MP4, MP4_ATOMS),
    "wma": (ASF, ASF_NAMES),
}


def tagged(form: str, seconds: float = 1.0) -> io.BytesIO:
    """Return a file of `form` with `EXPECTED` in it, as mutagen writes it."""
    y = np.random.default_rng(0).normal(0, 0.1, (round(48000 * seconds), 1)).astype(np.float32)
    file = io.BytesIO(encode(y, 48000, form))
    opened, values = MUTAGEN[form]
    track = opened(file)
    if track.tags is None:
        track.add_tags()
    if isinstance(values, Mapping):
        for key, value in values.items():
            track[key] = value
    else:
        for frame in values:
            track.tags.add(frame)
    file.seek(0)
    track.save(file)
    file.seek(0)
    return file


@pytest.mark.parametrize("form", MUTAGEN)
def test_each_format(form: str) -> None:
    """Fails: trends by artist and year have no artists and years for that format."""
    assert read_tags(tagged(form), "track") == EXPECTED


@pytest.mark.parametrize("form", ["WAV", "AIFF", "CAF"])
def test_text_chunks_of_wav_and_its_like(form: str) -> None:
    """Fails: wavs tagged by sound editors, which write no ID3, have no tags."""
    file = io.BytesIO()
    with sf.SoundFile(file, "w", 44100, 1, subtype="PCM_16", format=form) as sound:
        sound.artist, sound.title = "Sigur Rós", "Njósnavélin"
        if form != "AIFF":  # which has no chunk for the others
            sound.album, sound.date, sound.genre = "( )", "2002-10-28", "Post-Rock"
        sound.write(np.zeros(44100))
    tags = read_tags(file, "track")
    assert (tags.artist, tags.title) == ("Sigur Rós", "Njósnavélin")
    if form != "AIFF":
        assert (tags.album, tags.year, tags.genre_tag) == ("( )", 2002, "Post-Rock")


def test_windows_letters_in_wav() -> None:
    """Fails: Björk is "Bj�rk" in wavs of Windows programs, and the table is no valid UTF-8."""
    artist = "Björk – “x”".encode("cp1252") + b"\0"
    info = b"INFOIART" + struct.pack("<I", len(artist)) + artist + b"\0" * (len(artist) % 2)
    wav = encode(np.zeros((44100, 1), np.float32), 44100, "wav")
    wav += b"LIST" + struct.pack("<I", len(info)) + info
    file = io.BytesIO(wav[:4] + struct.pack("<I", len(wav) - 8) + wav[8:])
    assert read_tags(file, "track").artist == "Björk – “x”"


def test_webm() -> None:
    """Fails: webm, which mutagen does not know, has no tags."""
    data = io.BytesIO()
    data.name = "track.webm"
    with av.open(data, "w", format="webm") as output:
        output.metadata.update({"ARTIST": "Björk", "TITLE": "Jóga", "DATE": "1997"})
        stream = output.add_stream("libopus", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), "flt", "mono")
        frame.sample_rate = 48000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert read_tags(data, "track") == Tags(artist="Björk", title="Jóga", year=1997, release_date="1997")


def test_id3v1_alone_and_numbered_genres() -> None:
    """Fails: mp3s of the nineties have no tags, or the genre "(17)"."""
    mp3 = encode(sweep(44100, 1), 44100, "mp3")
    v1 = b"TAG" + b"Title".ljust(30, b"\0") + b"Artist".ljust(30, b"\0") + b"Album".ljust(30, b"\0")
    v1 += b"1999" + bytes(30) + bytes([17])
    expected = Tags("Artist", "Album", "Title", year=1999, release_date="1999", genre_tag="Rock")
    assert read_tags(io.BytesIO(mp3 + v1), "track") == expected
    file = io.BytesIO(mp3)
    tags = ID3()
    tags.add(TCON(encoding=3, text=["(17)"]))
    tags.save(file)
    assert read_tags(file, "track") == Tags(genre_tag="Rock")


def test_several_values_are_joined_and_blank_ones_are_none() -> None:
    """Fails: of a duet one artist is lost, or an empty string is counted as an artist."""
    file = tagged("flac")
    track = FLAC(file)
    track["artist"], track["title"], track["date"] = ["Björk", "Thom Yorke"], "  ", "soon"
    file.seek(0)
    track.save(file)
    tags = read_tags(file, "track")
    assert (tags.artist, tags.title, tags.year) == ("Björk; Thom Yorke", None, None)


@pytest.mark.parametrize(
    ("date", "year", "release_date"),
    [
        ("1999", 1999, "1999"),
        ("1999-05-03", 1999, "1999-05-03"),
        ("1999.05.03", 1999, "1999-05-03"),
        ("1999-05", 1999, "1999-05"),
        ("1999-05-00", 1999, "1999-05"),
        ("1999-00-00", 1999, "1999"),
        ("1999-02-31", 1999, "1999"),
        ("03/05/1999", 1999, "1999"),
        ("19990503", 1999, "1999-05-03"),
        ("2001-02-03T04:05:06Z", 2001, "2001-02-03"),
        ("℗ 2012 Label", 2012, "2012"),
        ("99", None, None),
        ("0000", None, None),
        ("123456", None, None),
    ],
)
def test_dates(date: str, year: int | None, release_date: str | None) -> None:
    """Fails: trends by year or month put tracks in the wrong one, or lose them."""
    file = tagged("flac")
    track = FLAC(file)
    track["date"] = date
    file.seek(0)
    track.save(file)
    tags = read_tags(file, "track")
    assert (tags.year, tags.release_date) == (year, release_date)


@pytest.mark.parametrize("form", [*MUTAGEN, "webm", "adts"])
def test_broken_tags_are_no_tags(form: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Fails: a track that plays everywhere is a failure because of a byte in its tags."""
    chance = random.Random(form)
    good = tagged(form).getvalue() if form in MUTAGEN else encode(sweep(48000, 1), 48000, form)
    for _ in range(60):
        data = bytearray(good)
        for _ in range(chance.randint(1, 40)):
            data[chance.randrange(min(len(data), 3000))] = chance.randrange(256)
        tags = read_tags(io.BytesIO(bytes(data[: chance.choice((len(data), len(data) // 2, 200))])), "track")
        for text in (tags.artist, tags.album, tags.title, tags.genre_tag):
            assert text is None or text.encode().strip()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("data", [b"", b"x", b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f", b"RIFF", bytes(5000)])
def test_what_is_no_audio_has_no_tags(data: bytes) -> None:
    """Fails: reading the tags of a stray file raises where decoding would have named the reason."""
    assert read_tags(io.BytesIO(data), "track") == Tags()


class Watched(io.BytesIO):
    """A file that counts the bytes read, and can fail."""

    n_bytes = 0
    failing = False

    def read(self, size: int | None = -1) -> bytes:
        if self.failing:
            raise OSError("the network is unreachable")
        data = super().read(size)
        self.n_bytes += len(data)
        return data


@pytest.mark.parametrize("form", MUTAGEN)
def test_tags_cost_little_of_the_file(form: str) -> None:
    """Fails: reading the tags of a file on S3 moves all of it."""
    file = Watched(tagged(form, 20).getvalue())
    assert read_tags(file, "track") == EXPECTED
    assert file.n_bytes < 150_000


@pytest.mark.parametrize("form", ["mp3", "wav", "m4a"])
def test_a_store_that_fails_is_told(form: str) -> None:
    """Fails: a network fault leaves a track without artist and year for ever."""
    file = Watched(tagged(form).getvalue())
    file.failing = True
    with pytest.raises(ReadError, match="the network is unreachable"):
        read_tags(file, "track")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["tag bomb.mp3", "tag flood.mp3", "private.mp3", "cover.mp3"])
def test_tags_that_are_bombs_are_no_tags(name: str) -> None:
    """Fails: a megabyte of tags takes a gigabyte or an hour, in a worker or in `earmark scan`."""
    before = private_bytes()
    tags = read_tags(io.BytesIO(LABELLED[name]()), "track")
    assert tags.title == {"private.mp3": "Private", "cover.mp3": "Cover"}.get(name)
    assert private_bytes() - before < 150 << 20


def test_of_a_file_only_so_much_is_read_for_its_tags() -> None:
    """Fails: a thousand pictures in a flac are all downloaded and kept in memory for an artist's name."""
    source = TagSource(io.BytesIO(bytes(MOST_BYTES + 100)), "track")
    assert len(source.read(MOST_BYTES - 10)) == MOST_BYTES - 10
    source.seek(0)
    assert (len(source.read()), source.read(), source.read(5)) == (10, b"", b"")
