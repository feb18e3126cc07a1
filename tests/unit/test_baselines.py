"""Baselines: a network that beats badly fitted baselines proves nothing."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.evaluation.baselines import baseline_features, describe_features, run_baselines
from pipeline.training.training_set import TrainingSet

GENRES = ("a", "b", "c", "d")


def make_set(seed: int, n: int = 120, *, n_genres: int = 4, spread: float = 0.3) -> TrainingSet:
    """Return descriptors around one center per genre, on scales that differ a thousandfold."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(0, 1, (n_genres, 57))
    labels = np.arange(n) % n_genres
    values = (centers[labels] + rng.normal(0, spread, (n, 57))) * np.logspace(-3, 3, 57)
    tracks = np.array([f"{i:03d}" for i in range(n)])
    return TrainingSet(None, labels, tracks, GENRES[:n_genres], descriptors=values)


def accuracies(train: TrainingSet, test: TrainingSet) -> dict[str, float]:
    answers = run_baselines(train, test, 0)
    return {a.name: float(np.mean(a.scores.argmax(axis=1) == test.labels)) for a in answers}


@pytest.mark.parametrize("n_genres", [2, 4])
def test_easy_data_is_solved(n_genres: int) -> None:
    """Unscaled features or unmatched clusters make the baselines look worse than they are."""
    found = accuracies(make_set(0, n_genres=n_genres), make_set(1, n_genres=n_genres))
    assert found["svm"] >= 0.98
    assert found["k-nn"] >= 0.98
    assert found["k-means"] >= 0.98
    assert found["majority"] == pytest.approx(1 / n_genres)


def test_noise_stays_at_chance() -> None:
    """A baseline that sees the test labels beats every network."""
    train = make_set(0, spread=100.0)
    found = accuracies(train, make_set(1, 400, spread=100.0))
    assert all(0.15 <= accuracy <= 0.35 for accuracy in found.values()), found


def test_a_genre_without_training_tracks_is_never_predicted() -> None:
    """If a small list lacks a genre, the columns of the others shift."""
    whole, test = make_set(0), make_set(1)
    train = whole.take(np.flatnonzero(whole.labels != 1))
    for answer in run_baselines(train, test, 0):
        given = answer.scores.argmax(axis=1)
        assert answer.scores.shape == (120, 4)
        assert 1 not in given
        if answer.name != "majority":
            assert np.mean(given[test.labels != 1] == test.labels[test.labels != 1]) >= 0.98


def test_genres_of_the_model_that_the_data_lacks_cost_no_clusters() -> None:
    """Of a model with 19 genres, k-means looks worse than guessing on data with two of them."""
    train, test = (make_set(seed, n_genres=2) for seed in (0, 1))
    many = tuple(f"genre {number:02}" for number in range(19))
    places = np.array([7, 3])
    train, test = (replace(each, genres=many, labels=places[each.labels]) for each in (train, test))
    found = accuracies(train, test)
    assert found["k-means"] >= 0.98
    assert found["majority"] == 1 / 2


def test_log_mels_are_summarized_if_there_are_no_descriptors() -> None:
    """Baselines fail on an array file, which has only log-mels, or the report does not say what they read."""
    log_mel = np.zeros((2, 3, 4), np.uint8)
    log_mel[1] = [[0, 0, 0, 0], [10, 20, 10, 20], [5, 5, 5, 9]]
    data = TrainingSet(log_mel, np.array([0, 1]), np.array(["x", "y"]), GENRES[:2])
    features = baseline_features(data)
    assert features.shape == (2, 9)
    assert not features[0].any()
    np.testing.assert_allclose(features[1], [0, 15, 6, 0, 5, np.sqrt(3), 0, 10, 4 / 3], rtol=1e-6)
    assert "mel band" in describe_features(data)
    assert "57 descriptors" in describe_features(make_set(0))
