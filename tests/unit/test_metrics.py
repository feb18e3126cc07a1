"""Metrics, on which every printed accuracy and confidence depends."""

import numpy as np
import pytest

from pipeline.models.metrics import (
    accuracy,
    accuracy_interval,
    average_by_track,
    confusion_matrix,
    cross_calibrate,
    expected_calibration_error,
    fit_temperature,
    macro_f1,
    negative_log_likelihood,
    precision_recall_f1,
    reliability,
    top3_accuracy,
)
from pipeline.models.prediction import softmax


def test_accuracy_and_its_interval() -> None:
    """An interval that is too narrow makes chance look like progress; the binomial one is known."""
    labels = np.zeros(197, np.intp)
    proba = np.where(np.arange(197)[:, None] < 130, [0.8, 0.2], [0.3, 0.7])
    assert accuracy(proba, labels) == 130 / 197
    low, high = accuracy_interval(proba, labels)
    half_width = 1.96 * np.sqrt(130 / 197 * 67 / 197 / 197)
    assert low == pytest.approx(130 / 197 - half_width, abs=0.01)
    assert high == pytest.approx(130 / 197 + half_width, abs=0.01)


def test_expected_calibration_error_by_hand() -> None:
    """Users choose thresholds by a figure that differs from the published definition."""
    proba = np.array([[0.9, 0.1], [0.9, 0.1], [0.45, 0.55], [0.0, 1.0]])
    labels = np.array([0, 1, 1, 1])
    expected = (2 * abs(0.5 - 0.9) + abs(1 - 0.55) + 0) / 4
    assert expected_calibration_error(proba, labels) == pytest.approx(expected)


