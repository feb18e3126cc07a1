"""Writing genres into files of every origin: the audio and all other tags stay, or the file is refused."""

import io
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf
from mutagen.apev2 import APEv2
from mutagen.asf import ASF, ASFByteArrayAttribute
from mutagen.flac import FLAC, Picture
from mutagen.mp4 import MP4
from mutagen.ogg import OggPage
from mutagen.oggvorbis import OggVorbis
from numpy.typing import NDArray

from pipeline.audio.tags.id3 import parse_id3
from pipeline.audio.tags.iff_chunks import read_chunks
from pipeline.audio.tags.mp4_atoms import Mp4Tag, mp4_tags
from pipeline.audio.tags.same_audio import DifferentAudioError, assert_same_audio
from pipeline.audio.tags.tags import read_tags
from pipeline.audio.tags.write_tags import write_tagged
from schemas.errors import EarmarkError
from tests.encoders import encode, sweep
from tests.unit.test_id3 import TAGS
from tests.unit.test_id3 import frame as id3_frame
from tests.unit.test_id3 import tag as id3_tag
from tests.unit.test_tags import QUICKTIME, SPELLINGS, quicktime, spelled, tagged

RATE = 44100
TITLE = id3_frame(4, b"TIT2", b"\3Title")
NOISE = np.random.default_rng(0).normal(0, 0.1, (RATE, 1)).astype(np.float32)


def write(data: bytes, form: str, genre: str = "jazz") -> bytes:
    """Write a genre and return the result; check that the original is unchanged and nothing else is left."""
    with tempfile.TemporaryDirectory() as folder:
        path, target = Path(folder) / f"track.{form}", Path(folder) / "copies" / f"track.{form}"
        path.write_bytes(data)
        try:
            write_tagged(str(path), len(data), target, genre)
        finally:
            assert path.read_bytes() == data
            assert {entry.name for entry in Path(folder).rglob("*.*")} == {path.name}
        written = target.read_bytes()
    assert read_tags(io.BytesIO(written), "track").genre_tag == genre
    return written


def by_ffmpeg(data: bytes) -> NDArray[np.float32]:
    with av.open(io.BytesIO(data), "r", metadata_errors="surrogateescape") as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=-1)


def wav(
    *, data_size: int | None = None, riff_size: int | None = None, after: bytes = b"", n: int = RATE
) -> bytes:
    """Return an 8-bit wav of which the header may state any size, with chunks behind the audio."""
    made = encode(NOISE[:n], RATE, "wav8")
    start = made.index(b"data") + 8
    audio = made[start : start + n]
    head = made[12 : start - 4] + (n if data_size is None else data_size).to_bytes(4, "little")
    body = b"WAVE" + head + audio + after
    return b"RIFF" + (len(body) if riff_size is None else riff_size).to_bytes(4, "little") + body


CUE = b"cue " + struct.pack("<II", 28, 1) + bytes(24)
INFO = b"LIST" + struct.pack("<I", 17) + b"INFOIART\5\0\0\0Bjork\0"
WAVS: dict[str, bytes] = {
    "usual": wav(),
    "of a pipe, as FFmpeg writes it": wav(data_size=0xFFFFFFFF, riff_size=0xFFFFFFFF),
    "of a pipe, as sox writes it": wav(data_size=0x7FFFF000, riff_size=0x7FFFF024),
    "of a recorder that was switched off": wav(data_size=0, riff_size=0),
    "of a size of zero": wav(data_size=0),
    "of a pipe, odd": wav(data_size=0xFFFFFFFF, riff_size=0xFFFFFFFF, n=RATE - 1),
    "cut": wav(data_size=RATE * 60, riff_size=RATE * 60 + 36),
    "with chunks behind": wav(after=CUE + INFO),
    "odd": wav(n=RATE - 1, after=b"\0" + CUE),
    "odd at its end": wav(n=RATE - 1),
    "odd without a pad": wav(n=RATE - 1, after=CUE),
    "with other bytes behind": wav(riff_size=RATE + 36, after=bytes(range(256)) * 5),
    "of 64 bits": encode(NOISE, RATE, "rf64"),
    "of floats": encode(NOISE, RATE, "wavfloat"),
    "with an empty tag": wav(after=b"id3 \0\0\0\0" + CUE),
    "with a tag before": wav(after=b"ID3 " + struct.pack("<I", len(TAGS["2.3"])) + TAGS["2.3"] + CUE),
}


