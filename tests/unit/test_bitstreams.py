"""DTS, AC-3, MPEG audio and AAC stored as PCM are decoded, and PCM is never mistaken for them."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from pipeline.audio.decode.audio import read_segments
from pipeline.audio.decode.bitstreams import find_packing
from pipeline.audio.decode.elementary import find_stream
from schemas.errors import DecodeError
from schemas.features import FeatureSpec
from tests.encoders import encode
from tests.matrix import each_value_once
from tests.unit.test_joined_streams import loudest_hertz
from tests.whole_audio import open_audio

pytestmark = pytest.mark.slow

SECONDS = 12
HERTZ = 700.0
SPEC = FeatureSpec(segment_s=3.0)


def tone(rate: int) -> NDArray[np.float32]:
    t = np.arange(rate * SECONDS) / rate
    y = 0.4 * np.sin(2 * np.pi * HERTZ * t)[:, np.newaxis].repeat(2, axis=1)
    return (y + np.random.default_rng(0).normal(0, 0.005, y.shape)).astype(np.float32)


def encode_dts(y: NDArray[np.float32], rate: int, tmp_path: Path, *options: str) -> bytes:
    """Return DTS as its encoder writes it: 16-bit words, high byte first."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("the command ffmpeg, whose library here has no DTS encoder, is not installed")
    wav, out = tmp_path / "tone.wav", tmp_path / "tone.dts"
    wav.write_bytes(encode(y, rate, "wav"))
    encoder = ["-c:a", "dca", "-strict", "-2", *options]
    subprocess.run(["ffmpeg", "-v", "error", "-i", wav, *encoder, out], check=True, stdin=subprocess.DEVNULL)
    return out.read_bytes()


def dts(tmp_path: Path, *options: str) -> bytes:
    """Return the tone as DTS."""
    return encode_dts(tone(44100), 44100, tmp_path, *options)


