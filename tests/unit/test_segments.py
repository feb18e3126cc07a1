"""Where the segments of a track lie."""

import io
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.audio.decode.audio import read_segments
from pipeline.audio.decode.placement import segment_starts
from schemas.errors import TooShortError
from schemas.features import FeatureSpec
from tests.encoders import encode

SPEC = FeatureSpec()


@pytest.mark.parametrize(
    ("duration_s", "starts"),
    [
        (1.0, [0.0]),
        (30.0, [0.0]),
        (30.013, [0.0]),  # a GTZAN clip is not three nearly equal segments
        (59.99, [14.9]),
        (60.0, [0.0, 30.0]),
        (90.0, [0.0, 30.0, 60.0]),
        (90.05, [0.0, 30.0, 60.0]),
        (240.0, [25.0, 105.0, 185.0]),
        (3600.0, [585.0, 1785.0, 2985.0]),
    ],
)
def test_known_places(duration_s: float, starts: list[float]) -> None:
    """Fails: segments move, and stored features of one feature set no longer compare."""
    assert segment_starts(duration_s, SPEC) == starts


@given(st.floats(0.2, 50_000), st.integers(1, 20), st.integers(1, 120))
def test_segments_lie_inside_without_overlap(duration_s: float, max_segments: int, segment_s: int) -> None:
    """Fails: at some track length, segments lie past the end or overlap."""
    spec = FeatureSpec(segment_s=segment_s, max_segments=max_segments)
    starts = segment_starts(duration_s, spec)
    assert len(starts) == max(1, min(max_segments, int(duration_s / segment_s)))
    assert starts[0] >= 0
    if duration_s >= segment_s:
        assert starts[-1] + segment_s <= duration_s + 1e-6
    assert all(later - earlier >= segment_s - 1e-6 for earlier, later in itertools.pairwise(starts))


def test_segments_contain_the_samples_of_their_position() -> None:
    """Fails: the start_s column of the features table does not match the features."""
    y = np.random.default_rng(0).uniform(-0.5, 0.5, 22050 * 100).astype(np.float32)
    _, segments = read_segments(io.BytesIO(encode(y, 22050, "wavfloat")), "track", SPEC)
    assert [start_s for start_s, _ in segments] == segment_starts(100, SPEC)
    for start_s, segment in segments:
        first = round(start_s * 22050)
        np.testing.assert_array_equal(segment, y[first : first + 661_500])


def test_a_short_track_is_one_short_segment_and_a_shorter_one_an_error() -> None:
    """Fails: jingles are padded with silence that the model hears, or fail without saying why."""
    _, [(start_s, segment)] = read_segments(
        io.BytesIO(encode(np.zeros(22050, np.float32), 22050, "wav")), "a", SPEC
    )
    assert (start_s, len(segment)) == (0.0, 22050)
    with pytest.raises(TooShortError, match=r"a has 0\.90 s of audio, less than the 1 s"):
        read_segments(io.BytesIO(encode(np.zeros(19845, np.float32), 22050, "wav")), "a", SPEC)