@pytest.mark.parametrize("kind", WAVS)
def test_wavs_of_every_origin(kind: str) -> None:
    """The tag of a wav from a pipe would be noise at its end, and a sampler's loop points would be lost."""
    data = WAVS[kind]
    written = write(data, "wav")
    np.testing.assert_array_equal(by_ffmpeg(written), by_ffmpeg(data))
    decoded, _ = sf.read(io.BytesIO(written))
    expected, _ = sf.read(io.BytesIO(data))
    if len(expected):  # libsndfile takes a size of zero at its word
        np.testing.assert_array_equal(decoded, expected)
    for kept in (CUE, INFO[12:]):
        assert (kept in data) == (kept in written)
    chunks = read_chunks(io.BytesIO(written))
    assert chunks is not None
    assert not chunks.open_ended
    assert chunks.declared_bytes <= len(written)
    assert chunks.id3[0].data_end <= chunks.declared_bytes


@pytest.mark.parametrize("genre", ["jazz", "classical"])
def test_the_genre_of_riff_info_is_changed_too(genre: str) -> None:
    """Players that prefer INFO to ID3, such as those based on FFmpeg, would show the old genre."""
    items = b"".join(
        name + struct.pack("<I", len(text)) + text + bytes(len(text) % 2)
        for name, text in ((b"IART", b"Bjork\0"), (b"IGNR", b"Some\0"), (b"ICMT", b"mine\0"))
    )
    data = wav(after=b"\0LIST" + struct.pack("<I", len(items) + 4) + b"INFO" + items + CUE, n=RATE - 1)
    written = write(data, "wav", genre)
    with av.open(io.BytesIO(written)) as container:
        metadata = dict(container.metadata)
    assert (metadata["genre"], metadata["artist"], metadata["comment"]) == (genre, "Bjork", "mine")
    assert CUE in written
    np.testing.assert_array_equal(sf.read(io.BytesIO(written))[0], sf.read(io.BytesIO(data))[0])


@pytest.mark.parametrize("genre", ["jazz", "classical"])
@pytest.mark.parametrize(
    "items",
    [
        b"ISFT\x0e\0\0\0Lavf59.27.100\0",
        b"",
        b"IART\5\0\0\0Bjork",
        b"IART\5\0\0\0Bjork\0IGNR\3\0\0\0Old",
        b"IART\5\0\0\0Bjork\0IGNR\3\0\0\0Old\0",
    ],
    ids=["of FFmpeg", "empty", "odd at its end", "odd genre at its end", "even"],
)
def test_riff_info_without_a_genre_gets_one(items: bytes, genre: str) -> None:
    """FFmpeg puts its name into each wav it makes, whose players then look nowhere else."""
    info = b"LIST" + struct.pack("<I", len(items) + 4) + b"INFO" + items + bytes(len(items) % 2)
    data = wav(after=info + CUE)
    written = write(data, "wav", genre)
    with av.open(io.BytesIO(written)) as container, av.open(io.BytesIO(data)) as original:
        assert container.metadata == original.metadata | {"genre": genre}
    assert CUE in written
    assert write(written, "wav", genre) == written
    np.testing.assert_array_equal(sf.read(io.BytesIO(written))[0], sf.read(io.BytesIO(data))[0])


def test_the_genre_of_a_second_id3_chunk_is_changed_too() -> None:
    """FFmpeg lets the last one win: its players would show the old genre."""
    id3 = id3_tag(4, id3_frame(4, b"TCON", b"\3Pop") + TITLE)
    chunks = b"".join(
        name + struct.pack("<I", len(id3)) + id3 + bytes(len(id3) % 2) for name in (b"id3 ", b"ID3 ")
    )
    with av.open(io.BytesIO(write(wav(after=chunks), "wav"))) as container:
        assert (container.metadata["genre"], container.metadata["title"]) == ("jazz", "Title")


def test_aiffs(tmp_path: Path) -> None:
    """A tag in an aiff of odd chunks, or of compressed sound, would be where no program looks for it."""
    aiff = encode(NOISE[: RATE - 1], RATE, "aiff")
    odd = b"ANNO\0\0\0\3abc\0" + b"APPL\0\0\0\4test"
    with_chunks = aiff[:4] + (len(aiff) - 8 + len(odd)).to_bytes(4) + aiff[8:] + odd
    compressed = tmp_path / "a.aifc"
    with sf.SoundFile(compressed, "w", RATE, 1, subtype="ULAW", format="AIFF") as sound:
        sound.write(NOISE)
    for data in (aiff, with_chunks, compressed.read_bytes()):
        written = write(data, "aiff")
        np.testing.assert_array_equal(sf.read(io.BytesIO(written))[0], sf.read(io.BytesIO(data))[0])
        assert (odd in data) == (odd in written)


