"""Featurizing one track: the guarantees that jobs rely on."""

import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.audio.features.featurize import featurize_track
from pipeline.audio.features.log_mel import log_mel
from schemas.features import FeatureSpec
from schemas.tracks import AudioInfo, Tags, TrackFeatures
from tests.encoders import encode, sweep
from tests.log_mels import log_mel_of

SPEC = FeatureSpec()


def assert_equal(one: TrackFeatures, other: TrackFeatures) -> None:
    assert (one.info, one.tags) == (other.info, other.tags)
    for a, b in zip(one.segments, other.segments, strict=True):
        np.testing.assert_equal(asdict(a), asdict(b))


def test_the_features_of_a_track() -> None:
    """Fails: the features table has wrong shapes, types or places for every track."""
    data = encode(sweep(44100, 100, 2), 44100, "mp3")
    features = featurize_track(io.BytesIO(data), "track", SPEC)
    assert features.info == AudioInfo("mp3", 100.0, 44100, 2)
    assert features.tags == Tags()
    assert [(s.start_s, s.duration_s) for s in features.segments] == [(1.6, 30.0), (35.0, 30.0), (68.3, 30.0)]
    for segment in features.segments:
        levels = log_mel_of(segment)
        assert levels.dtype == np.uint8
        assert levels.shape == (128, 388)
        assert (levels.min(), levels.max()) == (0, 255)
        assert 0 < segment.range_db <= 80
        assert segment.descriptors is None


def test_the_same_bytes_give_the_same_features() -> None:
    """Fails: a retried task writes other features than the first, and labels change from night to night."""
    for form in ("mp3", "m4a", "flac"):
        data = encode(sweep(44100, 12, 2), 44100, form)
        spec = FeatureSpec(segment_s=2)
        assert_equal(
            featurize_track(io.BytesIO(data), "a", spec), featurize_track(io.BytesIO(data), "b", spec)
        )


def test_the_file_may_be_at_any_position_and_stays_open(tmp_path: Path) -> None:
    """Fails: a caller that read a file before, or reads it after, gets other features or an error."""
    path = tmp_path / "track.wav"
    path.write_bytes(encode(sweep(44100, 2), 44100, "wav"))
    with path.open("rb") as file:
        first = featurize_track(file, str(path), SPEC)
        file.seek(1000)
        assert_equal(featurize_track(file, str(path), SPEC), first)
        assert not file.closed


class RangeFile(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no types
    """A file of which only ranges can be fetched, as s3fs opens them."""

    def __init__(self, content: bytes, **options: Any) -> None:
        self.content, self.fetched_bytes = content, 0
        super().__init__(AbstractFileSystem(), "track", size=len(content), **options)

    def _fetch_range(self, start: int, end: int) -> bytes:
        self.fetched_bytes += min(end, len(self.content)) - start
        return self.content[start:end]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["wav", "flac", "mp3", "m4a", "wma", "vorbis"])
def test_files_read_by_ranges(form: str) -> None:
    """Fails: tracks on S3 get other features than the same tracks on disk, or are downloaded twice."""
    y = np.tile(np.random.default_rng(0).normal(0, 0.1, (44100, 2)), (120, 1)).astype(np.float32)
    data = encode(y, 44100, form)
    spec = FeatureSpec(segment_s=3)
    file = RangeFile(data, block_size=1 << 16, cache_type="blockcache")
    assert_equal(featurize_track(file, "track", spec), featurize_track(io.BytesIO(data), "track", spec))
    # An mp3 has no index: a place in it is found by reading up to there.
    assert file.fetched_bytes < (1.3 if form in ("mp3", "vorbis") else 0.75) * len(data)


def test_descriptors_come_with_the_spec_that_asks_for_them(gtzan: Path) -> None:
    """Fails: runs with descriptors write none, or numbers that the log-mel's segment does not have."""
    path = gtzan / "audio" / "jazz" / "jazz.00000.flac"
    with path.open("rb") as file:
        [segment] = featurize_track(file, str(path), FeatureSpec(descriptors=True)).segments
        [plain] = featurize_track(file, str(path), SPEC).segments
    assert segment.descriptors is not None
    assert segment.descriptors.shape == (57,)
    assert len(DESCRIPTOR_NAMES) == 57
    assert np.isfinite(segment.descriptors).all()
    np.testing.assert_array_equal(segment.log_mel, plain.log_mel)


def test_a_real_clip_by_way_of_mp3(gtzan: Path) -> None:
    """Fails: an mp3 gets other features than the same music as flac."""
    import soundfile as sf

    y, rate = sf.read(gtzan / "audio" / "rock" / "rock.00000.flac", dtype="float32")
    [segment] = featurize_track(io.BytesIO(encode(y, rate, "mp3")), "track", SPEC).segments
    expected, _ = log_mel(y[: 30 * rate], SPEC)
    found = log_mel_of(segment)
    off = np.abs(found.astype(int) - expected)
    assert np.median(off) <= 8
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.97
