"""A track's label out of the probabilities of its segments."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.models.prediction import Prediction
from schemas.errors import LabelError
from schemas.model import ModelInfo
from schemas.taxonomy import Taxonomy

MUSIC = 0.5
"""A track that is less probably music than this gets no genre."""


@dataclass(frozen=True, slots=True)
class Label:
    """A genre, or a style of one, that holds beside others.

    Attributes
    ----------
    genre : str
        The genre.
    style : str or None
        Its style; None: the genre as a whole.
    probability : float
        That it holds, whatever else does.
    """

    genre: str
    style: str | None
    probability: float


@dataclass(frozen=True, slots=True)
class TrackLabel:
    """What a model says of a track.

    Attributes
    ----------
    genre : str or None
        The most probable genre; None for silence, for no music, and where the model is not sure enough.
    confidence : float
        Its probability, rounded to float32 as tables store it: a reader who compares the column with the same
        number comes to the same tracks.
    probabilities : ndarray of float64, shape (n_genres,)
        Of all genres, in the model's order.
    order : ndarray of int64, shape (n_genres,)
        Numbers of the genres, the most probable first; ties are in the model's order.
    is_music : float or None
        Probability that there is music; None where the model does not say, and for silence.
    style : str or None
        The style of the genre, where the model means one.
    labels : tuple of Label or None
        All genres and styles that the model means, the most probable first; None where it names one genre.
    """

    genre: str | None
    confidence: float
    probabilities: NDArray[np.float64]
    order: NDArray[np.int64]
    is_music: float | None = None
    style: str | None = None
    labels: tuple[Label, ...] | None = None


def label_track(
    uri: str,
    segments: NDArray[np.float64],
    silent: Sequence[bool],
    genres: Sequence[str],
    min_confidence: float = 0.0,
) -> TrackLabel:
    """Label a track.

    Parameters
    ----------
    uri : str
        The track, for the message.
    segments : ndarray of float64, shape (n, n_genres)
        The calibrated probabilities of each segment.
    silent : sequence of bool, of length n
        Whether a segment has no sound at all.
    genres : sequence of str
        The model's genres.
    min_confidence : float
        A track that the model is less sure of gets no genre.

    Raises
    ------
    LabelError
        If the probabilities are not finite numbers.
    """
    mean = track_probabilities(segments, silent)
    if not np.isfinite(mean).all():
        raise LabelError(f"{uri}: the model's probabilities are not finite numbers")
    order = np.argsort(-mean, kind="stable")
    confidence = float(np.float32(mean[order[0]]))
    genre = genres[order[0]] if not all(silent) and confidence >= min_confidence else None
    return TrackLabel(genre, confidence, mean, order)


def label_prediction(
    uri: str, segments: Prediction, silent: Sequence[bool], info: ModelInfo, min_confidence: float = 0.0
) -> TrackLabel:
    """Label a track by all that a model says of its segments.

    Parameters
    ----------
    uri : str
        The track, for the message.
    segments : Prediction
        Of the track's segments.
    silent : sequence of bool
        Whether a segment has no sound at all.
    info : ModelInfo
        The model.
    min_confidence : float
        A track that the model is less sure of gets no genre.

    Raises
    ------
    LabelError
        If the probabilities are not finite numbers.
    """
    label = label_track(uri, segments.proba, silent, info.genres, min_confidence)
    if info.taxonomy is None or segments.is_music is None or segments.labels is None:
        return label
    heard = ~np.asarray(silent, bool)
    if not heard.any():
        return replace(label, labels=())
    is_music = float(np.float32(segments.is_music[heard].mean()))
    if is_music < MUSIC:
        return replace(label, genre=None, is_music=is_music, labels=())
    labels = _likely(segments.labels[heard].mean(axis=0), info.taxonomy)
    styles = [each.style for each in labels if each.genre == label.genre and each.style is not None]
    return replace(label, is_music=is_music, style=styles[0] if styles else None, labels=labels)


def _likely(probabilities: NDArray[np.float64], taxonomy: Taxonomy) -> tuple[Label, ...]:
    """Return the classes above the threshold, the most probable first."""
    order = np.argsort(-probabilities, kind="stable")
    return tuple(
        Label(taxonomy.classes[place].genre, taxonomy.classes[place].style, float(probabilities[place]))
        for place in order.tolist()
        if probabilities[place] >= taxonomy.threshold
    )


def track_probabilities(segments: NDArray[np.float64], silent: Sequence[bool]) -> NDArray[np.float64]:
    """Return the mean over the segments that are not silent: a network answers something for silence too.

    Parameters
    ----------
    segments : ndarray of float64, shape (n, n_genres)
        The calibrated probabilities of each segment.
    silent : sequence of bool, of length n
        Whether there is nothing to label in a segment.

    Returns
    -------
    ndarray of float64, shape (n_genres,)
        Of a track of silence alone, all are equally probable.
    """
    heard = ~np.asarray(silent, bool)
    n_genres = segments.shape[1]
    return segments[heard].mean(axis=0) if heard.any() else np.full(n_genres, 1 / n_genres)