FRAGMENTS = {
    "of absolute offsets": "frag_keyframe+empty_moov",
    "of relative offsets": "frag_keyframe+empty_moov+default_base_moof",
    "with an index": "dash+frag_keyframe+empty_moov+global_sidx",
    "behind a whole beginning": "frag_keyframe",
}


@pytest.mark.parametrize("kind", FRAGMENTS)
def test_fragmented_m4a(kind: str) -> None:
    """A recording would lose all of its sound to a genre, under exit code 0."""
    data = encode(sweep(RATE, 8), RATE, "m4a", movflags=FRAGMENTS[kind], frag_duration="1000000")
    assert data.count(b"moof") > 2
    with pytest.raises(EarmarkError, match="fragmented"):
        write(data, "m4a")
    if kind == "of relative offsets":  # where mutagen makes room without harm
        file = io.BytesIO(data)
        roomy = MP4(file)
        roomy["\xa9nam"] = "Title"
        file.seek(0)
        roomy.save(file, padding=lambda _: 2000)
        written = write(file.getvalue(), "m4a")
        assert len(written) == len(file.getvalue())
        np.testing.assert_array_equal(by_ffmpeg(written), by_ffmpeg(data))


def _data_atom(kind: int, content: bytes) -> bytes:
    return (16 + len(content)).to_bytes(4) + b"data" + kind.to_bytes(4) + bytes(4) + content


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}])
def test_other_atoms_of_m4a_stay_as_they_are(options: dict[str, str]) -> None:
    """Numbers in another width than mutagen's, covers, and texts that are no UTF-8 would be rendered anew."""
    file = io.BytesIO(encode(NOISE, RATE, "m4a", **options))
    track = MP4(file)
    if track.tags is None:
        track.add_tags()
    track.tags.clear()
    track.tags._failed_atoms = {
        "gnre": [_data_atom(0, b"\0\x12")],
        "disk": [_data_atom(0, b"\0\0\0\1\0\2\0\0")],
        "stik": [_data_atom(21, b"\0\0\0\1")],
        "covr": [_data_atom(13, bytes(200_000)) + _data_atom(14, b"png")],
        "\xa9cmt": [_data_atom(1, b"\xff no UTF-8")],
        "abcd": [b"no data atom"],
    }
    track["\xa9ART"] = ["A", "B"]
    file.seek(0)
    track.save(file)
    data = file.getvalue()
    written = write(data, "m4a", "jazz ✓")
    np.testing.assert_array_equal(by_ffmpeg(written), by_ffmpeg(data))
    others = [[tag for tag in _tags(d) if tag.name not in (b"\xa9gen", b"gnre")] for d in (data, written)]
    assert sorted(others[0], key=repr) == sorted(others[1], key=repr)
    assert len(others[1]) >= 6
    assert MP4(io.BytesIO(written))["\xa9gen"] == ["jazz ✓"]


def _tags(data: bytes) -> list[Mp4Tag]:
    return list(mp4_tags(io.BytesIO(data)))


@pytest.mark.parametrize("kind", TAGS)
def test_mp3s_of_every_id3(kind: str) -> None:
    """A packed cover of a megabyte, or a frame of many strings, would be gone when a genre is written."""
    data = TAGS[kind] + encode(NOISE, RATE, "mp3")
    written = write(data, "mp3")
    before, after = parse_id3(data), parse_id3(written)
    assert after.version == before.version
    assert [f for f in after.frames if after.name(f) != "TCON"] == [
        f for f in before.frames if before.name(f) != "TCON"
    ]
    assert written[after.n_bytes :] == data[before.n_bytes :]


