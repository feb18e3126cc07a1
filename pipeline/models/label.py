"""A track's label out of the probabilities of its segments."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import LabelError


@dataclass(frozen=True, slots=True)
class TrackLabel:
    """What a model says of a track.

    Attributes
    ----------
    genre : str or None
        The most probable genre; None for silence, and where the model is not sure enough.
    confidence : float
        Its probability, rounded to float32 as tables store it: a reader who compares the column with the same
        number comes to the same tracks.
    probabilities : ndarray of float64, shape (n_genres,)
        Of all genres, in the model's order.
    order : ndarray of int64, shape (n_genres,)
        Numbers of the genres, the most probable first; ties are in the model's order.
    """

    genre: str | None
    confidence: float
    probabilities: NDArray[np.float64]
    order: NDArray[np.int64]


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
