"""The running median equals scipy's, and the harmonic and percussive parts equal librosa's."""

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from pipeline.audio.features.hpss import part_statistics, separate
from pipeline.audio.features.running_median import WINDOW, running_median

pytestmark = pytest.mark.usefixtures("librosa_alone")


def medians(x: NDArray[np.float32]) -> NDArray[np.float32]:
    out = np.full_like(x, np.nan)
    running_median(x, 0, out)
    return out


def defined(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The median computed directly from its definition."""
    n = len(x)
    mirrored = [min(i % (2 * n), 2 * n - 1 - i % (2 * n)) for i in range(-(WINDOW // 2), n + WINDOW // 2)]
    return np.stack([np.median(x[mirrored[i : i + WINDOW]], axis=0) for i in range(n)])


@pytest.mark.parametrize("shape", [(1293, 1025), (1025, 64), (17, 1), (31, 65), (200, 63)])
def test_running_median_is_scipys_to_the_last_bit(shape: tuple[int, int]) -> None:
    """Fails: the parts of every track differ from librosa's."""
    x = np.random.default_rng(0).random(shape, dtype=np.float32) ** 4
    assert np.array_equal(medians(x), median_filter(x, size=(WINDOW, 1), mode="reflect"))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 100),
    columns=st.integers(1, 140),
    levels=st.sampled_from([1, 2, 3, 10, 10**6]),
    seed=st.integers(0, 99),
)
def test_running_median_of_any_shape_and_ties(n: int, columns: int, levels: int, seed: int) -> None:
    """Fails: equal magnitudes (silence, steady tones) or short excerpts get a value that is not a median."""
    x = np.random.default_rng(seed).integers(0, levels, (n, columns)).astype(np.float32)
    assert np.array_equal(medians(x), defined(x))


@pytest.mark.parametrize("order", [1, -1])
def test_running_median_of_sorted_rows(order: int) -> None:
    """Fails: a fade, where every window is sorted already, is split wrongly."""
    x = np.repeat(np.arange(90, dtype=np.float32)[::order, np.newaxis], 70, axis=1)
    assert np.array_equal(medians(x), defined(x))


def test_running_median_from_some_row_on() -> None:
    """Fails: the frames at a block's edges see a mirror where their neighbors are."""
    x = np.random.default_rng(0).random((150, 40), dtype=np.float32)
    out = np.empty((50, 40), np.float32)
    running_median(x, 37, out)
    assert np.array_equal(out, medians(x)[37:87])


@pytest.mark.slow
@pytest.mark.parametrize("n", [66149, 66150, 64 * 512, 64 * 512 - 1, 65 * 512, 9000])
def test_parts_are_librosas(n: int) -> None:
    """Fails: the samples of the parts, not only their statistics, differ from librosa's."""
    rng = np.random.default_rng(0)
    t = np.arange(n) / 22050
    y = (0.3 * np.sin(2 * np.pi * 440 * t) + 0.3 * rng.normal(size=n) * (t % 0.5 < 0.02)).astype(np.float32)
    expected = librosa.effects.hpss(y, pad_mode="reflect")
    for percussive, part in enumerate(expected):
        ours = separate(y, percussive=bool(percussive))[0]
        assert np.abs(ours - part).max() < 1e-6
        assert ours.var() == pytest.approx(part.var(), rel=1e-5)


def test_parts_make_up_the_signal() -> None:
    """Fails: the percussive part, found by subtraction, is not what its own inverse transform gives."""
    y = np.random.default_rng(0).normal(0, 0.1, 40000).astype(np.float32)
    harmonic, percussive = separate(y)[0], separate(y, percussive=True)[0]
    assert np.abs(harmonic + percussive - y).max() < 1e-6
    by_difference = part_statistics(y, harmonic)[1]
    assert np.allclose(by_difference, [percussive.mean(), percussive.var()], rtol=1e-5, atol=1e-9)
