"""Compute every reported metric from the predictions of a classifier on held-out music."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.protocols import other_unit
from pipeline.models import metrics
from pipeline.models.label import accepted_probabilities, music_weights
from schemas.evaluation import (
    ConfidenceBin,
    CoveragePoint,
    Evaluation,
    EvaluationProtocol,
    GenreScore,
    Mistake,
    OutOfDistribution,
    Scores,
    TrainingOverlap,
    Unit,
)

THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(20))
"""Values of ``--min-confidence`` for which coverage is reported."""
MAX_MISTAKES = 25


@dataclass(frozen=True, slots=True)
class Predictions:
    """The predictions of a classifier for tested segments.

    Attributes
    ----------
    proba : ndarray of float64, shape (n, n_genres)
        Probabilities, or other scores; the highest wins.
    labels : ndarray of int, shape (n,)
        Index of the true genre.
    tracks : ndarray of str, shape (n,)
        The track of each segment.
    is_music : ndarray of float64, shape (n,), or None
        Probability that the segment is music; None or NaN if the model does not tell.
    """

    proba: NDArray[np.float64]
    labels: NDArray[np.intp]
    tracks: NDArray[np.str_]
    is_music: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def predicted(self) -> NDArray[np.intp]:
        """Index of the predicted genre of each segment, shape (n,)."""
        return np.asarray(self.proba.argmax(axis=1))

    @property
    def accepted_proba(self) -> NDArray[np.float64]:
        """The probabilities, with zeros for what is probably not music and gets no genre in labeling."""
        return accepted_probabilities(self.proba, self.is_music)

    @property
    def has_pieces(self) -> bool:
        """Whether a track has several segments, so that metrics by track and by piece differ."""
        return len(np.unique(self.tracks)) < len(self)

    def by_unit(self, unit: Unit) -> "Predictions":
        """Return the predictions by piece, unchanged, or by track, averaged as in labeling."""
        if unit == "piece":
            return self
        is_music = self.is_music
        weights = None if is_music is None else music_weights(is_music)
        proba, labels = metrics.average_by_track(self.proba, self.labels, self.tracks, weights)
        if is_music is not None:
            is_music = metrics.average_by_track(is_music[:, np.newaxis], self.labels, self.tracks)[0][:, 0]
        return Predictions(proba, labels, np.unique(self.tracks), is_music)

    @classmethod
    def concatenate(cls, parts: Sequence["Predictions"]) -> "Predictions":
        """Concatenate the predictions of several folds."""
        is_music = [part.is_music for part in parts if part.is_music is not None]
        return cls(
            np.concatenate([part.proba for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.tracks for part in parts]),
            np.concatenate(is_music) if is_music else None,
        )


def score(
    name: str,
    predictions: Predictions,
    unit: Unit,
    *,
    seed: int = 0,
    ranks: bool = True,
    calibrated: bool = True,
) -> Scores:
    """Return the metrics of a classifier by `unit`.

    Parameters
    ----------
    name : str
    predictions : Predictions
        Predictions of segments.
    unit : {"track", "piece"}
    seed : int
        Seed of the bootstrap.
    ranks : bool
        Whether the order after the first genre is meaningful; otherwise there is no top-3 accuracy.
    calibrated : bool
        Whether the scores are probabilities; otherwise there is no calibration error.
    """
    counted = predictions.by_unit(unit)
    n_genres = counted.proba.shape[1]
    confusion = metrics.confusion_matrix(counted.predicted, counted.labels, n_genres)
    interval = metrics.accuracy_interval(counted.proba, counted.labels, counted.tracks, seed=seed)
    ece = metrics.expected_calibration_error(counted.proba, counted.labels) if calibrated else None
    return Scores(
        name=name,
        unit=unit,
        n=len(counted),
        accuracy=metrics.accuracy(counted.proba, counted.labels),
        accuracy_interval=interval,
        macro_f1=metrics.macro_f1(confusion),
        top3_accuracy=metrics.top3_accuracy(counted.proba, counted.labels) if ranks else None,
        ece=ece,
    )


@dataclass(frozen=True)
class Setup:
    """How predictions were made: fields of `schemas.evaluation.Evaluation` that they do not show."""

    data: str
    protocol: EvaluationProtocol
    leak: str
    split: str | None = None
    folds: int = 1
    n_train_tracks: int | None = None
    fold_accuracies: tuple[float, ...] = ()
    baselines: tuple[Scores, ...] = ()
    baselines_other_unit: tuple[Scores, ...] = ()
    baseline_features: str | None = None
    seen: TrainingOverlap | None = None
    versions: dict[str, str] = field(default_factory=dict)


def summarize(
    name: str,
    predictions: Predictions,
    unit: Unit,
    genres: Sequence[str],
    setup: Setup,
    *,
    outside: tuple[str, NDArray[np.float64]] | None = None,
    seed: int = 0,
) -> Evaluation:
    """Return everything that is reported about a classifier.

    Parameters
    ----------
    name : str
        The name of the model.
    predictions : Predictions
        Probabilities of segments.
    unit : {"track", "piece"}
        The unit that the metrics count.
    genres : sequence of str
        In the order of the probabilities.
    setup : Setup
        How the answers came about.
    outside : tuple of str and ndarray of shape (m, n_genres), optional
        The source of tracks of none of the genres, and the probabilities of each of them; all zero if the
        model recognizes that it is no music.
    seed : int
        Of the bootstrap.
    """
    figures = score(name, predictions, unit, seed=seed)
    counted = predictions.by_unit(unit)
    confusion = metrics.confusion_matrix(counted.predicted, counted.labels, len(genres))
    wrong = list_mistakes(counted, genres)
    return Evaluation(
        model=name,
        unit=unit,
        seed=seed,
        n_tracks=len(np.unique(predictions.tracks)),
        n_segments=len(predictions),
        accuracy=figures.accuracy,
        accuracy_interval=figures.accuracy_interval,
        macro_f1=figures.macro_f1,
        top3_accuracy=figures.top3_accuracy,
        ece=figures.ece or 0.0,
        other_unit=score(name, predictions, other_unit(unit), seed=seed) if predictions.has_pieces else None,
        genres=tuple(genres),
        confusion=tuple(map(tuple, confusion.tolist())),
        per_genre=genre_scores(confusion, genres),
        reliability=reliability_bins(counted),
        coverage=coverage_points(counted, outside[1] if outside else None),
        mistakes=tuple(wrong[:MAX_MISTAKES]),
        n_mistakes=len(wrong),
        outside=describe_outside(*outside, genres) if outside else None,
        **vars(setup),
    )


def genre_scores(confusion: NDArray[np.int64], genres: Sequence[str]) -> tuple[GenreScore, ...]:
    """Return precision, recall, F1 and support of each genre."""
    columns = (column.tolist() for column in metrics.precision_recall_f1(confusion))
    return tuple(
        GenreScore(
            genre=genre, precision=_nan_to_none(p), recall=_nan_to_none(r), f1=_nan_to_none(f), support=int(n)
        )
        for genre, p, r, f, n in zip(genres, *columns, confusion.sum(axis=1), strict=True)
    )


def reliability_bins(counted: Predictions) -> tuple[ConfidenceBin, ...]:
    """Return the bars of the reliability diagram (Niculescu-Mizil and Caruana 2005)."""
    n, confidence, right = metrics.reliability(counted.proba, counted.labels)
    width = 1 / len(n)
    return tuple(
        ConfidenceBin(
            low=round(i * width, 4),
            high=round((i + 1) * width, 4),
            n=int(n[i]),
            confidence=float(confidence[i] / n[i]) if n[i] else None,
            accuracy=float(right[i] / n[i]) if n[i] else None,
        )
        for i in range(len(n))
    )


def coverage_points(
    counted: Predictions, outside: NDArray[np.float64] | None = None
) -> tuple[CoveragePoint, ...]:
    """Return, for each of `THRESHOLDS`, the share of tracks that keep a genre, and their accuracy.

    As in labeling, tracks that are probably not music have no genre at any threshold.
    """
    right = counted.predicted == counted.labels
    points = []
    for threshold in THRESHOLDS:
        kept = _keep_genre(counted.accepted_proba, threshold)
        accepted = None if outside is None else float(_keep_genre(outside, threshold).mean())
        points.append(
            CoveragePoint(
                min_confidence=threshold,
                coverage=float(kept.mean()),
                accuracy=float(right[kept].mean()) if kept.any() else None,
                outside_accepted=accepted,
            )
        )
    return tuple(points)


def _keep_genre(proba: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    """Return which tracks keep a genre; those whose probabilities are all zero never do."""
    return np.asarray(proba.any(axis=1) & (proba.max(axis=1) >= threshold))


def list_mistakes(counted: Predictions, genres: Sequence[str]) -> list[Mistake]:
    """Return the tracks with a wrong genre, the most confident first."""
    confidence, predicted = counted.proba.max(axis=1), counted.predicted
    wrong = np.flatnonzero(predicted != counted.labels)
    # Names break ties, so that the order is the same on every machine.
    order = sorted(wrong.tolist(), key=lambda row: (-confidence[row], str(counted.tracks[row])))
    return [
        Mistake(
            track=str(counted.tracks[row]),
            genre=genres[counted.labels[row]],
            predicted=genres[predicted[row]],
            confidence=float(confidence[row]),
        )
        for row in order
    ]


def describe_outside(source: str, proba: NDArray[np.float64], genres: Sequence[str]) -> OutOfDistribution:
    """Summarize the genres that tracks of none of the genres were given."""
    named = proba[proba.any(axis=1)]
    predicted = Counter(genres[index] for index in named.argmax(axis=1).tolist())
    return OutOfDistribution(
        source=source,
        n=len(proba),
        mean_confidence=float(proba.max(axis=1).mean()),
        taken_for=dict(predicted.most_common()),
        not_music=len(proba) - len(named),
    )


def _nan_to_none(value: float) -> float | None:
    return None if np.isnan(value) else value
