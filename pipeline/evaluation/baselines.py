"""Baselines: simple scikit-learn classifiers, to show what a network adds on the same split."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.training.training_set import TrainingSet

N_NEIGHBORS = 5
SVM_C = 10.0


@dataclass(frozen=True, slots=True)
class BaselinePredictions:
    """The predictions of a baseline for the tested segments.

    Attributes
    ----------
    name : str
        ``svm``, ``k-nn``, ``k-means`` or ``majority``.
    scores : ndarray of float64, shape (n, n_genres)
        Higher is more likely; these are not probabilities.
    ranks : bool
        Whether the order after the first genre is meaningful.
    """

    name: str
    scores: NDArray[np.float64]
    ranks: bool


def run_baselines(train: TrainingSet, test: TrainingSet, seed: int) -> list[BaselinePredictions]:
    """Fit four baselines on one set and predict another.

    They read standardized features (see `baseline_features`): a support vector machine with an RBF kernel
    (C = 10); the 5 nearest neighbors; k-means with one cluster per genre of the training set, matched to
    these so that the most training segments are right (Hungarian assignment, Kuhn 1955); and the most
    frequent genre.

    Parameters
    ----------
    train, test : TrainingSet
        Sets with the same genres, with descriptors or log-mels.
    seed : int
        Seed of k-means.

    Returns
    -------
    list of BaselinePredictions
    """
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    x_train = scaler.fit_transform(baseline_features(train))
    x_test = scaler.transform(baseline_features(test))
    n_genres = len(train.genres)
    majority = np.full(len(test), np.bincount(train.labels, minlength=n_genres).argmax())
    fits: tuple[tuple[str, Callable[[], NDArray[np.float64]], bool], ...] = (
        ("svm", lambda: _predict_svm(x_train, train.labels, x_test, n_genres), True),
        ("k-nn", lambda: _predict_k_nn(x_train, train.labels, x_test, n_genres), True),
        ("k-means", lambda: _predict_k_means(x_train, train.labels, x_test, n_genres, seed), False),
        ("majority", lambda: np.eye(n_genres)[majority], False),
    )
    return [BaselinePredictions(name, answer(), ranks) for name, answer, ranks in fits]


def baseline_features(data: TrainingSet) -> NDArray[np.float64]:
    """Return the features that the baselines read, shape (n, n_features).

    These are the descriptors if there are any. Otherwise they are, for each mel band, the mean, the standard
    deviation and the mean absolute change of its levels from frame to frame.
    """
    if data.descriptors is not None:
        return data.descriptors
    assert data.log_mel is not None  # noqa: S101 - a TrainingSet has one or the other
    summary = np.empty((len(data), 3, data.log_mel.shape[1]))
    for row, log_mel in zip(summary, data.log_mel, strict=True):
        levels = log_mel.astype(np.float32)
        row[0], row[1] = levels.mean(axis=1), levels.std(axis=1)
        row[2] = np.abs(np.diff(levels, axis=1)).mean(axis=1) if levels.shape[1] > 1 else 0.0
    return summary.reshape(len(data), -1)


def describe_features(data: TrainingSet) -> str:
    """Return a description of `baseline_features`."""
    if data.descriptors is not None:
        return f"the {data.descriptors.shape[1]} descriptors, standardized"
    return "mean, standard deviation and mean absolute change of each mel band, standardized"


def _predict_svm(
    x_train: NDArray[np.float64], labels: NDArray[np.intp], x_test: NDArray[np.float64], n_genres: int
) -> NDArray[np.float64]:
    from sklearn.svm import SVC

    machine = SVC(C=SVM_C, cache_size=500).fit(x_train, labels)
    margins = machine.decision_function(x_test)
    # For two genres there is one margin, whose sign decides.
    margins = np.stack([-margins, margins], axis=1) if margins.ndim == 1 else margins
    return _expand_classes(margins, machine.classes_, n_genres)


def _predict_k_nn(
    x_train: NDArray[np.float64], labels: NDArray[np.intp], x_test: NDArray[np.float64], n_genres: int
) -> NDArray[np.float64]:
    from sklearn.neighbors import KNeighborsClassifier

    neighbors = KNeighborsClassifier(min(N_NEIGHBORS, len(x_train)), weights="distance").fit(x_train, labels)
    return _expand_classes(neighbors.predict_proba(x_test), neighbors.classes_, n_genres)


def _predict_k_means(
    x_train: NDArray[np.float64],
    labels: NDArray[np.intp],
    x_test: NDArray[np.float64],
    n_genres: int,
    seed: int,
) -> NDArray[np.float64]:
    from scipy.optimize import linear_sum_assignment
    from sklearn.cluster import KMeans

    # A model can know genres that the data lacks: no cluster may be spent on them.
    present, places = np.unique(labels, return_inverse=True)
    clusters = KMeans(len(present), n_init=10, random_state=seed).fit(x_train)
    counts = np.zeros((len(present), len(present)), np.intp)
    np.add.at(counts, (clusters.labels_, places), 1)
    genre_of = present[linear_sum_assignment(counts, maximize=True)[1]]
    scores: NDArray[np.float64] = np.eye(n_genres)[genre_of[clusters.predict(x_test)]]
    return scores


def _expand_classes(
    scores: NDArray[np.float64], classes: NDArray[np.intp], n_genres: int
) -> NDArray[np.float64]:
    """Add columns, below all others, for genres that the training set lacks."""
    expanded = np.full((len(scores), n_genres), scores.min() - 1.0)
    expanded[:, classes] = scores
    return expanded
