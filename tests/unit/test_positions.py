"""Audio after damage keeps its position, and the stream that players play is decoded."""

import io
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.audio.decode.audio import read_segments
from pipeline.audio.decode.formats import AUDIO_EXTENSIONS, FORMATS
from schemas.features import FeatureSpec
from tests.encoders import FFMPEG, LAYOUTS, SOUNDFILE, encode, sweep
from tests.matrix import each_value_once
from tests.unit.test_audio_formats import lag
from tests.unit.test_bitstreams import encode_dts
from tests.unit.test_joined_streams import loudest_hertz
from tests.whole_audio import open_audio

pytestmark = pytest.mark.slow

SECONDS = 20.0
SPEC = FeatureSpec(segment_s=4.0)

TIMED = ("flac", "oggflac", "vorbis", "opus", "m4a", "alac", "wavpack", "tta", "mkaflac", "mpegts", "aiff")
"""Forms that tell where in the track a frame belongs; an mp3 or ADTS file does not."""

Damage = dict[str, list[tuple[float, bytes]]]
DAMAGES: Damage = {
    "one byte": [(0.5, b"\xa5")],
    "a bad sector": [(0.52, bytes(50_000))],
    "noise": [(0.48, np.random.default_rng(0).bytes(20_000))],
    "several spots": [(0.2, bytes(600)), (0.4, bytes(600)), (0.6, bytes(600)), (0.8, bytes(600))],
    "early": [(0.08, bytes(3000))],
    "late": [(0.95, bytes(3000))],
}


def music(form: str) -> tuple[NDArray[np.float32], int]:
    rate = 48000 if form == "opus" else 44100
    y = 0.5 * sweep(rate, SECONDS, 2)
    y += np.random.default_rng(0).normal(0, 0.05, y.shape).astype(np.float32)
    return y, rate


