"""Figures of a classifier: accuracy with its interval, calibration, and the temperature that mends it."""

import numpy as np
from numpy.typing import NDArray

from pipeline.models.prediction import softmax

CALIBRATION_BINS = 15


def accuracy(proba: NDArray[np.float64], labels: NDArray[np.intp]) -> float:
    """Return the share of rows whose most probable genre is the true one."""
    return float(np.mean(proba.argmax(axis=1) == labels))


def accuracy_interval(
    proba: NDArray[np.float64],
    labels: NDArray[np.intp],
    tracks: NDArray[np.str_] | None = None,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the accuracy (Efron 1979).

    Parameters
    ----------
    proba : ndarray, shape (n, n_genres)
    labels : ndarray of int, shape (n,)
    tracks : ndarray of str, shape (n,), optional
        The track of each row: tracks are drawn, each with all its rows, since pieces of one track are not
        independent and an interval over them would be too narrow. Without it each row is a track.
    level : float
    draws, seed : int

    Notes
    -----
    Where everything is right, or everything wrong, no draw differs from another. The far end is then the
    exact one of Clopper and Pearson (1934), so that five tracks out of five are no proof of 100 %.
    """
    right = proba.argmax(axis=1) == labels
    n_right, n_rows = _per_track(right, tracks)
    tail = (1 - level) / 2
    if right.all() or not right.any():
        reach = float(tail ** (1 / len(n_rows)))
        return (reach, 1.0) if right.all() else (0.0, 1 - reach)
    rng = np.random.default_rng(seed)
    # In blocks: a table of all draws of 100,000 tracks would take a gigabyte.
    at_once = max(1, 10**7 // len(n_rows))
    means = []
    for start in range(0, draws, at_once):
        drawn = rng.integers(0, len(n_rows), (min(at_once, draws - start), len(n_rows)))
        means.append(n_right[drawn].sum(axis=1) / n_rows[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)


def _per_track(
    right: NDArray[np.bool_], tracks: NDArray[np.str_] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many rows of each track are right, and how many there are."""
    if tracks is None:
        return right.astype(np.int64), np.ones(len(right), np.int64)
    _, track_of = np.unique(tracks, return_inverse=True)
    return np.bincount(track_of, right).astype(np.int64), np.bincount(track_of).astype(np.int64)


def wilson_interval(count: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's interval (1927) of a share: 95 % as it is, and some width where all or none hold.

    Parameters
    ----------
    count, n : int
        So many of so many.
    z : float
        Standard deviations.
    """
    share, spread = count / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    reach = z * np.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return max(0.0, float(middle - reach)), min(1.0, float(middle + reach))


def top_k_accuracy(proba: NDArray[np.float64], labels: NDArray[np.intp], k: int = 3) -> float:
    """Return the share of rows whose true genre is among the `k` most probable; a tie counts against."""
    true = proba[np.arange(len(labels)), labels]
    others = (proba >= true[:, None]).sum(axis=1) - 1
    return float(np.mean(others < k))


def confusion_matrix(
    predicted: NDArray[np.intp], labels: NDArray[np.intp], n_genres: int
) -> NDArray[np.int64]:
    """Count rows by true genre (row) and given genre (column), shape (n_genres, n_genres)."""
    return np.bincount(labels * n_genres + predicted, minlength=n_genres**2).reshape(n_genres, n_genres)


def precision_recall_f1(
    confusion: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return precision, recall and F1 of each genre; NaN where the genre was not given, or not tested.

    F1 is NaN only where a genre was neither tested nor given.
    """
    hits = np.diag(confusion).astype(np.float64)
    given, support = confusion.sum(axis=0), confusion.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return hits / given, hits / support, 2 * hits / (given + support)


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """Return the mean F1 of the genres that were tested: each counts alike, however many tracks it has."""
    tested = confusion.sum(axis=1) > 0
    return float(precision_recall_f1(confusion)[2][tested].mean())


def expected_calibration_error(
    proba: NDArray[np.float64], labels: NDArray[np.intp], *, bins: int = CALIBRATION_BINS
) -> float:
    """Return the mean gap between confidence and accuracy over bins of equal width (Guo et al. 2017)."""
    n, confidence, right = reliability(proba, labels, bins=bins)
    return float(np.abs(right - confidence).sum() / n.sum())


def reliability(
    proba: NDArray[np.float64], labels: NDArray[np.intp], *, bins: int = CALIBRATION_BINS
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Add up confidences and right answers over bins of equal width: the bars of a reliability diagram.

    Returns
    -------
    n : ndarray of int, shape (bins,)
        Rows of each bin; a confidence of 1 belongs to the last.
    confidence, right : ndarray of float, shape (bins,)
        Sum of their confidences, and how many of them are right.
    """
    confidence = proba.max(axis=1)
    right = (proba.argmax(axis=1) == labels).astype(np.float64)
    place = np.minimum((confidence * bins).astype(np.intp), bins - 1)
    return (
        np.bincount(place, minlength=bins).astype(np.int64),
        np.bincount(place, confidence, minlength=bins).astype(np.float64),
        np.bincount(place, right, minlength=bins).astype(np.float64),
    )


def mean_by_track(
    proba: NDArray[np.float64], labels: NDArray[np.intp], tracks: NDArray[np.str_]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Average the probabilities of each track's segments; tracks in sorted order.

    So does labeling, but for segments without sound: those of tables are left out before
    (`pipeline.training.data.labeled_tables.import_tables`), and arrays do not mark them.
    """
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


def cross_fitted(
    logits: NDArray[np.float64], labels: NDArray[np.intp], tracks: NDArray[np.str_], *, seed: int = 0
) -> NDArray[np.float64]:
    """Return probabilities whose temperature was never fitted to the track that it is applied to.

    The tracks are halved at random; each half is divided by the temperature that fits the other half best. No
    training data is spent on calibration, and the calibration error does not flatter.

    Parameters
    ----------
    logits : ndarray, shape (n, n_genres)
    labels : ndarray of int, shape (n,)
    tracks : ndarray of str, shape (n,)
    seed : int
        Of the halves.

    Returns
    -------
    ndarray of float64, shape (n, n_genres)
        A set of one track alone is left as it is.
    """
    names, track_of = np.unique(tracks, return_inverse=True)
    if len(names) < 2:
        return softmax(logits)
    first = np.random.default_rng(seed).permutation(len(names)) < len(names) // 2
    half = first[track_of]
    proba = np.empty_like(logits)
    for rows, others in ((half, ~half), (~half, half)):
        proba[rows] = softmax(logits[rows] / fit_temperature(logits[others], labels[others]))
    return proba
