"""The lengths that `earmark scan` takes from headers."""

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from jobs.scan import scan
from pipeline.audio.tags.header_length import header_length_s
from tests.encoders import encode

SR = 22050
Y = (0.1 * np.random.default_rng(0).normal(size=22050 * 4)).astype(np.float32)


def length_of(data: bytes, name: str) -> float | None:
    return header_length_s(io.BytesIO(data), name, len(data))


def wav(**options: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, Y, 22050, format="WAV", **options)
    return buffer.getvalue()


def with_data_size(data: bytes, size: int) -> bytes:
    """A wav written to a pipe: its header was written before the length was known."""
    at = data.index(b"data") + 4
    return (
        data[:4]
        + struct.pack("<I", min(size, 0xFFFFFFFF))
        + data[8:at]
        + struct.pack("<I", size)
        + data[at + 4 :]
    )


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x80000000])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW", "PCM_U8"])
def test_a_wav_is_no_longer_than_its_bytes(size: int, subtype: str) -> None:
    """One wav from a pipe counted as 6.76 hours, and a catalog of them as years."""
    length_s = length_of(with_data_size(wav(subtype=subtype), size), "a.wav")
    assert length_s == pytest.approx(4, abs=0.05)


def test_an_aiff_is_no_longer_than_its_bytes() -> None:
    """The same for the other format whose length is written before it is known."""
    buffer = io.BytesIO()
    soundfile.write(buffer, Y, 22050, format="AIFF")
    data = buffer.getvalue()
    at = data.index(b"COMM") + 10
    assert length_of(data, "a.aiff") == pytest.approx(4)
    claiming = data[:at] + struct.pack(">I", 0x7FFFFFFF) + data[at + 4 :]
    assert length_of(claiming, "a.aiff") == pytest.approx(4, abs=0.05)


@pytest.mark.parametrize(("form", "name"), [("flac", "a.flac"), ("mp3", "a.mp3"), ("vorbis", "a.ogg")])
def test_a_valid_header_is_trusted(form: str, name: str) -> None:
    """The bounds must not shorten correct lengths."""
    assert length_of(encode(Y, 22050, form), name) == pytest.approx(4, abs=0.1)


def test_half_an_mp3_is_half_as_long() -> None:
    """A truncated upload still has the header of the whole file."""
    data = encode(Y, 22050, "mp3")
    assert (length_of(data[: len(data) // 2], "a.mp3") or 0) < 3


def test_an_impossible_length_is_unknown() -> None:
    """A flac of 88 kB with 432 hours has a broken header; an ADPCM wav does not consist of samples."""
    data = encode(Y, 22050, "flac")
    at = data.index(b"fLaC") + 4 + 4 + 10
    packed = int.from_bytes(data[at : at + 8], "big") | (1 << 36) - 1
    assert length_of(data[:at] + packed.to_bytes(8, "big") + data[at + 8 :], "a.flac") is None
    assert length_of(wav(subtype="IMA_ADPCM"), "a.wav") is None
    assert length_of(wav()[:24] + struct.pack("<I", 1) + wav()[28:], "a.wav") is None  # at 1 Hz
    mp3 = encode(Y, 22050, "mp3")
    at = mp3.index(b"Xing" if b"Xing" in mp3 else b"Info") + 8
    assert length_of(mp3[:at] + struct.pack(">I", 0xFFFFFF) + mp3[at + 4 :], "a.mp3") is None
    assert length_of(b"nothing", "a.mp3") is None


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW", "FLOAT", "DOUBLE", "PCM_16"])
def test_an_aiff_c_of_samples_has_the_length_in_its_header(subtype: str) -> None:
    """The formats of which mutagen counts samples must not become unknown."""
    buffer = io.BytesIO()
    endian = "LITTLE" if subtype == "PCM_16" else "FILE"
    soundfile.write(buffer, Y, 22050, format="AIFF", subtype=subtype, endian=endian)
    assert buffer.getvalue()[8:12] == b"AIFC"
    assert length_of(buffer.getvalue(), "a.aiff") == pytest.approx(4)


def test_an_aiff_c_of_packets_is_unknown() -> None:
    """45 s of IMA ADPCM counted as 0.7 s, because its header counts packets of 64 samples."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="aiff") as output:
        stream = output.add_stream("adpcm_ima_qt", rate=22050, layout="mono")
        frame = av.AudioFrame.from_ndarray((Y * 9999).astype(np.int16)[None], "s16p", "mono")
        frame.sample_rate = 22050
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert b"ima4" in buffer.getvalue()
    assert length_of(buffer.getvalue(), "a.aiff") is None


def mp3_without_header(bitrate_mode: str) -> bytes:
    """Return half a second of silence, then noise, without the frame that holds the length."""
    y = np.concatenate([np.zeros(SR // 2, np.float32), Y, Y])
    buffer = io.BytesIO()
    soundfile.write(
        buffer,
        y,
        SR,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode=bitrate_mode,
        compression_level=0.5,
    )
    data = buffer.getvalue()
    at = data.index(b"Xing" if bitrate_mode == "VARIABLE" else b"Info")
    return data[:at] + b"\0\0\0\0" + data[at + 4 :]


def test_an_mp3_of_varying_bit_rate_without_a_length_is_unknown() -> None:
    """45 s of a quiet start counted as 8 s, or as minutes: by the bit rate of the first frame."""
    assert length_of(mp3_without_header("VARIABLE"), "a.mp3") is None


def test_an_mp3_of_constant_bit_rate_needs_no_header() -> None:
    """Most old encoders write none; their files would all have no hours."""
    assert length_of(mp3_without_header("CONSTANT"), "a.mp3") == pytest.approx(8.5, abs=0.15)


def test_a_scan_says_how_many_files_its_hours_cover(tmp_path: Path) -> None:
    """Hours that do not include all files must not look as if they did."""
    (tmp_path / "a.wav").write_bytes(wav())
    (tmp_path / "b.wav").write_bytes(wav(subtype="IMA_ADPCM"))
    (tmp_path / "c.mkv").write_bytes(b"nothing")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "cover.jpg").touch()
    found = scan(str(tmp_path))
    wavs, mkv = found.formats
    assert (wavs.n_files, wavs.n_empty, wavs.n_unknown) == (3, 1, 1)
    assert wavs.hours == pytest.approx(4 / 3600)
    assert (mkv.extension, mkv.hours, mkv.n_unknown) == ("mkv", None, 1)
    assert found.left_out.not_audio == {"jpg": 1}
