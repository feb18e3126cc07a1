"""Figures of a classifier: accuracy with its interval, calibration, and the temperature that mends it."""

import numpy as np
from numpy.typing import NDArray

from pipeline.model import softmax


def accuracy(proba: NDArray[np.float64], labels: NDArray[np.intp]) -> float:
    """Return the share of rows whose most probable genre is the true one."""
    return float(np.mean(proba.argmax(axis=1) == labels))


def accuracy_interval(
    proba: NDArray[np.float64],
    labels: NDArray[np.intp],
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the accuracy (Efron 1979).

    Rows are drawn as they are, so let each be a track of its own: segments of one track are not
    independent, and an interval over them would be too narrow.
    """
    right = proba.argmax(axis=1) == labels
    drawn = np.random.default_rng(seed).integers(0, len(right), (draws, len(right)))
    low, high = np.quantile(right[drawn].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def expected_calibration_error(
    proba: NDArray[np.float64], labels: NDArray[np.intp], *, bins: int = 15
) -> float:
    """Return the mean gap between confidence and accuracy over bins of equal width (Guo et al. 2017)."""
    confidence = proba.max(axis=1)
    gap = (proba.argmax(axis=1) == labels).astype(np.float64) - confidence
    place = np.minimum((confidence * bins).astype(np.intp), bins - 1)
    return float(np.abs(np.bincount(place, gap, minlength=bins)).sum() / len(gap))


def mean_by_track(
    proba: NDArray[np.float64], labels: NDArray[np.intp], tracks: NDArray[np.str_]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Average the probabilities of each track's segments, as labelling does; tracks in sorted order."""
    _, first, track_of = np.unique(tracks, return_index=True, return_inverse=True)
    summed = np.zeros((len(first), proba.shape[1]))
    np.add.at(summed, track_of, proba)
    return summed / np.bincount(track_of)[:, None], labels[first]


def negative_log_likelihood(logits: NDArray[np.float64], labels: NDArray[np.intp]) -> float:
    """Return the mean of minus the log of the probability of the true genre."""
    likelihood = softmax(logits)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(likelihood, 1e-300)).mean())


def fit_temperature(logits: NDArray[np.float64], labels: NDArray[np.intp]) -> float:
    """Return the temperature that makes the labels most likely (Guo et al. 2017).

    Sought between 0.05 and 20: a classifier that is never wrong on a small set would go to 0.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(logits / np.exp(log_temperature), labels)

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))
