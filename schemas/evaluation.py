"""Evaluation: the results of measuring a classifier, as ``earmark evaluate --json`` writes them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

EvaluationProtocol = Literal["as given", "segment", "track", "file"]
Unit = Literal["track", "piece"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Scores(_Frozen):
    """Metrics of one classifier on one set of tracks or pieces.

    Attributes
    ----------
    name : str
        The model, or a baseline: ``svm``, ``k-nn``, ``k-means``, ``majority``.
    unit : str
        What is counted: tracks (probabilities averaged over a track's segments) or pieces.
    n : int
        Number of tracks or pieces.
    accuracy : float
        Fraction whose most probable genre is the true one.
    accuracy_interval : tuple of float
        95 % bootstrap interval, resampling tracks.
    macro_f1 : float
        Mean F1 score over the genres in the test set.
    top3_accuracy : float or None
        Fraction whose true genre is among the three most probable; None for a classifier that predicts only
        one.
    ece : float or None
        Expected calibration error (15 bins of equal width); None for a classifier without probabilities.
    """

    name: str
    unit: Unit
    n: int = Field(ge=1)
    accuracy: float
    accuracy_interval: tuple[float, float]
    macro_f1: float
    top3_accuracy: float | None = None
    ece: float | None = None


class GenreScore(_Frozen):
    """Precision, recall and F1 score of one genre.

    Attributes
    ----------
    precision, recall, f1 : float or None
        Precision is None if nothing was predicted as the genre; recall is None if no track belongs to it.
    support : int
        Tracks (or pieces) that belong to the genre.
    """

    genre: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


class ConfidenceBin(_Frozen):
    """One bar of the reliability diagram.

    Attributes
    ----------
    low, high : float
        The bin holds confidences in the half-open interval [`low`, `high`).
    n : int
        Tracks (or pieces) in the bin.
    confidence, accuracy : float or None
        Mean confidence and fraction correct in the bin; None for an empty bin.
    """

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None


class CoveragePoint(_Frozen):
    """The effect of one value of ``--min-confidence``.

    Attributes
    ----------
    min_confidence : float
        The threshold.
    coverage : float
        Fraction of tracks (or pieces) that still get a genre.
    accuracy : float or None
        Fraction of those that are correct; None if none is left.
    outside_accepted : float or None
        Fraction of out-of-distribution tracks that still get a genre; None if none were tested.
    """

    min_confidence: float
    coverage: float
    accuracy: float | None
    outside_accepted: float | None = None


class Mistake(_Frozen):
    """A misclassified track."""

    track: str
    genre: str
    predicted: str
    confidence: float


class OutOfDistribution(_Frozen):
    """Out-of-distribution tracks (of none of the model's genres) and what the model predicted for them.

    Attributes
    ----------
    source : str
        Where the tracks came from.
    n : int
        Number of tracks.
    mean_confidence : float
        Mean confidence of the predictions, all of which are wrong; 0 for tracks recognized as no music.
    taken_for : dict
        Number of tracks per predicted genre, most frequent first.
    not_music : int
        Number of further tracks that the model recognizes as no music; they get no genre.
    """

    source: str
    n: int = Field(ge=1)
    mean_confidence: float
    taken_for: dict[str, int]
    not_music: int = 0


class TrainingOverlap(_Frozen):
    """How many tested tracks the model was also trained or calibrated on.

    Attributes
    ----------
    known : bool
        Whether the model records which tracks it was made from.
    trained_on, calibrated_on : int
        Tested tracks that its weights, or its temperature, were fitted to: compared by content where
        possible, else by name.
    seen : int
        Tested tracks that it was trained or calibrated on, each counted once.
    same_name : int
        Other tested tracks that share a name with a training track but have different content.
    """

    known: bool
    trained_on: int = 0
    calibrated_on: int = 0
    seen: int = 0
    same_name: int = 0


class Evaluation(_Frozen):
    """The results of an evaluation. Top-level metrics are the model's, counted by `unit`.

    Attributes
    ----------
    model : str
        Name and content hash, or the architecture that was trained for this evaluation.
    data : str
        The test data.
    protocol : str
        How test and training tracks were kept apart: ``as given`` (an existing model), ``segment``, ``track``
        or ``file``.
    leak : str
        What the classifier may have heard of the test music in training, as a sentence.
    split : str or None
        The requested split, without folders.
    folds : int
        Cross-validation folds; 1 for a single split.
    seed : int
        Seed of splits, training and intervals.
    n_tracks, n_segments : int
        Tested tracks and their segments (or pieces).
    n_train_tracks : int or None
        Training tracks (mean over folds); None for an existing model.
    confusion : list of list of int
        Confusion matrix. Rows are true genres and columns predicted ones, both in the order of `genres`.
    other_unit : Scores or None
        The same metrics by piece (or by track if `unit` is ``piece``), if the two differ.
    fold_accuracies : tuple of float
        Accuracy of each fold.
    baselines : tuple of Scores
        scikit-learn classifiers on the same split, counted by `unit`.
    baselines_other_unit : tuple of Scores
        The same baselines counted by the other unit, if the two differ.
    baseline_features : str or None
        The features that the baselines use.
    """

    model: str
    data: str
    protocol: EvaluationProtocol
    leak: str
    split: str | None = None
    folds: int = 1
    seed: int = 0
    unit: Unit
    n_tracks: int
    n_segments: int
    n_train_tracks: int | None = None
    accuracy: float
    accuracy_interval: tuple[float, float]
    macro_f1: float
    top3_accuracy: float | None
    ece: float
    other_unit: Scores | None = None
    genres: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    per_genre: tuple[GenreScore, ...]
    reliability: tuple[ConfidenceBin, ...]
    coverage: tuple[CoveragePoint, ...]
    mistakes: tuple[Mistake, ...]
    n_mistakes: int
    fold_accuracies: tuple[float, ...] = ()
    baselines: tuple[Scores, ...] = ()
    baselines_other_unit: tuple[Scores, ...] = ()
    baseline_features: str | None = None
    outside: OutOfDistribution | None = None
    seen: TrainingOverlap | None = None
    versions: dict[str, str] = {}

    @property
    def seen_genres(self) -> tuple[int, ...]:
        """Numbers of the genres that the data has, or that were predicted."""
        columns = zip(*self.confusion, strict=True)
        return tuple(
            place
            for place, (row, column) in enumerate(zip(self.confusion, columns, strict=True))
            if any(row) or any(column)
        )
