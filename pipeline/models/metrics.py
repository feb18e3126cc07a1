"""Metrics of a classifier: accuracy with its interval, calibration error, and the fitted temperature."""

import numpy as np
from numpy.typing import NDArray

from pipeline.models.prediction import softmax

_BINS = 15
_TAIL = (1 - 0.95) / 2
"""Share of the resamples beyond each end of a 95 % interval."""
Z95 = 1.959963984540054
"""Half-width of a 95 % interval of a normal distribution, in standard deviations."""


def accuracy(proba: NDArray[np.float64], labels: NDArray[np.intp]) -> float:
    """Return the share of rows whose most probable genre is the true one."""
    return float(np.mean(proba.argmax(axis=1) == labels))


def accuracy_interval(
    proba: NDArray[np.float64],
    labels: NDArray[np.intp],
    tracks: NDArray[np.str_] | None = None,
    *,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile bootstrap 95 % interval of the accuracy (Efron 1979).

    Parameters
    ----------
    proba : ndarray, shape (n, n_genres)
    labels : ndarray of int, shape (n,)
    tracks : ndarray of str, shape (n,), optional
        The track of each row. Whole tracks are resampled, since pieces of one track are not independent and
        resampling them would make the interval too narrow. If not given, each row is a track.
    draws, seed : int

    Notes
    -----
    If the same share of each track is right, such as all of it, every resample is the same. The interval is
    then the exact one of Clopper and Pearson (1934) for that share of the tracks, so that 5 of 5 tracks do
    not prove an accuracy of 100 %, nor 2 of 3 pieces of a single track one of 67 %.
    """
    right = proba.argmax(axis=1) == labels
    n_right, n_rows = _count_by_track(right, tracks)
    n_tracks = len(n_rows)
    if (n_right * len(right) == n_rows * right.sum()).all():
        from scipy.stats import beta

        hits = n_tracks * float(right.mean())
        low = beta.ppf(_TAIL, hits, n_tracks - hits + 1) if hits > 0 else 0.0
        high = beta.ppf(1 - _TAIL, hits + 1, n_tracks - hits) if hits < n_tracks else 1.0
        return float(low), float(high)
    rng = np.random.default_rng(seed)
    # In blocks: all resamples of 100,000 tracks at once would take more than a gigabyte.
    block = max(1, 10**7 // len(n_rows))
    means = []
    for start in range(0, draws, block):
        drawn = rng.integers(0, len(n_rows), (min(block, draws - start), len(n_rows)))
        means.append(n_right[drawn].sum(axis=1) / n_rows[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [_TAIL, 1 - _TAIL])
    return float(low), float(high)


def _count_by_track(
    right: NDArray[np.bool_], tracks: NDArray[np.str_] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of right rows and of all rows of each track."""
    if tracks is None:
        return right.astype(np.int64), np.ones(len(right), np.int64)
    _, track_of = np.unique(tracks, return_inverse=True)
    return np.bincount(track_of, right).astype(np.int64), np.bincount(track_of).astype(np.int64)


def wilson_interval(
    share: NDArray[np.float64], n: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute Wilson's 95 % score interval of a share.

    Parameters
    ----------
    share : ndarray
        Shares, 0 to 1.
    n : ndarray
        Sample sizes, of a shape that broadcasts to that of `share`.

    References
    ----------
    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = 1 / (1 + Z95**2 / n)
        middle = factor * (share + Z95**2 / (2 * n))
        half = factor * Z95 * np.sqrt(np.maximum(share * (1 - share), 0) / n + Z95**2 / (4 * n**2))
    # Rounding errors must not put a share close to 0 or 1 outside its own interval.
    return np.clip(middle - half, 0, share), np.clip(middle + half, share, 1)


def top3_accuracy(proba: NDArray[np.float64], labels: NDArray[np.intp]) -> float:
    """Return the share of rows whose true genre is among the 3 most probable; a tie counts as a miss."""
    true = proba[np.arange(len(labels)), labels]
    others = (proba >= true[:, None]).sum(axis=1) - 1
    return float(np.mean(others < 3))


def confusion_matrix(
    predicted: NDArray[np.intp], labels: NDArray[np.intp], n_genres: int
) -> NDArray[np.int64]:
    """Count rows by true genre (row) and predicted genre (column), shape (n_genres, n_genres)."""
    return np.bincount(labels * n_genres + predicted, minlength=n_genres**2).reshape(n_genres, n_genres)


def precision_recall_f1(
    confusion: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return precision, recall and F1 of each genre.

    Precision is NaN if the genre was never predicted, recall if it was not tested, F1 if neither.
    """
    hits = np.diag(confusion).astype(np.float64)
    n_predicted, support = confusion.sum(axis=0), confusion.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return hits / n_predicted, hits / support, 2 * hits / (n_predicted + support)


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """Return the unweighted mean F1 of the genres that were tested."""
    tested = confusion.sum(axis=1) > 0
    return float(precision_recall_f1(confusion)[2][tested].mean())


def expected_calibration_error(proba: NDArray[np.float64], labels: NDArray[np.intp]) -> float:
    """Return the mean gap between confidence and accuracy over bins of equal width (Guo et al. 2017)."""
    n, confidence, right = reliability(proba, labels)
    return float(np.abs(right - confidence).sum() / n.sum())


def reliability(
    proba: NDArray[np.float64], labels: NDArray[np.intp]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Sum confidences and right predictions over bins of equal width, for a reliability diagram.

    Returns
    -------
    n : ndarray of int, shape (15,)
        Rows in each bin; a confidence of 1 is in the last.
    confidence, right : ndarray of float, shape (15,)
        Sum of the confidences of these rows, and the number that are right.
    """
    confidence = proba.max(axis=1)
    right = (proba.argmax(axis=1) == labels).astype(np.float64)
    bin_of = np.minimum((confidence * _BINS).astype(np.intp), _BINS - 1)
    return (
        np.bincount(bin_of, minlength=_BINS).astype(np.int64),
        np.bincount(bin_of, confidence, minlength=_BINS).astype(np.float64),
        np.bincount(bin_of, right, minlength=_BINS).astype(np.float64),
    )


def average_by_track(
    proba: NDArray[np.float64],
    labels: NDArray[np.intp],
    tracks: NDArray[np.str_],
    weights: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Average the probabilities of the segments of each track, weighted; tracks are in sorted order.

    Labeling does the same, but ignores silent segments. Data from tables has none of them
    (`pipeline.training.data.labeled_tables.import_tables` drops them); arrays do not mark them.
    """
    _, first, track_of = np.unique(tracks, return_index=True, return_inverse=True)
    summed = np.zeros((len(first), proba.shape[1]))
    weights = np.ones(len(proba)) if weights is None else weights
    np.add.at(summed, track_of, proba * weights[:, np.newaxis])
    return summed / np.bincount(track_of, weights)[:, np.newaxis], labels[first]


def negative_log_likelihood(logits: NDArray[np.float64], labels: NDArray[np.intp]) -> float:
    """Return the mean negative log of the probability of the true genre."""
    likelihood = softmax(logits)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(likelihood, 1e-300)).mean())


def fit_temperature(logits: NDArray[np.float64], labels: NDArray[np.intp]) -> float:
    """Return the temperature that maximizes the likelihood of the labels (Guo et al. 2017).

    Each of n labels counts as true with a probability of only (n + 1) / (n + 2), as in Platt (1999): a
    classifier that is never wrong on a few tracks would otherwise be certain of every answer. The search is
    bounded to 0.05 … 20.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    rows, doubt = np.arange(len(labels)), 1 / (len(labels) + 2)

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        margin = scaled[rows, labels]
        scaled[rows, labels] = -np.inf
        margin -= logsumexp(scaled, axis=1)
        # -(1 - doubt) log p - doubt log(1 - p), where p is the logistic function of the margin
        return float((np.logaddexp(0, -margin) + doubt * margin).mean())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


def cross_calibrate(
    logits: NDArray[np.float64], labels: NDArray[np.intp], tracks: NDArray[np.str_], *, seed: int = 0
) -> NDArray[np.float64]:
    """Return probabilities calibrated without fitting a temperature to the tracks it is applied to.

    The tracks are split into random halves, and each half uses the temperature fitted to the other. This
    costs no training data, and the calibration error is not optimistic.

    Parameters
    ----------
    logits : ndarray, shape (n, n_genres)
    labels : ndarray of int, shape (n,)
    tracks : ndarray of str, shape (n,)
    seed : int
        Seed of the random halves.

    Returns
    -------
    ndarray of float64, shape (n, n_genres)
        A single track is not calibrated.
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
