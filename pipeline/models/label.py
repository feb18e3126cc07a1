"""The label of a track, from the probabilities of its segments."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.models.prediction import Prediction
from schemas.errors import LabelError
from schemas.model import ModelInfo
from schemas.taxonomy import Taxonomy

PROBABILITY_TOLERANCE = 1e-6
"""By how much stored probabilities may differ from what they were before they were rounded to float32."""
MIN_IS_MUSIC = 0.5
"""A track gets no genre if the probability that it is music is below this."""
_LEAST_WEIGHT = 1e-6
"""Weight of a segment that is surely not music: where all are, none is left out."""


@dataclass(frozen=True, slots=True)
class Label:
    """One of the genres or styles of a track.

    Attributes
    ----------
    genre : str
        The genre.
    style : str or None
        Its style; None for the genre as a whole.
    probability : float
        Its own probability, independent of other labels.
    """

    genre: str
    style: str | None
    probability: float


@dataclass(frozen=True, slots=True)
class TrackLabel:
    """The label that a model gives a track.

    Attributes
    ----------
    genre : str or None
        The most probable genre; None for silence, for what is probably not music, and if the model is not
        confident enough.
    confidence : float
        The probability of the most probable genre, rounded to float32 as in the tables, so that filtering the
        column by the same threshold selects the same tracks.
    probabilities : ndarray of float64, shape (n_genres,)
        Probabilities of all genres, in the order of the model.
    order : ndarray of int64, shape (n_genres,)
        Indices of the genres, the most probable first; ties keep the order of the model.
    is_music : float or None
        Probability that the track is music; None for silence, and if the model does not tell.
    style : str or None
        The most probable style of the genre; None if the model finds none.
    labels : tuple of Label or None
        All genres and styles that the model finds, the most probable first; None if it has no taxonomy.
    """

    genre: str | None
    confidence: float
    probabilities: NDArray[np.float64]
    order: NDArray[np.int64]
    is_music: float | None = None
    style: str | None = None
    labels: tuple[Label, ...] | None = None


def label_prediction(
    uri: str, segments: Prediction, silent: Sequence[bool], info: ModelInfo, min_confidence: float = 0.0
) -> TrackLabel:
    """Label a track from everything that a model predicts for its segments.

    Parameters
    ----------
    uri : str
        The track, named in the error message.
    segments : Prediction
        The predictions for the track's segments.
    silent : sequence of bool, of length n
        Whether there is nothing to label in each segment.
    info : ModelInfo
        The model.
    min_confidence : float
        Below this confidence a track gets no genre.

    Raises
    ------
    LabelError
        If the probabilities are not finite numbers.
    """
    label = _label_probabilities(uri, segments, silent, info.genres, min_confidence)
    if info.taxonomy is None or segments.is_music is None or segments.labels is None:
        return label
    is_music = track_is_music(segments, silent)
    if is_music is None:
        return replace(label, labels=())
    if is_music < MIN_IS_MUSIC:
        return replace(label, genre=None, is_music=is_music, labels=())
    labels = _likely(mean_of_music(segments.labels, segments, silent), info.taxonomy)
    styles = [each.style for each in labels if each.genre == label.genre and each.style is not None]
    return replace(label, is_music=is_music, style=styles[0] if styles else None, labels=labels)


def _label_probabilities(
    uri: str,
    segments: Prediction,
    silent: Sequence[bool],
    genres: Sequence[str],
    min_confidence: float,
) -> TrackLabel:
    """Label a track from the probabilities of the genres alone."""
    mean = track_probabilities(segments, silent)
    if not np.isfinite(mean).all():
        raise LabelError(f"{uri}: the model's probabilities are not finite numbers")
    order = np.argsort(-mean, kind="stable")
    confidence = float(np.float32(mean[order[0]]))
    genre = genres[order[0]] if not all(silent) and confidence >= min_confidence else None
    return TrackLabel(genre, confidence, mean, order)


def _likely(probabilities: NDArray[np.float64], taxonomy: Taxonomy) -> tuple[Label, ...]:
    """Return the classes above the threshold, the most probable first."""
    order = np.argsort(-probabilities, kind="stable")
    return tuple(
        Label(taxonomy.classes[place].genre, taxonomy.classes[place].style, float(probabilities[place]))
        for place in order.tolist()
        if probabilities[place] >= taxonomy.threshold
    )


def track_is_music(segments: Prediction, silent: Sequence[bool]) -> float | None:
    """Return the probability that a track is music, from its segments that are not silent.

    Parameters
    ----------
    segments : Prediction
        The predictions for the track's segments.
    silent : sequence of bool, of length n
        Whether there is nothing to label in each segment.

    Returns
    -------
    float or None
        Rounded to float32 as in the tables; None if all segments are silent or the model does not predict it.
    """
    heard = ~np.asarray(silent, bool)
    if segments.is_music is None or not heard.any():
        return None
    return float(np.float32(segments.is_music[heard].mean()))


def accepted_probabilities(
    proba: NDArray[np.float64], is_music: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Return the probabilities of tracks, with zeros for those that are probably not music.

    Parameters
    ----------
    proba : ndarray of float64, shape (n, n_genres)
        The probabilities of each track.
    is_music : ndarray of float64, shape (n,), or None
        Probability that each track is music; None or NaN if the model does not tell.

    Returns
    -------
    ndarray of float64, shape (n, n_genres)
    """
    if is_music is None:
        return proba
    # Rounded as in the tables, so that the same tracks get a genre as in labeling.
    return np.where(is_music.astype(np.float32)[:, np.newaxis] < MIN_IS_MUSIC, 0.0, proba)


def track_probabilities(segments: Prediction, silent: Sequence[bool]) -> NDArray[np.float64]:
    """Return the probabilities of the genres of a track: those of its segments, by `mean_of_music`.

    Parameters
    ----------
    segments : Prediction
        The predictions for the track's segments.
    silent : sequence of bool, of length n
        Whether there is nothing to label in each segment.

    Returns
    -------
    ndarray of float64, shape (n_genres,)
        Equal probabilities if all segments are silent.
    """
    n_genres = segments.proba.shape[1]
    if all(silent):
        return np.full(n_genres, 1 / n_genres)
    return mean_of_music(segments.proba, segments, silent)


def mean_of_music(
    values: NDArray[np.float64], segments: Prediction, silent: Sequence[bool]
) -> NDArray[np.float64]:
    """Return the mean over the segments of a track, each weighted by its probability of being music.

    A network gives speech and silence a genre too. So silent segments do not count, unless all are silent,
    and the talk between two songs hardly does.

    Parameters
    ----------
    values : ndarray of float64, shape (n, n_values)
        What the model predicts for each segment.
    segments : Prediction
        The predictions for the track's segments.
    silent : sequence of bool, of length n
        Whether there is nothing to label in each segment.

    Returns
    -------
    ndarray of float64, shape (n_values,)
    """
    heard = counted_segments(silent)
    weights = None if segments.is_music is None else music_weights(segments.is_music[heard])
    return np.asarray(np.average(values[heard], axis=0, weights=weights))


def counted_segments(silent: Sequence[bool]) -> NDArray[np.bool_]:
    """Return which segments of a track count: those that are not silent, or all if all are."""
    return ~np.asarray(silent, bool) | all(silent)


def music_weights(is_music: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how much each segment counts: as much as it is music, and fully if the model does not tell."""
    return np.maximum(np.where(np.isnan(is_music), 1.0, is_music), _LEAST_WEIGHT)
