"""Baselines: classifiers of scikit-learn, for saying what a network adds to plain ones on the same split."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.training.training_set import TrainingSet

N_NEIGHBORS = 5
SVM_C = 10.0


@dataclass(frozen=True, slots=True)
class BaselineAnswer:
    """What a baseline says of the tested segments.

    Attributes
    ----------
    name : str
        ``svm``, ``k-nn``, ``k-means`` or ``majority``.
    scores : ndarray of float64, shape (n, n_genres)
        The higher, the likelier; no probabilities.
    ranks : bool
        Whether the order behind the first genre means something.
    """

    name: str
    scores: NDArray[np.float64]
    ranks: bool


def run_baselines(train: TrainingSet, test: TrainingSet, seed: int) -> list[BaselineAnswer]:
    """Fit four baselines on one set and ask them about another.

    All see standardised features (see `baseline_features`): a support vector machine with a radial kernel
    (C = 10), the 5 nearest neighbors, and k-means with as many clusters as genres, each matched to the genre
    that makes the most of the training segments right (Hungarian assignment, Kuhn 1955). The fourth always
    gives the most frequent genre.

    Parameters
    ----------
    train, test : TrainingSet
        Of the same genres, with descriptors or log-mels.
    seed : int
        Of k-means.

    Returns
    -------
    list of BaselineAnswer
    """
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    known = scaler.fit_transform(baseline_features(train))
    asked = scaler.transform(baseline_features(test))
    n_genres = len(train.genres)
    majority = np.full(len(test), np.bincount(train.labels, minlength=n_genres).argmax())
    fits: tuple[tuple[str, Callable[[], NDArray[np.float64]], bool], ...] = (
        ("svm", lambda: _svm(known, train.labels, asked, n_genres), True),
        ("k-nn", lambda: _nearest(known, train.labels, asked, n_genres), True),
        ("k-means", lambda: _k_means(known, train.labels, asked, n_genres, seed), False),
        ("majority", lambda: np.eye(n_genres)[majority], False),
    )
    return [BaselineAnswer(name, answer(), ranks) for name, answer, ranks in fits]


def baseline_features(data: TrainingSet) -> NDArray[np.float64]:
    """Return what the baselines read of each segment, shape (n, n_features).

    The descriptors where there are any; else, for each mel band, the mean, the standard deviation and the
    mean absolute change from frame to frame of its levels.
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
    """Say in words what `baseline_features` gives."""
    if data.descriptors is not None:
        return f"the {data.descriptors.shape[1]} descriptors, standardised"
    return "mean, standard deviation and mean absolute change of each mel band, standardised"


def _svm(
    known: NDArray[np.float64], labels: NDArray[np.intp], asked: NDArray[np.float64], n_genres: int
) -> NDArray[np.float64]:
    from sklearn.svm import SVC

    machine = SVC(C=SVM_C, cache_size=500).fit(known, labels)
    margins = machine.decision_function(asked)
    # Of two genres there is one margin; the sign says which.
    margins = np.stack([-margins, margins], axis=1) if margins.ndim == 1 else margins
    return _spread(margins, machine.classes_, n_genres)


def _nearest(
    known: NDArray[np.float64], labels: NDArray[np.intp], asked: NDArray[np.float64], n_genres: int
) -> NDArray[np.float64]:
    from sklearn.neighbors import KNeighborsClassifier

    neighbors = KNeighborsClassifier(min(N_NEIGHBORS, len(known)), weights="distance").fit(known, labels)
    return _spread(neighbors.predict_proba(asked), neighbors.classes_, n_genres)


def _k_means(
    known: NDArray[np.float64],
    labels: NDArray[np.intp],
    asked: NDArray[np.float64],
    n_genres: int,
    seed: int,
) -> NDArray[np.float64]:
    from scipy.optimize import linear_sum_assignment
    from sklearn.cluster import KMeans

    clusters = KMeans(min(n_genres, len(known)), n_init=10, random_state=seed).fit(known)
    together = np.zeros((n_genres, n_genres), np.intp)
    np.add.at(together, (clusters.labels_, labels), 1)
    genre_of = linear_sum_assignment(together, maximize=True)[1]
    matched: NDArray[np.float64] = np.eye(n_genres)[genre_of[clusters.predict(asked)]]
    return matched


def _spread(scores: NDArray[np.float64], classes: NDArray[np.intp], n_genres: int) -> NDArray[np.float64]:
    """Give genres that the training part lacks a column too, below all others."""
    spread = np.full((len(scores), n_genres), scores.min() - 1.0)
    spread[:, classes] = scores
    return spread
