"""The label of a track, from the probabilities of its segments."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import LabelError


@dataclass(frozen=True, slots=True)
class TrackLabel:
    """The label that a model gives a track.

    Attributes
    ----------
    genre : str or None
        The most probable genre; None for silence, and if the model is not confident enough.
    confidence : float
        The probability of the most probable genre, rounded to float32 as in the tables, so that filtering the
        column by the same threshold selects the same tracks.
    probabilities : ndarray of float64, shape (n_genres,)
        Probabilities of all genres, in the order of the model.
    order : ndarray of int64, shape (n_genres,)
        Indices of the genres, the most probable first; ties keep the order of the model.
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
        The track, named in the error message.
    segments : ndarray of float64, shape (n, n_genres)
        The calibrated probabilities of each segment.
    silent : sequence of bool, of length n
        Whether there is nothing to label in each segment.
    genres : sequence of str
        The model's genres.
    min_confidence : float
        Below this confidence a track gets no genre.

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
    """Return the mean over the segments that are not silent, since a network gives silence a genre too.

    Parameters
    ----------
    segments : ndarray of float64, shape (n, n_genres)
        The calibrated probabilities of each segment.
    silent : sequence of bool, of length n
        Whether there is nothing to label in each segment.

    Returns
    -------
    ndarray of float64, shape (n_genres,)
        Equal probabilities if all segments are silent.
    """
    heard = ~np.asarray(silent, bool)
    n_genres = segments.shape[1]
    return segments[heard].mean(axis=0) if heard.any() else np.full(n_genres, 1 / n_genres)