@pytest.mark.parametrize("kind", ["an mp3", *SPELLINGS])
def test_a_genre_in_a_field_of_a_tagger_does_not_hide_the_new_one(kind: str) -> None:
    """Every file with such a field would be refused, or players of FFmpeg would show the old genre."""
    if kind == "an mp3":
        texts = ((b"TCON", b"Pop"), (b"TXXX", b"genre\0Blues"), (b"TXXX", b"Band\0Bj\xf6rk"))
        id3 = id3_tag(3, b"".join(id3_frame(3, name, b"\0" + text) for name, text in texts))
        form, data = "mp3", id3 + encode(sweep(RATE, 1), RATE, "mp3")
    else:
        form, data = SPELLINGS[kind][0], spelled(kind).getvalue()
    assert read_tags(io.BytesIO(data), "track").genre_tag == "Pop"
    written = write(data, form)
    assert read_tags(io.BytesIO(written), "track").artist == "Björk"
    with av.open(io.BytesIO(written)) as container:
        found = container.streams.audio[0].metadata | container.metadata
    assert {text for name, text in found.items() if name.lower() == "genre"} == {"jazz"}


def test_a_wma_with_a_large_cover_keeps_it() -> None:
    """Covers of more than 64 KiB are usual, and every wma with one would be refused."""
    file = tagged("wma")
    track = ASF(file)
    track["WM/Picture"] = [ASFByteArrayAttribute(bytes(100_000), language=0, stream=1)]
    file.seek(0)
    track.save(file)
    picture = ASF(io.BytesIO(write(file.getvalue(), "wma")))["WM/Picture"][0]
    assert (picture.value, picture.stream) == (bytes(100_000), 1)


@pytest.mark.parametrize("kind", QUICKTIME)
def test_a_genre_that_would_hide_other_tags_is_refused(kind: str) -> None:
    """Programs that find tags of iTunes ignore those of QuickTime: artist and title would be gone."""
    with pytest.raises(EarmarkError, match="would hide the other tags"):
        write(quicktime(kind).getvalue(), "mov")


def test_a_damaged_id3_is_refused() -> None:
    """What follows the damage in a tag would be dropped, to the last cover."""
    body = parse_id3(TAGS["2.4"]).frames[0] + b"no frame at all"
    tag = b"ID3\4\0\0\0\0\0" + bytes([len(body)]) + body
    with pytest.raises(EarmarkError, match="ID3 tag is damaged"):
        write(tag + encode(NOISE, RATE, "mp3"), "mp3")


def test_tags_at_the_end_of_an_mp3(tmp_path: Path) -> None:
    """Players that prefer APEv2 or ID3v1 would show the old genre; covers there would be gone."""
    path = tmp_path / "a.mp3"
    path.write_bytes(encode(NOISE, RATE, "mp3"))
    ape = APEv2()
    ape["Artist"], ape["Genre"], ape["Cover Art (front)"] = "Björk", "Some old genre", bytes(range(256))
    ape.save(path)
    id3v1 = (
        b"TAG" + b"Title".ljust(30, b"\0") + bytes(60) + b"1997" + b"comment".ljust(28, b"\0") + b"\0\5\x11"
    )
    path.write_bytes(written := write(path.read_bytes() + id3v1, "mp3"))
    after = APEv2(path)
    assert (str(after["Artist"]), str(after["Genre"])) == ("Björk", "jazz")
    assert after["Cover Art (front)"].value == bytes(range(256))
    assert written[-128:] == id3v1[:-1] + b"\x08", "ID3v1 knows jazz by its number"
    tags = read_tags(io.BytesIO(written), "track")
    assert (tags.artist, tags.title, tags.year, tags.genre_tag) == ("Björk", "Title", 1997, "jazz")
    assert not written.startswith(b"ID3"), "programs that find ID3v2 would ignore the cover in APEv2"
    assert write(encode(NOISE, RATE, "mp3") + id3v1, "mp3", "hiphop")[-1] == 7
    assert write(encode(NOISE, RATE, "mp3") + id3v1, "mp3", "no such genre")[-1] == 255


LYRICS = b"LYRICSBEGININD00003110LYR00005Hello"
LYRICS += b"%06dLYRICS200" % len(LYRICS)
ID3V1 = b"TAG" + b"Title".ljust(30, b"\0") + bytes(94) + b"\x11"


def test_an_mp3_with_lyrics_at_its_end() -> None:
    """Files from players that keep Lyrics3 before ID3v1 would be refused, as if their audio changed."""
    written = write(encode(NOISE, RATE, "mp3") + LYRICS + ID3V1, "mp3")
    assert written.endswith(LYRICS + ID3V1[:-1] + b"\x08")


def ape(*, has_header: bool = True) -> bytes:
    file = io.BytesIO()
    tag = APEv2()
    tag["Artist"], tag["Genre"], tag["Composer"] = "Björk", "Pop", "Sjón"
    tag.save(file)
    return file.getvalue()[0 if has_header else 32 :]


