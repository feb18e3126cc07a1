"""Tracks of several streams one after the other: all of them play, as one recording at one rate."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.audio.decode import ogg
from pipeline.audio.decode.audio import read_segments
from pipeline.audio.decode.flac import flac_links
from pipeline.audio.decode.ogg import ogg_links
from pipeline.audio.decode.source import Source
from schemas.features import FeatureSpec
from tests.encoders import encode, sweep
from tests.matrix import each_value_once
from tests.whole_audio import open_audio

pytestmark = pytest.mark.slow

Link = tuple[str, int, int, float, float]
"""Form, rate, channels, seconds and the frequency of its tone."""


def tone(link: Link) -> bytes:
    """Return a tone in noise, which is never digital silence and gives frames of usual sizes."""
    form, rate, channels, duration_s, hertz = link
    t = np.arange(round(rate * duration_s)) / rate
    y = 0.4 * np.sin(2 * np.pi * hertz * t)[:, np.newaxis].repeat(channels, axis=1)
    y += np.random.default_rng(round(hertz)).normal(0, 0.01, y.shape)
    return encode(y.astype(np.float32), rate, form)


def loudest_hertz(y: NDArray[np.float32], rate: int) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(y * np.hanning(len(y))))) * rate / len(y))


def check(data: bytes, links: list[Link], *, padding_s: float = 0.005) -> None:
    """Hold that all links play, at their places and level, and that excerpts are slices of the whole."""
    with open_audio(io.BytesIO(data), "radio") as audio:
        rate = audio.info.sample_rate
        whole = audio.read(0, 10_000)
        total_s = sum(duration_s for _, _, _, duration_s, _ in links)
        assert audio.info.duration_s == pytest.approx(total_s, abs=padding_s * len(links))
        assert len(whole) / rate == pytest.approx(total_s, abs=padding_s * len(links))
        start_s = 0.0
        for _, _, _, duration_s, hertz in links:
            excerpt = audio.read(start_s + 0.3 * duration_s, 0.4 * duration_s)
            assert loudest_hertz(excerpt, rate) == pytest.approx(hertz, abs=5)
            assert 0.25 < np.std(excerpt) < 0.31
            start_s += duration_s
        for place in np.random.default_rng(0).integers(0, len(whole) - rate // 2, 8):
            expected = whole[place : place + round(0.3 * rate)]
            tolerance = 0.05 if "adts" in {link[0] for link in links} else 2e-4
            np.testing.assert_allclose(
                audio.read(place / rate, 0.3), expected, atol=tolerance, err_msg=str(place)
            )
    info, segments = read_segments(io.BytesIO(data), "radio", FeatureSpec(segment_s=2.0))
    assert info.duration_s == pytest.approx(total_s, abs=padding_s * len(links))
    assert all(len(y) == 2 * 22050 for _, y in segments)


CHAINS: dict[str, list[Link]] = {
    "ident and music": [("vorbis", 44100, 2, 3.0, 500.0), ("vorbis", 44100, 2, 9.0, 1000.0)],
    "three of Opus": [("opus", 48000, 2, 3.0 + n, 400.0 + 300 * n) for n in range(3)],
    "three of flac": [("oggflac", 44100, 2, 3.0 + n, 400.0 + 300 * n) for n in range(3)],
    "another rate": [("vorbis", 22050, 1, 2.0, 500.0), ("vorbis", 44100, 2, 8.0, 1000.0)],
    "back and forth": [
        ("vorbis", 44100, 2, 4.0, 400.0),
        ("vorbis", 48000, 1, 3.0, 600.0),
        ("vorbis", 44100, 1, 4.0, 800.0),
        ("vorbis", 32000, 2, 3.0, 1000.0),
    ],
    "another codec": [
        ("vorbis", 44100, 2, 3.0, 500.0),
        ("opus", 48000, 2, 7.0, 700.0),
        ("oggflac", 44100, 1, 3.0, 900.0),
    ],
    "fifty": [("vorbis", 44100, 1 + n % 2, 1.5, 300.0 + 40 * n) for n in range(50)],
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_chained_ogg_plays_link_by_link(name: str) -> None:
    """Fails: recordings of internet radio are labeled on noise, or on the station's ident alone."""
    check(b"".join(map(tone, CHAINS[name])), CHAINS[name])


