"""Evaluation: what measuring a classifier came to, as ``earmark evaluate --json`` writes it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Protocol = Literal["as given", "segment", "track", "file"]
Unit = Literal["track", "piece"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Scores(_Frozen):
    """Figures of one classifier on one set of tracks or pieces.

    Attributes
    ----------
    name : str
        The model, or a baseline: ``svm``, ``k-nn``, ``k-means``, ``majority``.
    unit : str
        What is counted: tracks (mean of the probabilities of a track's segments) or pieces.
    n : int
        How many of them.
    accuracy : float
        Share whose most probable genre is the true one.
    accuracy_interval : tuple of float
        95 % interval by bootstrap over tracks.
    macro_f1 : float
        Mean of the F1 scores of the genres that were tested.
    top3_accuracy : float or None
        Share whose true genre is among the three most probable; None for a classifier that only names one.
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
    """How one genre fared: of the tracks that are of it (recall), of those that were put into it (precision).

    Attributes
    ----------
    precision, recall, f1 : float or None
        None where nothing was put into the genre (precision) or none of the tracks is of it (recall).
    support : int
        Tracks (or pieces) of the genre.
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
        Confidences from `low` to below `high`.
    n : int
        Tracks (or pieces) of such confidence.
    confidence, accuracy : float or None
        Their mean confidence, and the share of them that is right; None for an empty bin.
    """

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None


class CoveragePoint(_Frozen):
    """What ``--min-confidence`` at one value would do.

    Attributes
    ----------
    min_confidence : float
    coverage : float
        Share of tracks (or pieces) that are still given a genre.
    accuracy : float or None
        Share of those that is right; None where none is left.
    outside_accepted : float or None
        Share of the tracks of none of the genres that are given one all the same; None where none were given.
    """

    min_confidence: float
    coverage: float
    accuracy: float | None
    outside_accepted: float | None = None


class Mistake(_Frozen):
    """A track that was put into another genre than its own."""

    track: str
    genre: str
    predicted: str
    confidence: float


class Outside(_Frozen):
    """Tracks of none of the model's genres: what they were taken for.

    Attributes
    ----------
    source : str
        Where they came from.
    n : int
    mean_confidence : float
        Mean confidence the model has in its answer, which is always wrong.
    taken_for : dict
        How many were put into each genre, the most frequent first.
    """

    source: str
    n: int = Field(ge=1)
    mean_confidence: float
    taken_for: dict[str, int]


class Seen(_Frozen):
    """How many of the tested tracks the model has met before, as far as it says what it was made from.

    Attributes
    ----------
    known : bool
        Whether the model says which tracks it was made from.
    trained_on, calibrated_on : int
        Tested tracks that are among those that its weights and its temperature were fitted to: by content
        where that can be compared, else by name.
    same_name : int
        Others that bear the name of one that its weights were fitted to, with other content.
    """

    known: bool
    trained_on: int = 0
    calibrated_on: int = 0
    same_name: int = 0


class Evaluation(_Frozen):
    """An evaluation. The figures at the top level are those of the model by `unit`.

    Attributes
    ----------
    model : str
        Name and content hash, or the architecture that was trained for this evaluation.
    data : str
        What was tested on.
    protocol : str
        How tested and training tracks were kept apart: ``as given`` (a model made before), ``segment``,
        ``track`` or ``file``.
    leak : str
        What of the tested music the classifier may have met in training, in a sentence.
    split : str or None
        The split as it was asked for, without folders.
    folds : int
        Parts of the cross-validation; 1 for a single split.
    seed : int
        Of splits, training and intervals.
    n_tracks, n_segments : int
        Tracks that were tested, and their segments (or pieces).
    n_train_tracks : int or None
        Tracks that were trained on (the mean over folds); None for a model made before.
    confusion : list of list of int
        Row: the true genre, column: the one given, both in the order of `genres`.
    other_unit : Scores or None
        The same figures by piece (or by track, where `unit` is ``piece``), where the two differ.
    fold_accuracies : tuple of float
        Accuracy of each fold.
    baselines : tuple of Scores
        Classifiers of scikit-learn on the same split, by `unit`.
    baselines_other_unit : tuple of Scores
        The same by the other one, where the two differ.
    baseline_features : str or None
        What the baselines read.
    """

    model: str
    data: str
    protocol: Protocol
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
    outside: Outside | None = None
    seen: Seen | None = None
    versions: dict[str, str] = {}
