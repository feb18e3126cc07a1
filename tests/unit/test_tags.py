"""Tags of all common formats are read as stored, and broken ones do no harm."""

import io
import random
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import av
import mutagen
import numpy as np
import pytest
import soundfile as sf
from mutagen.aiff import AIFF
from mutagen.apev2 import APEv2
from mutagen.asf import ASF
from mutagen.flac import FLAC
from mutagen.id3 import ID3, TALB, TCON, TDAT, TDRC, TIT2, TPE1, TYER, Frame
from mutagen.mp3 import MP3
from mutagen.mp4 import MP4
from mutagen.oggopus import OggOpus
from mutagen.oggvorbis import OggVorbis
from mutagen.wave import WAVE

from pipeline.audio.tags.bounded_tags import MAX_BYTES, TagSource
from pipeline.audio.tags.tags import read_tags
from pipeline.shards.limits import private_bytes
from schemas.errors import ReadError
from schemas.tracks import Tags
from tests.encoders import encode, sweep
from tests.hostile import LABELED
from tests.unit.test_id3 import frame as id3_frame
from tests.unit.test_id3 import tag as id3_tag

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
MUTAGEN: dict[str, tuple[Callable[[io.BytesIO], Any], Any]] = {
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


SPELLINGS: dict[str, tuple[str, dict[str, str]]] = {
    "foobar2000's flac": ("flac", {"ALBUM ARTIST": "Björk", "ORIGINAL RELEASE DATE": "1997", "GENRE": "Pop"}),
    "FFmpeg's opus": ("opus", {"album_artist": "Björk", "originalyear": "1997", "Genre": "Pop"}),
    "an m4a": (
        "m4a",
        {f"----:com.apple.iTunes:{name}": text for name, text in
         (("Band", "Björk"), ("ORIGINAL YEAR", "1997"), ("GENRE", "Pop"))},
    ),
    "a wma": ("wma", {"WM/ARTISTS": "Björk", "WM/OriginalReleaseYear": "1997", "GENRE": "Pop"}),
}  # fmt: skip


def spelled(kind: str) -> io.BytesIO:
    """Return a file with other names than those of its format."""
    form, texts = SPELLINGS[kind]
    file = tagged(form)
    track = MUTAGEN[form][0](file)
    assert isinstance(track, mutagen.FileType)
    track.clear()
    for name, text in texts.items():
        track[name] = [text.encode() if form == "m4a" else text]
    file.seek(0)
    track.save(file)
    return file


@pytest.mark.parametrize("kind", SPELLINGS)
def test_names_that_taggers_write(kind: str) -> None:
    """Fails: albums tagged with foobar2000 or Mp3tag have no artist, no year or no genre."""
    assert read_tags(spelled(kind), "track") == Tags("Björk", year=1997, release_date="1997", genre_tag="Pop")


def test_names_of_apev2() -> None:
    """Fails: WavPack and Musepack compilations have no artist."""
    file = io.BytesIO(encode(sweep(44100, 1), 44100, "mp3"))
    ape = APEv2()
    ape["Album Artist"], ape["originalyear"] = ["Björk", "Ella"], "1997"
    ape.save(file)
    assert read_tags(file, "track") == Tags("Björk; Ella", year=1997, release_date="1997")


@pytest.mark.parametrize("version", [2, 3, 4])
def test_user_defined_frames_of_id3(version: int) -> None:
    """Fails: mp3s whose tagger kept the genre in a frame of its own have none; or it hides the real one."""
    name = b"TXX" if version == 2 else b"TXXX"
    texts = ("GENRE\0(17)", "Album Artist\0Björk", "originalyear\x001997", "\0no name", "Mood\0Calm")
    body = b"".join(id3_frame(version, name, b"\1" + text.encode("utf-16")) for text in texts)
    found = read_tags(io.BytesIO(id3_tag(version, body) + encode(sweep(44100, 1), 44100, "mp3")), "track")
    assert found == Tags("Björk", year=1997, release_date="1997", genre_tag="Rock")
    body += id3_frame(version, b"TCO" if version == 2 else b"TCON", b"\0Pop")
    found = read_tags(io.BytesIO(id3_tag(version, body) + encode(sweep(44100, 1), 44100, "mp3")), "track")
    assert found.genre_tag == "Pop"


def test_a_format_s_own_field_comes_first() -> None:
    """Fails: iTunes shows another genre and artist than the tables."""
    file = tagged("m4a")
    track = MP4(file)
    for name in ("GENRE", "ARTIST", "Date", "Title", "ALBUM"):
        track[f"----:com.apple.iTunes:{name}"] = [b"2011"]
    file.seek(0)
    track.save(file)
    assert read_tags(file, "track") == EXPECTED


@pytest.mark.parametrize("form", ["WAV", "AIFF", "CAF"])
def test_text_chunks_of_wav_and_aiff(form: str) -> None:
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


def test_windows_1252_in_wav() -> None:
    """Fails: Björk is "Bj�rk" in wavs from Windows programs, and the table is not valid UTF-8."""
    artist = "Björk – “x”".encode("cp1252") + b"\0"
    info = b"INFOIART" + struct.pack("<I", len(artist)) + artist + b"\0" * (len(artist) % 2)
    wav = encode(np.zeros((44100, 1), np.float32), 44100, "wav")
    wav += b"LIST" + struct.pack("<I", len(info)) + info
    file = io.BytesIO(wav[:4] + struct.pack("<I", len(wav) - 8) + wav[8:])
    assert read_tags(file, "track").artist == "Björk – “x”"


def opus_in(form: str, of_file: Mapping[str, str], of_stream: Mapping[str, str] | None = None) -> io.BytesIO:
    """Return a second of Opus in webm or matroska with tags as FFmpeg writes them."""
    data = io.BytesIO()
    with av.open(data, "w", format=form) as output:
        output.metadata.update(of_file)
        stream = output.add_stream("libopus", rate=48000, layout="mono")
        stream.metadata.update(of_stream or {})
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), "flt", "mono")
        frame.sample_rate = 48000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return data