@pytest.mark.parametrize("kind", ["before lyrics", "before old lyrics", "after lyrics", "without a header"])
def test_an_apev2_beside_other_tags_at_the_end_gets_its_genre(kind: str) -> None:
    """The old genre would stay in it, or the file would be refused as if its audio changed."""
    end = {
        "before lyrics": ape() + LYRICS + ID3V1,
        "before old lyrics": ape() + b"LYRICSBEGINHelloLYRICSEND" + ID3V1,
        "after lyrics": LYRICS + ape() + ID3V1,
        "without a header": ape(has_header=False),
    }[kind]
    audio = encode(NOISE, RATE, "mp3")
    tags = read_tags(io.BytesIO(audio + end), "track")
    assert (tags.artist, tags.genre_tag) == ("Björk", "Pop")
    written = write(audio + end, "mp3")
    assert written.startswith(audio)
    after = APEv2(io.BytesIO(written[: written.rindex(b"APETAGEX") + 32]))
    assert (after["Genre"], after["Composer"]) == ("jazz", "Sjón")


def test_the_genre_of_a_second_id3_is_changed_too() -> None:
    """Players that let the last tag win, such as those built on libmpg123, would show the old genre."""
    first, second = (id3_tag(4, id3_frame(4, b"TCON", b"\3Pop") + title) for title in (b"", TITLE))
    written = write(first + second + encode(NOISE, RATE, "mp3"), "mp3")
    rest = parse_id3(written[parse_id3(written).n_bytes :])
    assert rest.texts(frozenset({"TCON", "TIT2"})) == {"TCON": ["jazz"], "TIT2": ["Title"]}


def test_an_id3v2_at_the_end_is_refused() -> None:
    """A new tag at the start would hide it from programs that look at the end only without one."""
    tag = id3_tag(4, TITLE)
    footer = bytes([*tag[3:5], 0x10]) + tag[6:10]
    with pytest.raises(EarmarkError, match="ID3v2 tag is at its end"):
        write(encode(NOISE, RATE, "mp3") + b"ID3" + footer + tag[10:] + b"3DI" + footer + ID3V1, "mp3")


