"""Combine the predictions of an ensemble's models into the label of a track."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.models.label import (
    TrackLabel,
    counted_segments,
    label_prediction,
    mean_of_music,
    track_probabilities,
)
from pipeline.models.prediction import Floats, Prediction, softmax
from schemas.model import ModelInfo

_LEAST = 1e-6
"""The least probability that counts, so that no model rules a genre out alone."""


@dataclass(frozen=True, slots=True)
class MemberPrediction:
    """The predictions of one model for a track.

    Attributes
    ----------
    info : ModelInfo
        The model.
    segments : Prediction
        Its predictions for the segments of the track that it reads.
    silent : sequence of bool
        Whether there is nothing to label in each of them.
    """

    info: ModelInfo
    segments: Prediction
    silent: Sequence[bool]


def label_members(
    uri: str, members: Sequence[MemberPrediction], info: ModelInfo, min_confidence: float = 0.0
) -> TrackLabel:
    """Label a track from the predictions of one model, or of all models of an ensemble.

    A model that finds only silence in its segments does not count, unless all do.

    Parameters
    ----------
    uri : str
        The track, named in the error message.
    members : sequence of MemberPrediction
        The predictions of the models.
    info : ModelInfo
        The model or ensemble.
    min_confidence : float
        Below this confidence a track gets no genre.

    Raises
    ------
    LabelError
        If the probabilities are not finite numbers.
    """
    if not info.members:
        (only,) = members
        return label_prediction(uri, only.segments, only.silent, info, min_confidence)
    heard = [member for member in members if not all(member.silent)]
    counted = heard or members
    proba = combine_probabilities(
        info.genres,
        [(each.info.genres, track_probabilities(each.segments, each.silent)) for each in counted],
    )
    is_music = [
        m.segments.is_music[counted_segments(m.silent)].mean()
        for m in counted
        if m.segments.is_music is not None
    ]
    labels = [
        mean_of_music(m.segments.labels, m.segments, m.silent)
        for m in counted
        if m.segments.labels is not None
    ]
    whole = Prediction(
        proba[None],
        np.mean(is_music, axis=0)[None] if is_music else None,
        np.mean(labels, axis=0)[None] if labels else None,
    )
    return label_prediction(uri, whole, [not heard], info, min_confidence)


def combine_probabilities(
    genres: Sequence[str], members: Sequence[tuple[Sequence[str], NDArray[np.float64]]]
) -> Floats:
    """Return the normalized geometric mean of the models' probabilities.

    A model that knows only some of the genres says nothing about the others: it helps to divide, among the
    genres that it knows, the probability that the models that know more give to all of them together.

    Parameters
    ----------
    genres : sequence of str
        All genres, in the order of the result.
    members : sequence of (sequence of str, ndarray of float64)
        The genres that each model knows, and their probabilities.

    Returns
    -------
    ndarray of float64, shape (n_genres,)
        Sums to 1; 0 for genres that none of the models knows.

    References
    ----------
    Genest and Zidek, Combining Probability Distributions, Statistical Science 1986: the logarithmic pool.
    """
    combined = np.zeros(len(genres))
    for known, _ in sorted(members, key=lambda member: len(member[0]), reverse=True):
        places = [genres.index(genre) for genre in known]
        logs = [_log_of(known, *member) for member in members if set(known) <= set(member[0])]
        divided = combined[places].sum() if combined.any() else 1.0
        combined[places] = divided * softmax(np.mean(logs, axis=0))
    return combined


def _log_of(wanted: Sequence[str], known: Sequence[str], p: NDArray[np.float64]) -> Floats:
    """Return the logarithms of a model's probabilities of some of the genres that it knows."""
    return np.log(np.maximum(p[[known.index(genre) for genre in wanted]], _LEAST))
