"""Figures: what every accuracy and confidence that is printed rests on."""

import numpy as np
import pytest

from pipeline.metrics import (
    accuracy,
    accuracy_interval,
    expected_calibration_error,
    fit_temperature,
    mean_by_track,
    negative_log_likelihood,
)
from pipeline.model import softmax


def test_accuracy_and_its_interval() -> None:
    """An interval that is too narrow sells luck as progress; the binomial one is known."""
    labels = np.zeros(197, np.intp)
    proba = np.where(np.arange(197)[:, None] < 130, [0.8, 0.2], [0.3, 0.7])
    assert accuracy(proba, labels) == 130 / 197
    low, high = accuracy_interval(proba, labels)
    half_width = 1.96 * np.sqrt(130 / 197 * 67 / 197 / 197)
    assert low == pytest.approx(130 / 197 - half_width, abs=0.01)
    assert high == pytest.approx(130 / 197 + half_width, abs=0.01)


def test_expected_calibration_error_by_hand() -> None:
    """Users choose thresholds by confidence: the figure must be the published definition."""
    proba = np.array([[0.9, 0.1], [0.9, 0.1], [0.45, 0.55], [0.0, 1.0]])
    labels = np.array([0, 1, 1, 1])
    expected = (2 * abs(0.5 - 0.9) + abs(1 - 0.55) + 0) / 4
    assert expected_calibration_error(proba, labels) == pytest.approx(expected)


def test_temperature_is_found_again() -> None:
    """Labels drawn from softmax(logits): doubling the logits must give a temperature of 2."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 5))
    labels = np.array([rng.choice(5, p=p) for p in softmax(logits)])
    temperature = fit_temperature(2 * logits, labels)
    assert temperature == pytest.approx(2, rel=0.03)
    assert negative_log_likelihood(2 * logits / temperature, labels) < negative_log_likelihood(
        2 * logits, labels
    )


def test_temperature_stays_finite_where_nothing_is_wrong() -> None:
    """A small, easy validation set must not make a model that answers 100 % or NaN."""
    temperature = fit_temperature(np.array([[4.0, 0.0], [0.0, 4.0]]), np.array([0, 1]))
    assert 0.05 <= temperature < 0.1


def test_mean_by_track_is_what_labelling_does() -> None:
    """The figure must be of tracks, since a catalog gets one label a track."""
    proba = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    mean, labels = mean_by_track(proba, np.array([0, 1, 0]), np.array(["b", "a", "b"]))
    np.testing.assert_allclose(mean, [[0.2, 0.8], [0.6, 0.4]])
    assert labels.tolist() == [1, 0]
