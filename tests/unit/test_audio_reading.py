"""Tracks are read by seeking, in bounded memory, and errors of the store are not taken for the file's."""

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from pipeline.audio.decode.audio import read_segments
from pipeline.audio.features.featurize import featurize_track
from schemas.errors import NotFoundError, ReadError
from schemas.features import FeatureSpec
from tests.encoders import FORMS, encode, noisy_sweeps, sweep

RATE = 44100
SPEC = FeatureSpec(segment_s=3.0)


class Failing(io.BytesIO):
    """A file whose store fails after so many bytes."""

    def __init__(self, data: bytes, good_bytes: int, failure: BaseException) -> None:
        super().__init__(data)
        self.left = good_bytes
        self.failure = failure

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.left -= len(data)
        if self.left < 0:
            raise self.failure
        return data


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_a_store_failure_is_not_a_broken_file(form: str, share: float) -> None:
    """Fails: a network fault marks good tracks as permanently broken."""
    data = noisy_sweeps()[form]
    needed = Counting(data)
    featurize_track(needed, "track", SPEC)
    file = Failing(data, int(needed.n_bytes * share), ConnectionResetError("peer went away"))
    with pytest.raises(ReadError, match=r"peer went away.*run again") as caught:
        featurize_track(file, "s3://music/a", SPEC)
    assert caught.value.retryable


def test_other_ends_of_reading_keep_their_meaning() -> None:
    """Fails: a deleted track is a network fault, or Ctrl-C is swallowed by a decoder's callback."""
    for form in ("wav", "mp3"):
        with pytest.raises(NotFoundError, match="no longer exists"):
            featurize_track(Failing(noisy_sweeps()[form], 9000, FileNotFoundError("a")), "a", SPEC)
        with pytest.raises(KeyboardInterrupt):
            featurize_track(Failing(noisy_sweeps()[form], 9000, KeyboardInterrupt()), "a", SPEC)
        with pytest.raises(MemoryError):
            featurize_track(Failing(noisy_sweeps()[form], 9000, MemoryError()), "a", SPEC)


class Counting(io.BytesIO):
    """A file that counts the bytes read from it."""

    n_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.n_bytes += len(data)
        return data


def sparse_hour(path: Path, starts_s: tuple[int, ...] = (585, 1785, 2985)) -> Path:
    """Write an hour as 44.1 kHz stereo wav, 635 MB that take no room on disk: silence but for 30 s each."""
    n_bytes = 3600 * RATE * 4
    noise = np.random.default_rng(0).integers(-9000, 9000, 30 * RATE * 2, dtype="<i2").tobytes()
    header = encode(np.zeros((1, 2), np.float32), RATE, "wav")[:44]
    with path.open("wb") as file:
        file.write(header[:40] + n_bytes.to_bytes(4, "little"))
        file.truncate(44 + n_bytes)
        for start_s in starts_s:
            file.seek(44 + start_s * RATE * 4)
            file.write(noise)
    return path


class CountingFile(io.FileIO):
    """A file on disk that counts the bytes read from it."""

    n_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.n_bytes += len(data)
        return data


def test_three_excerpts_of_an_hour_cost_tens_of_megabytes(tmp_path: Path) -> None:
    """Fails: a bucket of long recordings is downloaded whole, every byte of it."""
    with CountingFile(sparse_hour(tmp_path / "hour.wav")) as file:
        features = featurize_track(file, "hour.wav", FeatureSpec())
    assert [segment.start_s for segment in features.segments] == [585.0, 1785.0, 2985.0]
    assert file.n_bytes < 25e6


@pytest.mark.parametrize(("starts_s", "found"), [((), [585.0, 1785.0, 2985.0]), ((200,), [200.0])])
def test_an_hour_of_silence_is_searched_at_bounded_cost(
    tmp_path: Path, starts_s: tuple[int, ...], found: list[float]
) -> None:
    """Fails: a bucket with silent files is downloaded whole, in search of something to label."""
    with CountingFile(sparse_hour(tmp_path / "hour.wav", starts_s)) as file:
        features = featurize_track(file, "hour.wav", FeatureSpec())
    sounding = [segment for segment in features.segments if not segment.is_silent] or features.segments
    assert [segment.start_s for segment in sounding] == pytest.approx(found, abs=15)
    assert file.n_bytes < 60e6


@pytest.mark.parametrize("form", ["flac", "m4a", "alac", "wma"])
def test_excerpts_are_read_by_seeking(form: str) -> None:
    """Fails: reading three excerpts of a file on S3 moves all of it."""
    rng = np.random.default_rng(0)
    data = encode(rng.normal(0, 0.1, (120 * RATE, 1)).astype(np.float32), RATE, form)
    file = Counting(data)
    featurize_track(file, "track", FeatureSpec(segment_s=2.0))
    assert file.n_bytes < 0.4 * len(data)  # 9 of 120 s, and what FFmpeg reads to know the format


def test_memory_does_not_grow_with_the_track(tmp_path: Path) -> None:
    """Fails: a four-hour mix, damaged so that all of it must be decoded, kills its worker."""
    data = encode(sweep(8000, 20), 8000, "adts")
    hours = tmp_path / "hours.aac"
    hours.write_bytes(data * 180)
    tracemalloc.start()
    try:
        with hours.open("rb") as file:
            info, segments = read_segments(file, "hours.aac", FeatureSpec())
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert info.duration_s > 3500
    assert len(segments) == 3
    assert peak_bytes < 40e6
