"""The two lines for a notebook."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.features import DESCRIPTOR_NAMES, compute_descriptors, describe, track_features
from schemas.errors import NotFoundError


@pytest.fixture
def song(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "song.wav", rng.normal(0, 0.1, 65 * 22050).astype(np.float32), 22050)
    return str(tmp_path / "song.wav")


def test_a_track_is_described_segment_by_segment(song: str) -> None:
    """A student gets the same numbers as a run writes into the table, under the published names."""
    described = describe(song)
    assert list(described) == ["start_s", "duration_s", *DESCRIPTOR_NAMES]
    assert described["duration_s"].tolist() == [30.0, 30.0]
    y, sr = soundfile.read(song, dtype="float32")
    start = round(described["start_s"][1] * sr)
    by_hand = compute_descriptors(y[start : start + 30 * sr])
    np.testing.assert_allclose(described.loc[1, list(DESCRIPTOR_NAMES)].to_numpy(float), by_hand, rtol=1e-9)


def test_what_is_not_there_is_named(song: str) -> None:
    """A mistyped name must not look like a broken file."""
    with pytest.raises(NotFoundError, match=r"nothing\.wav does not exist"):
        track_features(song.replace("song", "nothing"))