@pytest.mark.parametrize("name", ["ident and music", "another codec"])
def test_a_large_chained_ogg_is_found_by_probes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails: a day of radio is taken for its first title."""
    monkeypatch.setattr(ogg, "SCANNED_BYTES", 0)
    check(b"".join(map(tone, CHAINS[name])), CHAINS[name])


def test_the_same_stream_twice_is_a_chain() -> None:
    """Fails: two titles by an encoder that numbers all streams alike are taken for one."""
    link: Link = ("vorbis", 44100, 2, 4.0, 700.0)
    check(tone(link) * 2, [link, link])


@pytest.mark.parametrize("form", ["vorbis", "opus", "oggflac"])
def test_a_recording_may_begin_amid_a_title(form: str) -> None:
    """Fails: what was recorded after the first change of title is lost with what was before it."""
    rate = 48000 if form == "opus" else 44100
    first, second = tone((form, rate, 2, 5.0, 500.0)), tone((form, rate, 2, 6.0, 900.0))
    page = first.index(b"OggS", len(first) // 2)
    for cut in (page, page + 1000):
        check(first[cut:] + second, [(form, rate, 2, 6.0, 900.0)])


def test_streams_side_by_side_are_one_link() -> None:
    """Fails: a film's sound is cut into a chain of its streams, or counted twice."""
    pages = [page for page in tone(("vorbis", 44100, 2, 6.0, 500.0)).split(b"OggS") if page]
    others = [page for page in tone(("opus", 48000, 2, 6.0, 500.0)).split(b"OggS") if page]
    mixed = b"".join(b"OggS" + page for pair in zip(pages, others, strict=False) for page in pair)
    assert ogg_links(Source(io.BytesIO(mixed), "film")) == [(0, len(mixed))]


class Counting(io.BytesIO):
    """A file that counts the bytes read from it."""

    n_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.n_bytes += len(data)
        return data


