"""The listing finds every format that the decoders read: files from real encoders, with usual names."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.audio.decode.formats import AUDIO_EXTENSIONS, FORMATS
from pipeline.catalogs.catalog import list_catalog
from pipeline.shards.one_track import track_features
from schemas.features import FeatureSpec

WRITTEN = [
    ("wv", "wv", "wavpack"), ("tta", "tta", "tta"), ("ac3", "ac3", "ac3"), ("mpa", "mp2", "mp2"),
    ("mp1", "mp3", "libmp3lame"), ("m4r", "ipod", "aac"), ("m4b", "ipod", "alac"), ("m4v", "mp4", "aac"),
    ("3gp", "3gp", "aac"), ("3g2", "3g2", "aac"), ("mov", "mov", "aac"), ("mkv", "matroska", "aac"),
    ("weba", "webm", "libopus"), ("avi", "avi", "libmp3lame"), ("m2ts", "mpegts", "aac"),
    ("spx", "ogg", "libspeex"), ("ogx", "ogg", "libopus"), ("wmv", "asf", "wmav2"), ("adts", "adts", "aac"),
    ("voc", "voc", "pcm_s16le"), ("w64", "w64", "pcm_s16le"), ("caff", "caf", "pcm_s16be"),
    ("ircam", "ircam", "pcm_s16le"), ("snd", "au", "pcm_s16be"), ("aifc", "aiff", "pcm_s16be"),
    ("bwf", "wav", "pcm_s16le"), ("rf64", "wav", "pcm_s24le"), ("flv", "flv", "aac"), ("mpg", "mpeg", "mp2"),
    ("vob", "vob", "mp2"), ("latm", "latm", "aac"),
]  # fmt: skip
NOT_AUDIO = {"avif", "heic", "heif", "ism", "mj2", "mks", "psp"}
"""Extensions that FFmpeg's demuxers are known by, of pictures, subtitles and lists."""


def write(path: Path, container: str, codec: str) -> None:
    rate = 48000 if codec != "libspeex" else 32000
    y = (0.1 * np.random.default_rng(0).normal(size=3 * rate)).clip(-1, 1)
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        context = stream.codec_context
        context.bit_rate = 128_000
        samples = np.rint(y * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        context.open()
        resampler = av.AudioResampler(
            format=context.format, layout="mono", rate=rate, frame_size=context.frame_size or 1024
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))


@pytest.mark.parametrize(("extension", "container", "codec"), WRITTEN)
def test_encoded_files_are_listed_and_decoded(
    tmp_path: Path, extension: str, container: str, codec: str
) -> None:
    """A catalog of .wv files was listed as empty, although the decoders read them."""
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no encoder {codec}")
    path = tmp_path / f"a.{extension.upper()}"
    write(path, container, codec)
    (uri,) = list_catalog(str(tmp_path))["uri"].to_pylist()
    features = track_features(uri, FeatureSpec(segment_s=2, max_segments=1))
    assert features.info.duration_s == pytest.approx(3, abs=0.2)


def test_every_extension_of_the_formats_that_are_read_is_listed() -> None:
    """A format that is added for FFmpeg but not for the listing is never read."""
    known = set()
    for name in FORMATS.split(","):
        known |= av.format.ContainerFormat(name, "r").extensions
    assert known - NOT_AUDIO <= AUDIO_EXTENSIONS
    assert {"mid", "m3u", "pls", "cue", "jpg", "txt"}.isdisjoint(AUDIO_EXTENSIONS)
