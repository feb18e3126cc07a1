"""Mono mixes: the plain mean for normal audio, and no lost music if channels cancel."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.audio.decode.audio import read_segments
from pipeline.audio.decode.downmix import Downmix, to_mono
from pipeline.demo.synthesis import synthesize
from schemas.features import FeatureSpec
from tests.encoders import encode
from tests.whole_audio import open_audio

SR = 22050
SPEC = FeatureSpec(segment_s=5.0)
ONE = synthesize("rock", seed=[1], duration_s=12, sr=SR).mean(axis=1).astype(np.float32)
OTHER = synthesize("classical", seed=[2], duration_s=12, sr=SR).mean(axis=1).astype(np.float32)[: len(ONE)]


def read(data: bytes) -> list[NDArray[np.float32]]:
    return [y for _, y in read_segments(io.BytesIO(data), "track", SPEC)[1]]


def channels(*each: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack(each, axis=1)


def likeness(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Absolute correlation of two signals."""
    n = min(len(a), len(b))
    return abs(float(np.corrcoef(a[:n], b[:n])[0, 1]))


def delayed(y: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    return np.concatenate((np.zeros(n, np.float32), y[:-n]))


@pytest.mark.parametrize(
    "y",
    [
        channels(ONE, ONE),
        channels(ONE, OTHER),
        channels(ONE, 0 * ONE),
        channels(ONE + OTHER, ONE - 1.2 * OTHER),
        channels(ONE, -0.3 * ONE + OTHER),
        channels(ONE, OTHER, 0.5 * (ONE + OTHER), 0.1 * ONE, 0.3 * OTHER, 0.3 * ONE),
    ],
    ids=["same", "unrelated", "one side", "wide", "mixed", "5.1"],
)
def test_normal_audio_is_the_plain_mean(y: NDArray[np.float32]) -> None:
    """Fails: stored features of ordinary stereo no longer compare with those of a new run."""
    with open_audio(io.BytesIO(encode(y, SR, "wavfloat")), "track") as audio:
        np.testing.assert_array_equal(audio.read(0, 60), to_mono(np.ascontiguousarray(y.T)))


@pytest.mark.parametrize(
    "y",
    [
        channels(ONE, -ONE),
        channels(ONE, -ONE + 0.02 * OTHER),
        channels(ONE, -0.9 * ONE),
        channels(ONE, -ONE + 0.3),
        channels(ONE, -delayed(ONE, 3)),
        channels(ONE, -ONE, 0.01 * OTHER, 0 * ONE, 0.5 * ONE, -0.5 * ONE),
    ],
    ids=["exact", "slightly different", "gain", "offset", "delayed", "5.1"],
)
@pytest.mark.parametrize("form", ["wavfloat", "wav", "vorbis", "m4a"])
def test_music_in_opposite_phase_stays(y: NDArray[np.float32], form: str) -> None:
    """Fails: a transfer with a reversed cable is labeled from rounding noise or codec noise."""
    for segment, same in zip(read(encode(0.7 * y, SR, form)), read(encode(ONE, SR, form)), strict=True):
        assert likeness(segment, same) > 0.9
        assert np.sqrt(np.mean(segment**2)) > 0.2 * np.sqrt(np.mean(same**2))


def test_many_channels_in_opposite_phase_stay() -> None:
    """Fails: a recording of 24 microphones, half of them reversed, exhausts the worker's memory."""
    y = channels(*(ONE, -0.9 * ONE) * 15)[: 6 * SR]
    [segment] = read(encode(0.1 * y, SR, "wavfloat"))
    assert likeness(segment, ONE[round(0.5 * SR) :]) > 0.999
    assert np.sqrt(np.mean(segment**2)) > 0.08 * np.sqrt(np.mean(ONE**2))


def test_each_excerpt_is_mixed_as_a_whole() -> None:
    """Fails: one reversed side of a tape spoils the other one, or the mix switches within an excerpt."""
    half = len(ONE) // 2
    y = channels(ONE, np.concatenate((ONE[:half], -ONE[half:])))
    (first, second) = read(encode(y, SR, "wavfloat"))
    first_s, second_s = 0.5, 6.5
    np.testing.assert_array_equal(first, ONE[round(first_s * SR) :][: len(first)])
    assert likeness(second, ONE[round(second_s * SR) :][: len(second)]) > 0.999


def test_damaged_files_are_mixed_the_same_way() -> None:
    """Fails: a truncated upload, all of which is decoded, loses its out-of-phase channels."""
    whole = encode(channels(ONE, -ONE), SR, "mp3")
    for segment in read(whole[: len(whole) * 19 // 20]):
        assert np.sqrt(np.mean(segment**2)) > 0.3 * np.sqrt(np.mean(ONE**2))


def test_damaged_samples_do_not_affect_the_decision() -> None:
    """Fails: one invalid float sample hides that channels cancel, or makes it seem so."""
    for right in (ONE, -ONE):
        y = channels(ONE, right).copy()
        y[1000:1010] = [np.nan, 1e30]
        y[5000] = [-np.inf, np.inf]
        with open_audio(io.BytesIO(encode(y, SR, "wavfloat")), "track") as audio:
            mono = audio.read(0, 60)
        assert np.isfinite(mono).all()
        assert likeness(mono, ONE) > 0.99


def test_the_number_of_channels_may_change() -> None:
    """Fails: a stream that continues in mono is mixed with the signs of its stereo part, or not at all."""
    downmix = Downmix(SR)
    for block in (np.stack((ONE, -ONE)), ONE[np.newaxis], np.stack((ONE, OTHER, ONE))):
        downmix.mono(block)
    assert list(downmix.signs()) == [2]
    np.testing.assert_array_equal(Downmix(SR, downmix.signs()).mono(np.stack((ONE, -ONE))), ONE)
