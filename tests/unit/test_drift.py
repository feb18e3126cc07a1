"""Drift: whether an engineer is woken for nothing, or sleeps through a broken model."""

import math
from collections import Counter

import numpy as np

from pipeline.trends.drift import measure_drift

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")


def draw(rng: np.random.Generator, shares: np.ndarray, n: int) -> dict[str, int]:
    counts = rng.multinomial(n, shares)
    return {genre: int(count) for genre, count in zip(GENRES, counts, strict=True) if count}


def test_the_index_is_that_of_the_textbook() -> None:
    """The thresholds for drift would be meaningless."""
    before, now = {"jazz": 40_000, "rock": 60_000}, {"jazz": 60_000, "rock": 40_000}
    drift = measure_drift(before, now)
    assert drift is not None
    assert math.isclose(drift.psi, 2 * 0.2 * math.log(0.6 / 0.4), rel_tol=1e-3)
    assert drift.verdict == "moderate"


def test_small_runs_that_have_not_changed_are_not_flagged() -> None:
    """Nights with forty new tracks would be flagged nearly every time: ten genres, a handful each."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(10, 3.0))
    pairs = [(draw(rng, shares, 40), draw(rng, shares, 40)) for _ in range(500)]
    found = [measure_drift(*pair) for pair in pairs]
    verdicts = Counter(drift.verdict for drift in found if drift)
    assert (verdicts["moderate"] + verdicts["large"]) / 500 <= 0.08
    # The thresholds alone would have cried wolf: the test is not empty.
    assert sum(drift.psi >= 0.1 for drift in found if drift) / 500 > 0.8


def test_a_large_shift_is_flagged_in_a_large_run_and_unclear_in_a_tiny_one() -> None:
    """A model that calls everything pop would pass unnoticed."""
    before = dict.fromkeys(GENRES, 1000)
    now = dict.fromkeys(GENRES, 500) | {"pop": 5500}
    assert (large := measure_drift(before, now))
    assert large.verdict == "large"
    assert (tiny := measure_drift({"pop": 2, "rock": 2}, {"pop": 1, "jazz": 2}))
    assert tiny.verdict == "unclear"


def test_a_genre_that_one_run_lacks_is_no_infinity_and_no_run_is_none() -> None:
    """The page of a small night would show 'inf', or not be written."""
    drift = measure_drift({"jazz": 50, "rock": 50}, {"jazz": 100})
    assert drift is not None
    assert math.isfinite(drift.psi)
    assert measure_drift({}, {"jazz": 1}) is None
    assert (same := measure_drift({"jazz": 9}, {"jazz": 3}))
    assert same.verdict == "stable"