def swapped(data: bytes) -> bytes:
    return np.frombuffer(data[: len(data) // 2 * 2], ">i2").astype("<i2").tobytes()


def in_14_bits(data: bytes) -> bytes:
    """Return DTS as on CDs: 14 bits in each sign-extended word."""
    words = []
    for frame in data.split(b"\x7f\xfe\x80\x01")[1:]:
        bits = np.unpackbits(np.frombuffer(b"\x7f\xfe\x80\x01" + frame, np.uint8))
        groups = np.pad(bits, (0, -len(bits) % 28)).reshape(-1, 14)
        values = groups @ (1 << np.arange(13, -1, -1))
        words.append(np.where(values >= 1 << 13, values - (1 << 14), values))
    return np.concatenate(words).astype("<i2").tobytes()


def as_pcm(words: bytes, rate: int, form: str = "WAV", subtype: str = "PCM_16", channels: int = 2) -> bytes:
    """Return a file whose samples are these words."""
    file = io.BytesIO()
    y = np.frombuffer(words[: len(words) // 4 * 4], "<i2").reshape(-1, channels)
    with sf.SoundFile(file, "w", rate, channels, subtype=subtype, format=form) as sound:
        sound.write(y)
    return file.getvalue()


def check(data: bytes, codec: str, *, duration_s: float = SECONDS, lead_s: float = 0.0) -> None:
    with open_audio(io.BytesIO(data), "cd.wav") as audio:
        rate = audio.info.sample_rate
        assert audio.info.codec == codec
        assert audio.info.duration_s == pytest.approx(duration_s, abs=0.06)
        whole = audio.read(0, 100)
        assert len(whole) / rate == pytest.approx(duration_s, abs=0.1)
        music = whole[round((lead_s + 0.5) * rate) : round((duration_s - 0.5) * rate)]
        assert loudest_hertz(music, rate) == pytest.approx(HERTZ, abs=2)
        assert np.std(music) == pytest.approx(0.283, abs=0.02)
        for place in np.random.default_rng(1).integers(0, len(whole) - rate, 12):
            excerpt = audio.read(place / rate, 0.4)
            # AC-3 and AAC leave noise to the decoder to make up.
            tolerance = 0.02 if codec in ("ac3", "eac3", "aac", "aac_latm") else 1e-4
            np.testing.assert_allclose(excerpt, whole[place : place + len(excerpt)], atol=tolerance)
    info, segments = read_segments(io.BytesIO(data), "cd.wav", SPEC)
    assert info.codec == codec
    assert [len(y) for _, y in segments] == [3 * 22050] * 3


@pytest.mark.parametrize(
    ("order", "form"),
    each_value_once(["as it is", "swapped", "14 bits", "14 bits swapped"], ["WAV", "FLAC", "AIFF"]),
)
def test_a_dts_cd_is_decoded(tmp_path: Path, form: str, order: str) -> None:
    """Fails: rips of DTS CDs, which are noise as PCM, are labeled metal with high confidence."""
    data = dts(tmp_path, "-b:a", "1411200" if "14" not in order else "1234800")
    if "14" in order:
        words = in_14_bits(data)
        words = swapped(words) if "swapped" in order else words
    else:
        words = swapped(data) if order == "swapped" else data
    check(as_pcm(words, 44100, form), "dts")


def test_dts_of_a_lower_bitrate_plays_longer_than_its_pcm(tmp_path: Path) -> None:
    """Fails: a DTS file with a wav header is truncated, or its excerpts are misplaced."""
    data = dts(tmp_path, "-b:a", "768000")
    check(as_pcm(data, 44100), "dts")


def test_dts_may_begin_after_silence_at_any_word(tmp_path: Path) -> None:
    """Fails: a rip that begins with a pause is taken for PCM, because its first samples are silent."""
    data = swapped(dts(tmp_path, "-b:a", "1411200"))
    check(as_pcm(bytes(44100 * 4 + 2) + data, 44100), "dts", duration_s=SECONDS + 1, lead_s=1.0)


@pytest.mark.parametrize(("noise", "lead_s"), each_value_once([0, 1], [3, 60]))
def test_a_bitstream_may_begin_late_in_a_recording(noise: int, lead_s: int) -> None:
    """Fails: a digital output recorded from long before the film starts is labeled from noise."""
    words = encode(tone(48000), 48000, "spdif")
    lead = np.random.default_rng(0).integers(-noise, noise + 1, lead_s * 48000 * 2).astype("<i2").tobytes()
    check(as_pcm(lead + words, 48000), "ac3", duration_s=SECONDS + lead_s, lead_s=lead_s)


@pytest.mark.parametrize(
    ("form", "codec", "order", "subtype"),
    each_value_once(
        [("spdif", "ac3"), ("spdifmp2", "mp3")], ["as it is", "swapped"], ["PCM_16", "PCM_24", "PCM_32"]
    ),
)
def test_a_recorded_digital_output_is_decoded(form: str, codec: str, order: str, subtype: str) -> None:
    """Fails: recordings of a DVD player's digital output are labeled from noise."""
    words = encode(tone(48000), 48000, form)
    check(as_pcm(swapped(words) if order == "swapped" else words, 48000, "WAV", subtype), codec)


@pytest.mark.parametrize("form", ["alac", "wavpack", "tta"])
def test_other_lossless_codecs_preserve_bitstreams(form: str) -> None:
    """Fails: the same recording is noise once it is archived as another format."""
    words = np.frombuffer(encode(tone(48000), 48000, "spdif"), "<i2").reshape(-1, 2)
    y = (words / np.float32(32767)).astype(np.float32)  # the encoder's rounding gives the words back
    check(encode(y, 48000, form), "ac3")


ELEMENTARY = {"ac3": "ac3", "eac3": "eac3", "mp2": "mp2", "mp3": "mp3", "adts": "aac", "latm": "aac_latm"}


@pytest.mark.parametrize(
    ("form", "codec", "order", "container"),
    each_value_once(
        list(ELEMENTARY.items()), [("as it is", "WAV"), ("swapped", "FLAC mono"), ("swapped", "alac")]
    ),
)
def test_frames_without_bursts_are_decoded(form: str, codec: str, order: str, container: str) -> None:
    """Fails: AC-3, MPEG audio or AAC copied into a wav is noise that is confidently labeled metal."""
    words = encode(tone(48000), 48000, form)
    words = swapped(words) if order == "swapped" else words
    if container == "alac":
        y = np.frombuffer(words[: len(words) // 4 * 4], "<i2").reshape(-1, 2) / np.float32(32767)
        check(encode(y.astype(np.float32), 48000, "alac"), codec)
    else:
        channels = 1 if "mono" in container else 2
        check(as_pcm(words, 48000, container.split()[0], channels=channels), codec)


@pytest.mark.parametrize("form", ["ac3", "mp2"])
def test_frames_may_begin_after_silence(form: str) -> None:
    """Fails: a stream behind digital silence, or one that encodes silence at first, is taken for PCM."""
    y = tone(48000)
    y[: 6 * 48000] = 0
    data = as_pcm(bytes(48000 * 4) + encode(y, 48000, form), 48000, "FLAC")
    with open_audio(io.BytesIO(data), "late") as audio:
        assert audio.info.codec == form
        assert audio.info.duration_s == pytest.approx(
            SECONDS, abs=0.15
        )  # what frames the first block has may be lost
        assert loudest_hertz(audio.read(8, 2), 48000) == pytest.approx(HERTZ, abs=2)


def test_damaged_frames_at_the_start_do_not_hide_a_stream() -> None:
    """Fails: one damaged spot in the first frames makes the whole track noise."""
    words = bytearray(encode(tone(48000), 48000, "mp2"))
    words[3000:3200] = bytes(200)
    words[30_000:30_100] = b"\xff" * 100
    with open_audio(io.BytesIO(as_pcm(bytes(words), 48000)), "damaged") as audio:
        assert audio.info.codec == "mp2"
        assert loudest_hertz(audio.read(5, 2), 48000) == pytest.approx(HERTZ, abs=2)


def test_an_undecodable_bitstream_is_named() -> None:
    """Fails: a bitstream that FFmpeg does not support is labeled from noise."""
    burst = b"\x72\xf8\x1f\x4e\x0b\x00\x00\x20" + np.random.default_rng(0).bytes(4096 - 8)
    with pytest.raises(DecodeError, match="S/PDIF bitstream"):
        read_segments(io.BytesIO(as_pcm(burst * 300, 48000, "FLAC")), "a.flac", SPEC)


def test_pcm_stays_pcm(gtzan: Path) -> None:
    """Fails: music is taken for a bitstream and refused."""
    for path in sorted(gtzan.glob("audio/*/*.flac")):
        y, _ = sf.read(path, dtype="float32", always_2d=True)
        assert find_packing(np.repeat(y.T, 2, axis=0)) is None
        for first in range(0, len(y) - 16384, 16384):
            assert find_stream(y.T[:, first : first + 16384]) is None


def test_a_periodic_tone_that_looks_like_frames_stays_pcm() -> None:
    """Fails: a test tone whose period holds the header of a frame is refused, or decoded to noise."""
    header = encode(tone(48000), 48000, "mp2")[:4]
    n_bytes = 384 * 3  # of a frame at 384 kbit/s and 48 kHz
    period = header + np.random.default_rng(0).bytes(n_bytes - 4)
    data = as_pcm(period * 1000, 48000)
    levels = np.frombuffer((period * 57)[:65536], "<i2").reshape(-1, 2).T.astype(np.float32)
    stream = find_stream(levels / np.float32(32768))
    assert stream is not None
    assert not stream.varies
    with open_audio(io.BytesIO(data), "tone") as audio:
        assert audio.info.codec == "wav"


@pytest.mark.parametrize("kind", ["noise", "square", "constant", "one sync", "quiet", "not a number"])
def test_odd_pcm_stays_pcm(kind: str) -> None:
    """Fails: noise music, test tones and broken floats are taken for a bitstream and refused."""
    y = np.random.default_rng(0).integers(-32768, 32768, (44100, 2)).astype(np.int16)
    if kind == "square":
        y = np.tile(np.array([[0x7FFE, -0x7FFF]] * 50 + [[-0x7FFF, 0x7FFE]] * 50, np.int16), (441, 1))
    elif kind == "constant":
        y[:] = 0x7FFE
    elif kind == "quiet":
        y = np.random.default_rng(0).integers(-300, 1, (44100, 2)).astype(np.int16)
    elif kind == "one sync":
        y[5000:5002] = [[0x7FFE, -0x7FFF], [0x1FFF, -0x1800]]
    floats = (y / np.float32(32768)).astype(np.float32).T
    if kind == "not a number":
        floats[:, 100] = np.nan
    assert find_packing(floats) is None
    assert find_stream(floats) is None