def test_little_is_read_of_a_large_ogg_of_one_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails: for three excerpts of a long set on S3 all of it is downloaded."""
    monkeypatch.setattr(ogg, "SCANNED_BYTES", 1 << 20)
    rng = np.random.default_rng(0)
    data = encode(rng.normal(0, 0.2, (300 * 44100, 2)).astype(np.float32), 44100, "vorbis")
    file = Counting(data)
    assert len(data) > 4 << 20
    assert ogg_links(Source(file, "set")) == [(0, len(data))]
    assert file.n_bytes < 0.6 * len(data)


FLACS: dict[str, list[Link]] = {
    "ident and music": [("flac", 44100, 2, 2.0, 500.0), ("flac", 44100, 2, 7.0, 1000.0)],
    "another rate": [("flac", 22050, 1, 2.0, 500.0), ("flac", 44100, 2, 8.0, 1000.0)],
    "the same ident twice": [
        ("flac", 44100, 1, 2.0, 500.0),
        ("flac24", 48000, 2, 8.0, 700.0),
        ("flac", 44100, 1, 2.0, 500.0),
    ],
    "equal lengths": [("flac", 44100, 2, 5.0, 500.0), ("flac", 44100, 2, 5.0, 900.0)],
}


@pytest.mark.parametrize(
    ("name", "between"),
    each_value_once(list(FLACS), [b"", b"ID3\x04\0\0\0\0\x0f\x76" + bytes(0xF << 7 | 0x76)]),
)
def test_flacs_that_were_concatenated_all_play(name: str, between: bytes) -> None:
    """Fails: of a recording that was saved piece by piece, the first piece alone is labeled."""
    check(between.join(map(tone, FLACS[name])), FLACS[name])


def test_of_an_ordinary_flac_little_is_read() -> None:
    """Fails: for three excerpts of a long flac on S3 all of it is downloaded."""
    data = tone(("flac", 44100, 2, 60.0, 500.0))
    file = Counting(data)
    assert flac_links(Source(file, "set")) == []
    assert len(data) > 4 << 20
    assert file.n_bytes < 300_000


def test_every_flac_of_a_real_catalog_is_ordinary(gtzan: Path) -> None:
    """Fails: a flac by some encoder is searched from end to end, or cut."""
    for path in sorted(gtzan.glob("audio/*/*.flac")):
        with path.open("rb") as file:
            counting = Counting(file.read())
        assert flac_links(Source(counting, path.name)) == []
        assert counting.n_bytes < 300_000


@pytest.mark.parametrize("name", ["ident and music", "back and forth"])
def test_a_damaged_link_costs_no_other(name: str) -> None:
    """Fails: one lost packet of a recording loses the titles after it, or moves them."""
    links = CHAINS[name]
    files = [bytearray(tone(link)) for link in links]
    middle = len(files[0]) // 2
    files[0][middle : middle + 3000] = bytes(3000)
    with open_audio(io.BytesIO(b"".join(files)), "radio") as audio:
        start_s = 0.0
        for number, (_, _, _, duration_s, hertz) in enumerate(links):
            if number:
                excerpt = audio.read(start_s + 0.3, duration_s - 0.6)
                assert loudest_hertz(excerpt, audio.info.sample_rate) == pytest.approx(hertz, abs=5)
            start_s += duration_s
    assert read_segments(io.BytesIO(b"".join(files)), "radio", FeatureSpec(segment_s=2.0))[1]


GLUED: dict[str, list[Link]] = {
    "mp3: ident and music": [("mp3", 22050, 1, 3.0, 500.0), ("mp3", 44100, 2, 9.0, 1000.0)],
    "mp3: music and ident": [("mp3", 44100, 2, 9.0, 1000.0), ("mp3", 22050, 1, 3.0, 500.0)],
    "mp3: one after the other": [("mp3", 44100, 2, 6.0, 500.0), ("mp3", 44100, 2, 6.0, 900.0)],
    "mp3: other channels": [("mp3", 44100, 1, 4.0, 500.0), ("mp3", 44100, 2, 6.0, 900.0)],
    "mp3: four rates": [
        ("mp3", rate, 2, 4.0, 500.0 + n * 100) for n, rate in enumerate((48000, 44100, 32000, 44100))
    ],
    "adts: ident and music": [("adts", 22050, 1, 3.0, 500.0), ("adts", 44100, 2, 9.0, 1000.0)],
    "adts: three": [
        ("adts", 44100, 2, 6.0, 500.0),
        ("adts", 48000, 2, 3.0, 800.0),
        ("adts", 44100, 1, 4.0, 1000.0),
    ],
    "mp2": [("mp2", 32000, 1, 3.0, 500.0), ("mp2", 48000, 2, 6.0, 900.0)],
}


@pytest.mark.parametrize(("name", "tagged"), each_value_once(list(GLUED), [False, True]))
def test_files_glued_with_cat_play_one_after_the_other(name: str, tagged: bool) -> None:
    """Fails: a station's recordings are labeled on the ident in front, and the music is dropped."""
    between = b"ID3\x04\x00\x00\x00\x00\x10\x00" + bytes(2048) if tagged else b""
    # Encoders pad each file by a frame or two, and say so in a frame of their own.
    check(between.join(map(tone, GLUED[name])), GLUED[name], padding_s=0.14)


def without_xing(mp3: bytes) -> bytes:
    """Return `mp3` without the count of its frames."""
    return mp3.replace(b"Xing", b"\0\0\0\0", 1).replace(b"Info", b"\0\0\0\0", 1)


@pytest.mark.parametrize("name", [name for name in GLUED if name.startswith("mp3")])
def test_glued_files_may_have_no_count_of_frames(name: str) -> None:
    """Fails: the same, for the output of encoders that stream."""
    check(b"".join(without_xing(tone(link)) for link in GLUED[name]), GLUED[name], padding_s=0.14)


def test_an_mp3_of_many_bitrates_without_a_count_has_its_length() -> None:
    """Fails: segments of such a file are placed by the bitrate of its first frames, minutes off."""
    quiet = np.zeros((20 * 44100, 2), np.float32)
    data = without_xing(encode(np.concatenate([quiet, sweep(44100, 20.0, 2)]), 44100, "mp3"))
    info, _ = read_segments(io.BytesIO(data), "vbr", FeatureSpec(segment_s=2.0))
    assert info.duration_s == pytest.approx(40.0, abs=0.15)


def test_an_mp3_ends_where_its_tags_begin() -> None:
    """Fails: the tags at the end of each mp3 in the world make all of it be read."""
    data = encode(sweep(44100, 60.0, 2), 44100, "mp3")
    file = Counting(data + b"APETAGEX" + bytes(30_000) + b"TAG" + bytes(125))
    with open_audio(file, "tagged") as audio:
        assert audio.info.duration_s == pytest.approx(60.0, abs=0.01)
    assert file.n_bytes < 0.6 * len(data)