@pytest.mark.parametrize("form", TIMED)
def test_damage_shifts_nothing(form: str) -> None:
    """Fails: one bad sector loses all that follows, or segments do not come from their stated positions."""
    options = {"movflags": "faststart"} if form in ("m4a", "alac") else {}
    data = encode(*music(form), form, **options)
    info, clean = read_segments(io.BytesIO(data), "clean", SPEC)
    assert len(clean) == 3
    for name, damages in DAMAGES.items():
        damaged = bytearray(data)
        for share, with_what in damages:
            at, what = int(len(data) * share), with_what[: len(data) // 20]
            damaged[at : at + len(what)] = what
        broken_info, broken = read_segments(io.BytesIO(bytes(damaged)), name, SPEC)
        assert broken_info.duration_s == pytest.approx(info.duration_s, abs=0.6), name
        assert [start_s for start_s, _ in broken] == [start_s for start_s, _ in clean], name
        hurt = 0
        for (_, y), (_, expected) in zip(broken, clean, strict=True):
            alike = float(np.dot(y, expected) / np.linalg.norm(y) / np.linalg.norm(expected))
            hurt += alike < 0.97
            # Matroska counts milliseconds.
            assert abs(lag(y, expected)) <= (66 if form == "mkaflac" else 1), name
            assert form == "mkaflac" or alike > 0.5, name
        # Matroska loses a cluster of five seconds for each spot.
        assert hurt <= (3 if name == "several spots" else 2 if form == "mkaflac" else 1), name


@pytest.mark.parametrize("form", ["mp3", "adts"])
def test_without_timestamps_damage_costs_no_more_than_its_length(form: str) -> None:
    """Fails: one bad sector of an mp3 loses all that follows it."""
    data = bytearray(encode(*music(form), form))
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    info, segments = read_segments(io.BytesIO(bytes(data)), form, SPEC)
    assert SECONDS - 0.5 < info.duration_s < SECONDS + 0.1
    assert len(segments) == 3


def test_a_flac_with_an_unreadable_half_keeps_the_other() -> None:
    """Fails: audio that libsndfile does not reach counts as missing."""
    y, rate = music("flac")
    data = bytearray(encode(y, rate, "flac"))
    data[len(data) // 4 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 4)
    info, segments = read_segments(io.BytesIO(bytes(data)), "damaged", FeatureSpec(segment_s=3.0))
    assert info.duration_s == pytest.approx(SECONDS, abs=0.2)
    start_s, last = segments[-1]
    _, reference = read_segments(io.BytesIO(encode(y, rate, "flac")), "clean", FeatureSpec(segment_s=3.0))
    assert start_s > 14
    assert abs(lag(last, reference[-1][1])) <= 1


def cut(data: bytes, container: str, at_s: float, kept_s: float) -> bytes:
    """Return a track without its start, as ``ffmpeg -ss -c copy`` writes it: some of that is kept."""
    file = io.BytesIO()
    options = {"avoid_negative_ts": "disabled"}
    with av.open(io.BytesIO(data), "r") as source, av.open(file, "w", container, options=options) as target:
        stream = source.streams.audio[0]
        assert stream.time_base is not None
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None and packet.dts * stream.time_base >= at_s - kept_s:
                assert packet.pts is not None
                packet.pts -= round(at_s / stream.time_base)
                packet.dts = packet.pts
                packet.stream = copy
                target.mux(packet)
    return file.getvalue()


@pytest.mark.parametrize("form", ["oggflac", "mkaflac", "mka", "mkamp3", "dts"])
def test_a_seek_lands_where_decoding_gets(form: str, tmp_path: Path) -> None:
    """Fails: excerpts of DTS, and of recordings that were cut without encoding, come from other places."""
    y, rate = music(form)
    if form == "dts":
        data = encode_dts(y, rate, tmp_path)
    else:
        data = cut(encode(y, rate, form), "ogg" if form == "oggflac" else "matroska", 3.0, 1.2)
    with open_audio(io.BytesIO(data), form) as track:
        whole, rate = track.read(0, 30), track.info.sample_rate
    assert track.info.duration_s == pytest.approx(len(whole) / rate, abs=0.06)
    for second in (0, 1, 2, 3, 8, 15):
        with open_audio(io.BytesIO(data), form) as track:
            y = track.read(second, 0.1)
        np.testing.assert_allclose(y, whole[second * rate :][: len(y)], atol=1e-3)


TONES = (300.0, 1000.0, 1700.0)


def several_streams(path: Path, container: str, codec: str, main: int | None, aside: int | None) -> bytes:
    """Return a film's sound tracks: tones of three frequencies, one of them the default."""
    rate = 48000
    with av.open(path, "w", format=container) as output:
        streams = []
        for number in range(len(TONES)):
            stream = output.add_stream(codec, rate=rate, layout=LAYOUTS[2])
            assert isinstance(stream, av.AudioStream)
            stream.disposition = av.stream.Disposition(0)
            if number == main:
                stream.disposition = av.stream.Disposition.default
            if number == aside:
                stream.disposition = av.stream.Disposition.comment
            stream.format = "fltp" if codec == "aac" else "flt"
            streams.append(stream)
        t = np.arange(6 * rate) / rate
        for stream, hertz in zip(streams, TONES, strict=True):
            y = (0.4 * np.sin(2 * np.pi * hertz * t)).astype(np.float32)
            samples = np.ascontiguousarray(np.stack([y, y]))
            if stream.format.name == "flt":
                samples = np.ascontiguousarray(samples.T.reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(samples, stream.format.name, "stereo")
            frame.sample_rate, frame.pts = rate, 0
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    return path.read_bytes()


@pytest.mark.parametrize(
    ("container", "codec", "main"),
    each_value_once(
        [("mp4", "aac"), ("mov", "aac"), ("matroska", "aac"), ("matroska", "libopus"), ("webm", "libopus")],
        [0, 1, 2],
    ),
)
def test_the_default_stream_is_the_track(tmp_path: Path, container: str, codec: str, main: int) -> None:
    """Fails: a concert is labeled from the commentary stream that precedes its music."""
    aside = 0 if main else 1
    data = several_streams(tmp_path / "film", container, codec, main, None if container == "mp4" else aside)
    with open_audio(io.BytesIO(data), "film") as audio:
        assert loudest_hertz(audio.read(1, 3), audio.info.sample_rate) == pytest.approx(TONES[main], abs=2)
        assert audio.info.duration_s == pytest.approx(6, abs=0.1)


def test_commentary_is_skipped_without_a_default_stream(tmp_path: Path) -> None:
    """Fails: the same, if no stream is marked as the default."""
    data = several_streams(tmp_path / "film", "matroska", "aac", None, 0)
    with open_audio(io.BytesIO(data), "film") as audio:
        assert loudest_hertz(audio.read(1, 3), audio.info.sample_rate) == pytest.approx(TONES[1], abs=2)


@pytest.mark.parametrize("form", [*SOUNDFILE, *FFMPEG])
def test_every_format_that_can_be_encoded_here_is_decoded(form: str) -> None:
    """Fails: files that the listing takes for tracks become failures."""
    rate, channels = {"amr": (8000, 1), "ra": (8000, 1)}.get(form, (48000, 2))
    info, [(_, y)] = read_segments(
        io.BytesIO(encode(sweep(rate, 3.0, channels), rate, form)), form, FeatureSpec()
    )
    assert info.sample_rate == rate
    assert len(y) / 22050 == pytest.approx(3.0, abs=0.15)


def test_the_formats_are_ffmpegs() -> None:
    """Fails: a typo in a name silently leaves out a format."""
    assert {name for name in FORMATS.split(",") if name not in av.formats_available} == set()
    assert all(extension == extension.lower() and extension[0] != "." for extension in AUDIO_EXTENSIONS)
    assert {"mid", "m3u", "pls", "cue", "jpg", "txt"}.isdisjoint(AUDIO_EXTENSIONS)


def test_misplaced_tta_frames_do_not_become_noise() -> None:
    """Fails: if bytes are missing in a tta, the rest decodes to noise as loud as music, and is labeled."""
    y = (0.3 * np.sin(2 * np.pi * 440 * np.arange(20 * 44100) / 44100)).astype(np.float32)
    data = encode(np.stack([y, y], axis=1), 44100, "tta")
    with open_audio(io.BytesIO(data[: len(data) // 2] + data[len(data) // 2 + 3000 :]), "a.tta") as audio:
        decoded = audio.read(0, 20)
    assert len(decoded) > 9 * 44100
    np.testing.assert_allclose(decoded[: 9 * 44100], y[: 9 * 44100], atol=1e-4)
    assert np.abs(np.diff(decoded)).max() < 0.31