def test_speex(tmp_path: Path) -> None:
    """Recordings of speech and radio in Speex, whose tags are read, could not be written."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("the command ffmpeg, whose library here has no Speex encoder, is not installed")
    wav, out = tmp_path / "noise.wav", tmp_path / "noise.spx"
    wav.write_bytes(encode(NOISE, RATE, "wav"))
    command: list[str | Path] = ["ffmpeg", "-v", "error", "-i", wav, "-ar", "32000", out]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    data = out.read_bytes()
    written = write(write(data, "spx", "rock"), "spx")
    np.testing.assert_array_equal(by_ffmpeg(written), by_ffmpeg(data))


def test_an_mp3_with_apev2_alone_gets_its_genre_there(tmp_path: Path) -> None:
    """With a new ID3v2 beside it, players would show neither track number nor album artist nor composer."""
    path = tmp_path / "a.mp3"
    path.write_bytes(encode(NOISE, RATE, "mp3"))
    ape = APEv2()
    ape["Title"], ape["Track"], ape["Album Artist"], ape["Composer"] = "Sång", "3/12", "Various", "Anon"
    ape.save(path)
    before = path.read_bytes()
    path.write_bytes(written := write(before, "mp3"))
    assert not written.startswith(b"ID3")
    assert dict(APEv2(path)) == {**ape, "Genre": "jazz"}
    assert read_tags(io.BytesIO(written), "track") == replace(
        read_tags(io.BytesIO(before), "track"), genre_tag="jazz"
    )
    assert write(written, "mp3", "blues").count(b"blues") == 1


def test_an_apev2_of_loudness_alone_is_kept_beside_a_new_id3(tmp_path: Path) -> None:
    """It is what mp3gain leaves in files that have ID3v1 at most: no program looks for a genre there.

    This one is so long that ``TAG`` of its header stands where ID3v1 would begin.
    """
    path = tmp_path / "a.mp3"
    path.write_bytes(encode(NOISE, RATE, "mp3"))
    ape = APEv2()
    ape["MP3GAIN_MINMAX"], ape["REPLAYGAIN_TRACK_GAIN"] = "089,179", "-3.2 dB"
    ape.save(path)
    before = path.read_bytes()
    assert before[-131:].startswith(b"APETAG")
    assert read_tags(io.BytesIO(before), "track").title is None
    written = write(before, "mp3")
    assert written.startswith(b"ID3")
    assert written.endswith(before)


def test_flacs(tmp_path: Path) -> None:
    """Blocks that nobody knows, and comments in another encoding, would be gone or changed."""
    plain = encode(NOISE, RATE, "flac")
    old = len(b"test").to_bytes(4, "little") + b"test" + struct.pack("<I", 2)
    for entry in (b"TITLE=\xff\xfe", b"genre=Rock"):
        old += struct.pack("<I", len(entry)) + entry
    application = b"\2\0\0\x08testdata"
    odd = plain[:4] + b"\0" + plain[5:42] + b"\4" + len(old).to_bytes(3) + old + application
    odd += b"\x81\0\0\0" + plain[_audio_start(plain) :]
    for data in (plain, odd, TAGS["2.3"] + odd):
        written = write(data, "flac")
        assert written[_audio_start(written) :] == data[_audio_start(data) :]
        assert (application in data) == (application in written)
        assert (b"TITLE=\xff\xfe" in data) == (b"TITLE=\xff\xfe" in written)
        assert b"Rock" not in written
    again = write(written, "flac", "pop")
    assert len(again) == len(written), "there is room for the next genre"
    with pytest.raises(EarmarkError, match=r"track\.flac"):
        write(plain[:42], "flac")


def _audio_start(data: bytes) -> int:
    position = data.index(b"fLaC") + 4
    while True:
        is_last = data[position] & 0x80
        position += 4 + int.from_bytes(data[position + 1 : position + 4])
        if is_last:
            return position


def test_a_chained_ogg_keeps_its_links() -> None:
    """All songs of a recorded stream except the first would be lost."""
    one, two = (encode(sweep(RATE, seconds), RATE, "vorbis") for seconds in (1, 2))
    written = write(one + two, "ogg")
    assert written.endswith(two[-2000:])
    np.testing.assert_array_equal(by_ffmpeg(written), by_ffmpeg(one + two))


def test_comments_that_mutagen_would_change_are_refused() -> None:
    """An ogg of the nineties would lose the letters of its titles to question marks."""
    file = io.BytesIO(encode(NOISE, RATE, "vorbis"))
    track = OggVorbis(file)
    track["title"] = "Bj__rk"
    file.seek(0)
    track.save(file)
    file = io.BytesIO(file.getvalue().replace(b"Bj__rk", b"Bj\xf6\xf6rk"))
    size, pages = len(file.getvalue()), []
    while file.tell() < size:
        pages.append(OggPage(file).write())  # with the checksum set right
    with pytest.raises(EarmarkError, match="other tags would change"):
        write(b"".join(pages), "ogg")


@pytest.mark.parametrize("form", ["wav", "flac", "mp3", "m4a", "vorbis", "wma"])
def test_different_audio_is_detected(form: str, tmp_path: Path) -> None:
    """If a library damaged a file, the original would be replaced all the same."""
    data = tagged(form).getvalue()
    original, copy = tmp_path / "a", tmp_path / "b"
    original.write_bytes(data)
    copy.write_bytes(data)
    assert_same_audio(original, copy)
    damage: list[Callable[[bytes], bytes]] = [
        lambda d: d[: len(d) * 3 // 4],
        lambda d: (
            d[: len(d) // 2]
            + bytes(byte ^ 0x55 for byte in d[len(d) // 2 : len(d) // 2 + 200])
            + d[len(d) // 2 + 200 :]
        ),
        lambda _: encode(NOISE[: RATE // 2], RATE, form),
        lambda _: b"no audio",
    ]
    for damaged in damage:
        copy.write_bytes(damaged(data))
        with pytest.raises(DifferentAudioError):
            assert_same_audio(original, copy)


def test_a_flac_of_pictures_keeps_them() -> None:
    """An album's booklet would be lost."""
    file = tagged("flac")
    track = FLAC(file)
    for number in range(3):
        picture = Picture()
        picture.data, picture.mime, picture.desc = bytes([number]) * 50_000, "image/png", str(number)
        track.add_picture(picture)
    file.seek(0)
    track.save(file)
    after = FLAC(io.BytesIO(write(file.getvalue(), "flac")))
    assert [picture.write() for picture in after.pictures] == [picture.write() for picture in track.pictures]
