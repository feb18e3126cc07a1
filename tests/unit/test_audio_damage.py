"""Damaged, mislabeled and hostile files: what decodes is used, the rest is one clear error."""

import contextlib
import io
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.audio.decode.audio import read_segments
from pipeline.audio.decode.source import Source
from pipeline.audio.features.featurize import featurize_track
from schemas.errors import DecodeError, EmptyFileError, TooShortError
from schemas.features import FeatureSpec
from tests.encoders import FORMS, encode, noisy_sweeps, sweep

pytestmark = pytest.mark.slow

RATE = 44100
DURATION_S = 12.0  # of `noisy_sweeps`
SPEC = FeatureSpec(segment_s=3.0)


@pytest.fixture
def tracks() -> dict[str, bytes]:
    return noisy_sweeps()


@pytest.fixture(autouse=True)
def silence(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Check that no decoder writes to stderr, which would flood a cluster's logs."""
    yield
    assert capfd.readouterr().err == ""


def read(data: bytes, spec: FeatureSpec = SPEC) -> tuple[float, list[tuple[float, int]]]:
    info, segments = read_segments(io.BytesIO(data), "s3://music/a.mp3", spec)
    for _, y in segments:
        assert np.isfinite(y).all()
    return info.duration_s, [(start_s, len(y)) for start_s, y in segments]


@pytest.mark.parametrize("form", FORMS)
def test_the_audio_of_a_truncated_file_is_used(tracks: dict[str, bytes], form: str) -> None:
    """Fails: interrupted uploads are lost, or their segments are silent or past the end."""
    data = tracks[form]
    duration_s, segments = read(data[: len(data) // 2])
    rate_share = 48000 / RATE if form in ("opus", "webm") else 1.0
    assert 0.25 * DURATION_S / rate_share <= duration_s <= 0.6 * DURATION_S
    assert len(segments) == int(duration_s / SPEC.segment_s)
    for start_s, n_samples in segments:
        assert n_samples == 3 * SPEC.sample_rate
        assert start_s + SPEC.segment_s <= duration_s + 0.11


@pytest.mark.parametrize("form", FORMS)
def test_too_little_audio_is_an_error_with_both_durations(tracks: dict[str, bytes], form: str) -> None:
    """Fails: the user cannot tell a file cut to half a second from one that was never audio."""
    data = tracks[form]
    with pytest.raises((TooShortError, DecodeError)) as caught:
        read(data[: len(data) // 25])
    if isinstance(caught.value, TooShortError):
        assert "0." in str(caught.value)
        assert "1 s that features need" in str(caught.value)
    assert str(caught.value).startswith("s3://music/a.mp3 ")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("damage", ["noise", "zeros"])
def test_damage_in_the_middle_keeps_at_least_what_precedes_it(
    tracks: dict[str, bytes], form: str, damage: str
) -> None:
    """Fails: one bad sector loses the track, hangs the decoder or crashes it."""
    data = bytearray(tracks[form])
    middle = len(data) // 2
    rng = np.random.default_rng(0)
    data[middle : middle + 5000] = rng.bytes(5000) if damage == "noise" else bytes(5000)
    duration_s, segments = read(bytes(data))
    assert duration_s >= 0.25 * DURATION_S
    assert segments


@pytest.mark.parametrize("form", FORMS)
def test_a_corrupt_header_is_the_files_fault(tracks: dict[str, bytes], form: str) -> None:
    """Fails: a broken file crashes its worker, or counts as a store error and is retried every night."""
    chance = random.Random(form)
    for _ in range(25):
        data = bytearray(tracks[form])
        for _ in range(chance.choice((1, 5, 50))):
            data[chance.randrange(2000)] = chance.randrange(256)
        with contextlib.suppress(DecodeError, TooShortError):
            assert featurize_track(io.BytesIO(bytes(data)), "s3://music/a", SPEC).segments


def test_a_seek_outside_the_file_is_not_a_store_error() -> None:
    """Fails: a negative offset in a header counts as a store error and is retried forever."""
    source = Source(io.BytesIO(b"0123456789"), "track", offset=3)
    assert [source.seek(-1), source.seek(-20, io.SEEK_END), source.seek(1 << 70)] == [-1, -1, -1]
    assert (source.seek(2), source.read(3), source.tell(), source.size()) == (2, b"567", 5, 7)
    source.raise_if_failed()


def with_data_length(wav: bytes, length: int) -> bytes:
    """Return `wav` with another length in its data chunk's header."""
    at = wav.index(b"data") + 4
    return wav[:at] + struct.pack("<I", length) + wav[at + 4 :]


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF, 0x7FFFFFFF, 24_000_001], ids=hex)
def test_a_streamed_wav_has_a_wrong_length(tracks: dict[str, bytes], length: int) -> None:
    """Fails: wavs that were written to a pipe, whose header was never completed, cannot be labeled."""
    duration_s, segments = read(with_data_length(tracks["wav"], length))
    assert duration_s == pytest.approx(DURATION_S)
    assert segments == read(tracks["wav"])[1]


def test_a_streamed_flac_has_no_length_or_a_wrong_one(tracks: dict[str, bytes]) -> None:
    """Fails: flacs that were written to a pipe cannot be labeled."""
    flac = tracks["flac"]
    facts = int.from_bytes(flac[18:26])  # the last 36 bits of these are the number of samples
    for n_samples in (0, RATE * 3600):
        data = flac[:18] + (facts >> 36 << 36 | n_samples).to_bytes(8) + flac[26:]
        assert read(data) == read(flac)


def test_a_stream_may_change_its_channels_and_rate() -> None:
    """Fails: recordings of radio streams, made of programs and commercials, end at the first seam."""
    parts = [
        encode(sweep(rate, 4, channels), rate, "adts")
        for rate, channels in ((RATE, 2), (RATE, 1), (48000, 2))
    ]
    duration_s, segments = read(b"".join([*parts, parts[0]]), FeatureSpec(segment_s=11, max_segments=1))
    assert duration_s >= 11
    assert segments[0][1] == 11 * 22050


def id3_block(length: int, claimed: int | None = None) -> bytes:
    """Return an ID3v2.4 tag of `length` padding bytes, or one that claims to have another length."""
    size = length if claimed is None else claimed
    return b"ID3\x04\x00\x00" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) + bytes(length)


@pytest.mark.parametrize("form", ["wav", "aiff", "flac", "mp3", "vorbis", "alac", "adts"])
def test_leading_id3_blocks_are_skipped(tracks: dict[str, bytes], form: str) -> None:
    """Fails: wavs and flacs that a careless tagger touched cannot be labeled."""
    prefixed = read(id3_block(3000) + id3_block(70_000) + tracks[form])
    assert prefixed[1] == read(tracks[form])[1]


def test_tags_alone_are_not_audio() -> None:
    """Fails: the user cannot tell a download that stopped after the cover from one that is broken."""
    with pytest.raises(DecodeError, match="holds tags"):
        read(id3_block(5000) + id3_block(70_000))


@pytest.mark.parametrize("claimed", [100, 0x0FFFFFFF])
def test_an_id3_block_with_a_wrong_length_is_skipped(tracks: dict[str, bytes], claimed: int) -> None:
    """Fails: one wrong number in a tag makes an mp3 undecodable."""
    duration_s, _ = read(id3_block(5000, claimed) + tracks["mp3"])
    assert duration_s == pytest.approx(DURATION_S, abs=0.5)


def test_not_a_number_counts_as_silence() -> None:
    """Fails: one invalid float sample makes a segment's features NaN, or its label arbitrary."""
    y = sweep(RATE, 4, 2)
    clean = y.copy()
    for first, value in ((1000, np.nan), (2000, np.inf), (3000, -np.inf), (4000, 1e30)):
        y[first : first + 100] = value
        clean[first : first + 100] = 0
    spec = FeatureSpec()
    broken = featurize_track(io.BytesIO(encode(y, RATE, "wavfloat")), "track", spec)
    expected = featurize_track(io.BytesIO(encode(clean, RATE, "wavfloat")), "track", spec)
    np.testing.assert_array_equal(broken.segments[0].log_mel, expected.segments[0].log_mel)


NOT_AUDIO = {
    "one byte": b"\x01",
    "random": np.random.default_rng(0).bytes(300_000),
    "wav header only": encode(np.zeros((0, 1), np.float32), RATE, "wav"),
    "flac magic only": b"fLaC" + bytes(300),
    "ogg magic only": b"OggS" + bytes(300),
}


@pytest.mark.parametrize("kind", NOT_AUDIO)
def test_a_file_that_is_not_audio_is_a_decode_error(kind: str) -> None:
    """Fails: a stray file among the music ends the job, or becomes a row without a reason."""
    with pytest.raises(DecodeError, match=r"^s3://music/a.mp3 is not audio .*FFmpeg: ") as caught:
        read(NOT_AUDIO[kind])
    assert len(str(caught.value)) < 250
    assert "0x" not in str(caught.value)  # a file object's address tells nobody anything


@pytest.mark.parametrize("header", ["#EXTM3U\n#EXTINF:10,\nfile://{}\n", "ffconcat version 1.0\nfile {}\n"])
def test_a_playlist_opens_no_other_file(tmp_path: Path, header: str) -> None:
    """Fails: an uploaded "track" makes a worker read other files, or fetch addresses in its network."""
    secret = tmp_path / "secret.wav"
    secret.write_bytes(encode(sweep(RATE, 2), RATE, "wav"))
    with pytest.raises(DecodeError):
        read(header.format(secret).encode())


def test_the_famous_undecodable_file(gtzan: Path) -> None:
    """Fails: GTZAN's well-known jazz.00054.wav becomes noise with a genre."""
    path = gtzan / "audio_corrupt" / "jazz.00054.wav"
    with path.open("rb") as file, pytest.raises(DecodeError, match=r"jazz\.00054\.wav"):
        read_segments(file, str(path), FeatureSpec())


def test_an_empty_file_is_its_own_error() -> None:
    """Fails: users look for a codec problem when an upload wrote nothing."""
    with pytest.raises(EmptyFileError, match="a is empty"):
        read_segments(io.BytesIO(), "a", SPEC)