def test_temperature_is_recovered() -> None:
    """Labels drawn from softmax(logits): doubling the logits must give a temperature of 2."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 5))
    labels = np.array([rng.choice(5, p=p) for p in softmax(logits)])
    temperature = fit_temperature(2 * logits, labels)
    assert temperature == pytest.approx(2, rel=0.03)
    assert negative_log_likelihood(2 * logits / temperature, labels) < negative_log_likelihood(
        2 * logits, labels
    )


@pytest.mark.parametrize("n", [1, 3, 100])
def test_few_right_answers_are_no_certainty(n: int) -> None:
    """A model that is right on three held-out tracks gives every later mistake a confidence of 100 %."""
    labels = np.arange(n) % 3
    logits = 4.0 * np.eye(3)[labels]
    confidence = softmax(logits / fit_temperature(logits, labels)).max(axis=1)
    np.testing.assert_allclose(confidence, (n + 1) / (n + 2), rtol=1e-3)


def test_temperature_of_logits_that_are_far_apart() -> None:
    """A network whose logits have no bounds, and always right, gets NaN or the lowest temperature."""
    logits, labels = 1e4 * np.eye(4), np.arange(4)
    assert fit_temperature(logits, labels) == pytest.approx(20, rel=0.01)


def test_mean_by_track_is_what_labeling_does() -> None:
    """The figure is not about tracks, although a catalog gets one label per track."""
    proba = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    mean, labels = average_by_track(proba, np.array([0, 1, 0]), np.array(["b", "a", "b"]))
    np.testing.assert_allclose(mean, [[0.2, 0.8], [0.6, 0.4]])
    assert labels.tolist() == [1, 0]


def test_interval_of_pieces_is_that_of_their_tracks() -> None:
    """Ten pieces of one track count as ten tracks, and the interval is three times too narrow."""
    rng = np.random.default_rng(0)
    proba = rng.dirichlet(np.ones(4), 60)
    labels = rng.integers(0, 4, 60)
    names = np.array([f"{i:02d}" for i in range(60)])
    by_track = accuracy_interval(proba, labels)
    pieces = accuracy_interval(proba.repeat(10, axis=0), labels.repeat(10), names.repeat(10))
    assert pieces == pytest.approx(by_track)
    low, high = accuracy_interval(proba.repeat(10, axis=0), labels.repeat(10))
    assert high - low < 0.5 * (by_track[1] - by_track[0]), "rows taken for tracks"


def test_interval_over_tracks_of_different_lengths_covers_the_truth() -> None:
    """The interval covers the truth less often than 95 % when tracks differ in length and difficulty."""
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        lengths = rng.integers(1, 12, 80)
        difficulty = rng.beta(4, 2, 80)
        right = rng.random(lengths.sum()) < difficulty.repeat(lengths)
        proba = np.where(right[:, None], [0.8, 0.2], [0.3, 0.7])
        tracks = np.arange(80).repeat(lengths).astype(str)
        low, high = accuracy_interval(proba, np.zeros(len(right), np.intp), tracks, draws=400, seed=trial)
        covered += low <= 4 / 6 <= high
    assert 0.88 <= covered / 200 <= 0.99


@pytest.mark.parametrize("n_right", [5, 0])
def test_interval_of_five_out_of_five_is_wide(n_right: int) -> None:
    """Five right tracks of five look like a perfect model; scipy has the exact interval."""
    from scipy.stats import binomtest

    proba = np.tile([0.9, 0.1], (5, 1))
    labels = np.zeros(5, np.intp) if n_right else np.ones(5, np.intp)
    exact = binomtest(n_right, 5).proportion_ci(0.95, "exact")
    assert accuracy_interval(proba, labels) == pytest.approx((exact.low, exact.high))


def test_figures_by_genre_are_those_of_scikit_learn() -> None:
    """A table by genre disagrees with scikit-learn and cannot be compared with published ones."""
    from sklearn import metrics as reference

    rng = np.random.default_rng(2)
    labels = rng.integers(0, 5, 300)
    predicted = np.where(rng.random(300) < 0.5, labels, rng.integers(0, 6, 300))
    confusion = confusion_matrix(predicted, labels, 7)
    np.testing.assert_array_equal(confusion, reference.confusion_matrix(labels, predicted, labels=range(7)))
    expected = reference.precision_recall_fscore_support(
        labels, predicted, labels=range(5), zero_division=np.nan
    )
    for ours, theirs in zip(precision_recall_f1(confusion), expected[:3], strict=True):
        np.testing.assert_allclose(ours[:5], theirs)
    assert macro_f1(confusion) == pytest.approx(np.mean(expected[2]))
    precision, recall, f1 = precision_recall_f1(confusion)
    assert (precision[5], f1[5]) == (0, 0)
    assert np.isnan([recall[5], precision[6], recall[6], f1[6]]).all(), "not tested is not zero"


def test_top_3_accuracy_is_that_of_scikit_learn() -> None:
    """The figure is wrong for users who choose among three suggestions."""
    from sklearn.metrics import top_k_accuracy_score

    rng = np.random.default_rng(3)
    proba, labels = rng.dirichlet(np.ones(6), 200), rng.integers(0, 6, 200)
    assert top3_accuracy(proba, labels) == pytest.approx(top_k_accuracy_score(labels, proba, k=3))
    assert top3_accuracy(np.full((4, 6), 1 / 6), np.arange(4)) == 0, "no answer is no right answer"


def test_reliability_counts_every_row_once() -> None:
    """The diagram loses the most confident rows, which matter most."""
    proba = np.array([[1.0, 0.0], [0.5, 0.5], [0.52, 0.48], [0.05, 0.95]])
    n, confidence, right = reliability(proba, np.array([0, 0, 1, 1]))
    assert n.tolist() == [*[0] * 7, 2, *[0] * 6, 2]
    assert confidence[7] == pytest.approx(1.02)
    assert right[[7, 14]].tolist() == [1, 2]


def test_cross_calibration_does_not_use_the_tested_tracks() -> None:
    """Every model looks calibrated, because its temperature is fitted to the tested tracks."""
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 2, (3000, 4))
    labels = np.array([rng.choice(4, p=p) for p in softmax(logits)])
    tracks = np.array([f"{i // 3:04d}" for i in range(3000)])
    proba = cross_calibrate(3 * logits, labels, tracks)
    assert expected_calibration_error(softmax(3 * logits), labels) > 0.1
    assert expected_calibration_error(proba, labels) < 0.03
    np.testing.assert_array_equal(proba.argmax(axis=1), logits.argmax(axis=1))
    other = labels.copy()
    other[tracks == "0007"] = (other[tracks == "0007"] + 1) % 4
    moved = cross_calibrate(3 * logits, other, tracks)
    np.testing.assert_array_equal(moved[tracks == "0007"], proba[tracks == "0007"])
    assert (moved != proba).any(), "the other half is fitted to it"


def test_tracks_of_the_same_share_prove_no_exact_accuracy() -> None:
    """2 of 3 pieces of a single track had an interval of 0.667 – 0.667."""
    labels, tracks = np.array([0, 0, 1]), np.array(["a", "a", "a"])
    low, high = accuracy_interval(np.eye(2)[[0, 0, 0]], labels, tracks)
    assert low < 0.1
    assert high > 0.95