@pytest.mark.parametrize("form", ["webm", "matroska"])
def test_webm(form: str) -> None:
    """Fails: webm, which mutagen does not support, has no tags."""
    texts = {"ARTIST": "Björk", "ALBUM": "Homogenic", "TITLE": "Jóga", "DATE": "1997", "GENRE": "Pop"}
    expected = Tags("Björk", "Homogenic", "Jóga", 1997, "1997", "Pop")
    assert read_tags(opus_in(form, texts), "track") == expected


QUICKTIME: dict[str, dict[str, str]] = {"by names": {}, "by keys": {"movflags": "use_metadata_tags"}}


def quicktime(kind: str) -> io.BytesIO:
    """Return a QuickTime film of sound alone, with tags of QuickTime."""
    file = io.BytesIO()
    with av.open(file, "w", format="mov", options=QUICKTIME[kind]) as output:
        output.metadata.update({"artist": "Björk", "title": "Jóga", "genre": "Pop", "date": "1997"})
        stream = output.add_stream("alac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.int16), "s16p", "mono")
        frame.sample_rate = 44100
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file


@pytest.mark.parametrize("kind", QUICKTIME)
def test_tags_of_quicktime(kind: str) -> None:
    """Fails: recordings of QuickTime and Final Cut have no artist."""
    expected = Tags("Björk", None, "Jóga", 1997, "1997", "Pop")
    assert read_tags(quicktime(kind), "track") == expected


def test_streams_of_webm() -> None:
    """Fails: webm with tags on the stream has no album and no genre."""
    found = read_tags(opus_in("webm", {}, {"ALBUM": "Homogenic", "GENRE": "Pop", "title": "Stereo"}), "track")
    assert found == Tags(album="Homogenic", genre_tag="Pop")


def test_a_value_stored_twice_is_read_once() -> None:
    """FFmpeg writes the artist of a wma in two places: "Björk; Björk" was another artist in trends."""
    file = tagged("wma")
    tags = ASF(file)
    tags["Author"] = ["Björk", "Björk", "Ella"]
    file.seek(0)
    tags.save(file)
    assert read_tags(file, "a.wma").artist == "Björk; Ella"


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
    """Fails: one artist of a duet is lost, or an empty string counts as an artist."""
    file = tagged("flac")
    track = FLAC(file)
    track["artist"], track["title"], track["date"] = ["Björk", "Thom Yorke"], "  ", "soon"
    file.seek(0)
    track.save(file)
    tags = read_tags(file, "track")
    assert (tags.artist, tags.title, tags.year) == ("Björk; Thom Yorke", None, None)
    track["artist"], track["genre"] = ["", "Björk"], ["Pop", " "]
    file.seek(0)
    track.save(file)
    tags = read_tags(file, "track")
    assert (tags.artist, tags.genre_tag) == ("Björk", "Pop")


def test_several_values_of_apev2_are_joined() -> None:
    """Fails: the genre of a WavPack with two genres has a zero character, which ends it in other programs."""
    file = io.BytesIO(encode(sweep(44100, 1), 44100, "mp3"))
    ape = APEv2()
    ape["Artist"], ape["Genre"] = ["Björk", "Thom Yorke"], ["Pop", "Trip-Hop"]
    ape.save(file)
    tags = read_tags(file, "track")
    assert (tags.artist, tags.genre_tag) == ("Björk; Thom Yorke", "Pop; Trip-Hop")


@pytest.mark.parametrize(
    ("frames", "year", "release_date"),
    [
        ([TDRC(encoding=3, text=["1999-05-03"])], 1999, "1999-05-03"),
        ([TYER(encoding=0, text=["1999"]), TDAT(encoding=0, text=["0305"])], 1999, "1999-05-03"),
        ([TYER(encoding=0, text=["1999"]), TDAT(encoding=0, text=["9999"])], 1999, "1999"),
    ],
)
def test_dates_of_id3(frames: list[Frame], year: int, release_date: str) -> None:
    """Fails: files with ID3 2.3 lose the day, or even the year."""
    file = io.BytesIO(encode(sweep(44100, 1), 44100, "mp3"))
    tags = ID3()
    for frame in frames:
        tags.add(frame)
    tags.save(file, v2_version=3 if len(frames) > 1 else 4)
    found = read_tags(file, "track")
    assert (found.year, found.release_date) == (year, release_date)


@pytest.mark.parametrize("name", [b"TDRC", b"TYER"])
@pytest.mark.parametrize(
    ("date", "release_date"),
    [("c. 1967", "1967"), ("May 3, 1999", "1999-05-03"), (" 1987 ", "1987"), ("2001;1999", "2001")],
)
def test_dates_that_mutagen_makes_empty(name: bytes, date: str, release_date: str) -> None:
    """Fails: a year typed by a collector is missing in trends for an mp3, but not for a flac."""
    version = 4 if name == b"TDRC" else 3
    data = id3_tag(version, id3_frame(version, name, b"\0" + date.encode()))
    found = read_tags(io.BytesIO(data + encode(sweep(44100, 1), 44100, "mp3")), "track")
    assert (found.year, found.release_date) == (int(release_date[:4]), release_date)


@pytest.mark.parametrize("form", ["flac", "opus", "m4a"])
def test_dates_in_words(form: str) -> None:
    """Fails: the same date counts in some formats and not in others."""
    file = tagged(form)
    track = mutagen.File(file)
    track["\xa9day" if form == "m4a" else "date"] = ["3rd May, 1999"]
    file.seek(0)
    track.save(file)
    assert read_tags(file, "track").release_date == "1999-05-03"


def test_an_invalid_date_does_not_hide_a_valid_one() -> None:
    """Fails: a track with the date "unknown" has no year, although another of its tags does."""
    file = tagged("flac")
    track = FLAC(file)
    track["date"], track["originaldate"] = "unknown", "1971"
    file.seek(0)
    track.save(file)
    assert read_tags(file, "track").year == 1971


def test_apev2_of_mp3() -> None:
    """Fails: mp3s from players that write APEv2 have no tags, or only half of them."""
    file = io.BytesIO(encode(sweep(44100, 1), 44100, "mp3"))
    ape = APEv2()
    ape["Artist"], ape["Album"], ape["Year"], ape["Genre"] = "Björk", "Homogenic", "c. 1997", "Trip-Hop"
    ape.save(file)
    expected = Tags("Björk", "Homogenic", None, year=1997, release_date="1997", genre_tag="Trip-Hop")
    assert read_tags(file, "track") == expected
    id3v1 = b"TAG" + b"Joga".ljust(30, b"\0") + b"Bjork".ljust(90, b"\0") + b"\0\0\0\0\xff"
    assert read_tags(io.BytesIO(file.getvalue() + id3v1), "track") == replace(expected, title="Joga")
    id3 = id3_tag(4, id3_frame(4, b"TIT2", "\3Jóga".encode()) + id3_frame(4, b"TCON", b"\3Pop"))
    found = read_tags(io.BytesIO(id3 + file.getvalue()), "track")
    assert found == replace(expected, title="Jóga", genre_tag="Pop"), "ID3v2 counts first"


def test_id3_before_other_formats() -> None:
    """Fails: a flac with ID3 in front of it has lost its own tags."""
    id3 = id3_tag(3, id3_frame(3, b"TIT2", b"\0Of ID3") + id3_frame(3, b"TSSE", b"\0x"))
    for form in ("flac", "vorbis"):
        assert read_tags(io.BytesIO(id3 + tagged(form).getvalue()), "track") == EXPECTED
        plain = encode(sweep(48000, 1), 48000, form)
        assert read_tags(io.BytesIO(id3 + plain), "track") == Tags(title="Of ID3")


def test_id3_of_dsf() -> None:
    """Fails: DSD downloads, whose tags follow the audio, have no artists."""
    id3 = id3_tag(4, id3_frame(4, b"TPE1", b"\3A") + id3_frame(4, b"TDRC", b"\x031999"))
    audio = bytes(1000)
    header = b"DSD " + struct.pack("<QQQ", 28, 28 + len(audio) + len(id3), 28 + len(audio))
    found = read_tags(io.BytesIO(header + audio + id3), "track")
    assert found == Tags(artist="A", year=1999, release_date="1999")


def _ebml(name: str, content: bytes) -> bytes:
    return bytes.fromhex(name) + (len(content) | 1 << 56).to_bytes(8) + content


def _matroska_tag(level: str, **texts: str) -> bytes:
    simple = (
        _ebml("67c8", _ebml("45a3", name.encode()) + _ebml("4487", text.encode()))
        for name, text in texts.items()
    )
    return _ebml("7373", _ebml("63c0", _ebml("63ca", level.encode())) + b"".join(simple))


def test_levels_of_matroska() -> None:
    """Fails: files from MKVToolNix have no album, or the track has the album's title."""
    made = opus_in("matroska", {"comment": "x" * 1000}).getvalue()
    start = made.rindex(bytes.fromhex("1254c367"))
    width = 9 - made[start + 4].bit_length()
    size = int.from_bytes(made[start + 4 : start + 4 + width]) & ~(1 << 7 * width)
    album = _matroska_tag("ALBUM", TITLE="Homogenic", ARTIST="Björk", DATE_RELEASED="1997-09-22", GENRE="Pop")
    tags = _ebml("1254c367", album + _matroska_tag("TRACK", TITLE="Jóga"))
    room = 4 + width + size - len(tags) - 9
    tags += _ebml("ec", bytes(room))  # void
    found = read_tags(io.BytesIO(made[:start] + tags + made[start + len(tags) :]), "track")
    assert found == Tags("Björk", "Homogenic", "Jóga", 1997, "1997-09-22", "Pop")


@pytest.mark.parametrize("form", [*MUTAGEN, "webm", "adts"])
def test_broken_tags_are_ignored(form: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Fails: a track that plays everywhere becomes a failure because of one byte in its tags."""
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
def test_a_file_that_is_not_audio_has_no_tags(data: bytes) -> None:
    """Fails: reading the tags of a stray file raises, before decoding can name the reason."""
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
    """Fails: reading the tags of a file on S3 downloads all of it."""
    file = Watched(tagged(form, 20).getvalue())
    assert read_tags(file, "track") == EXPECTED
    assert file.n_bytes < 150_000


@pytest.mark.parametrize("form", ["mp3", "wav", "m4a"])
def test_a_store_failure_is_raised(form: str) -> None:
    """Fails: a network fault permanently leaves a track without artist and year."""
    file = Watched(tagged(form).getvalue())
    file.failing = True
    with pytest.raises(ReadError, match="the network is unreachable"):
        read_tags(file, "track")


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["tag bomb.mp3", "tag flood.mp3", "private.mp3", "cover.mp3"])
def test_tag_bombs_are_ignored(name: str) -> None:
    """Fails: a megabyte of tags takes a gigabyte or an hour in a worker or in `earmark scan`."""
    before = private_bytes()
    tags = read_tags(io.BytesIO(LABELED[name]()), "track")
    assert tags.title == {"private.mp3": "Private", "cover.mp3": "Cover"}.get(name)
    assert private_bytes() - before < 150 << 20


def test_bytes_read_for_tags_are_bounded() -> None:
    """Fails: a thousand pictures in a flac are downloaded into memory for the artist's name."""
    source = TagSource(io.BytesIO(bytes(MAX_BYTES + 100)), "track")
    assert len(source.read(MAX_BYTES - 10)) == MAX_BYTES - 10
    source.seek(0)
    assert (len(source.read()), source.read(), source.read(5)) == (10, b"", b"")
