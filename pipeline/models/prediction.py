"""Predictions: the outputs of a network as probabilities of genres, of styles, and of music."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.model import ModelInfo
from schemas.taxonomy import Taxonomy

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Prediction:
    """The predictions of a model for segments.

    Attributes
    ----------
    proba : ndarray of float64, shape (n, n_genres)
        Calibrated probabilities of the genres; rows sum to 1.
    is_music : ndarray of float64, shape (n,), or None
        Probability that the segment is music; None if the model does not tell.
    labels : ndarray of float64, shape (n, n_classes), or None
        Probability of each class of the model's taxonomy, independent of the others; None if it has none.
    """

    proba: Floats
    is_music: Floats | None = None
    labels: Floats | None = None

    def rows(self, which: list[int] | slice) -> "Prediction":
        """Return the prediction of some of the segments."""
        return Prediction(
            self.proba[which],
            None if self.is_music is None else self.is_music[which],
            None if self.labels is None else self.labels[which],
        )


def no_prediction(info: ModelInfo) -> Prediction:
    """Return the prediction of no segment."""
    return read_outputs(np.empty((0, info.n_outputs)), info)


def join_predictions(parts: list[Prediction], info: ModelInfo) -> Prediction:
    """Return the prediction of all segments, in their order."""
    if not parts:
        return no_prediction(info)
    music = [part.is_music for part in parts if part.is_music is not None]
    labels = [part.labels for part in parts if part.labels is not None]
    return Prediction(
        np.concatenate([part.proba for part in parts]),
        np.concatenate(music) if music else None,
        np.concatenate(labels) if labels else None,
    )


def read_outputs(logits: Floats, info: ModelInfo) -> Prediction:
    """Read a network's outputs.

    Without a taxonomy they are logits of the genres. With one they are logits of classes: a genre is as
    likely as the likeliest of its classes, and a softmax compares the genres.

    Parameters
    ----------
    logits : ndarray of float64, shape (n, n_outputs)
        Outputs, a segment a row.
    info : ModelInfo
        The model.
    """
    taxonomy = info.taxonomy
    if taxonomy is None:
        return Prediction(softmax(logits / info.temperature))
    music = taxonomy.is_music
    return Prediction(
        proba=softmax(genre_scores(logits, info, taxonomy) / info.temperature),
        is_music=logistic(
            music.intercept
            + music.music * logits[:, taxonomy.music]
            + music.speech * logits[:, list(taxonomy.speech)].max(axis=1)
        ),
        labels=logistic(taxonomy.slope * _class_scores(logits, taxonomy) + taxonomy.offset),
    )


def genre_scores(logits: Floats, info: ModelInfo, taxonomy: Taxonomy) -> Floats:
    """Return the score of each genre: the greatest logit of its classes, its bias, and its adjustment.

    Parameters
    ----------
    logits : ndarray of float64, shape (n, n_outputs)
        Outputs, a segment a row.
    info : ModelInfo
        The model, for the order of its genres.
    taxonomy : Taxonomy
        Its taxonomy.

    Returns
    -------
    ndarray of float64, shape (n, n_genres)
    """
    greatest = [logits[:, list(indices)].max(axis=1) for indices in class_indices(info.genres, taxonomy)]
    scores = np.stack(greatest, axis=1) + np.array([taxonomy.biases.get(genre, 0.0) for genre in info.genres])
    if (own := taxonomy.adjustment) is not None:
        places = [info.genres.index(genre) for genre in own.genres]
        scores[:, places] += logits[:, own.first : own.first + len(own.genres)]
    return np.asarray(scores)


def class_indices(genres: Sequence[str], taxonomy: Taxonomy) -> list[tuple[int, ...]]:
    """Return the outputs that map to each genre or to one of its styles."""
    return [tuple(each.index for each in taxonomy.classes if each.genre == genre) for genre in genres]


def _class_scores(logits: Floats, taxonomy: Taxonomy) -> Floats:
    """Return the logits of the taxonomy's classes with the biases of their genres."""
    indices = [each.index for each in taxonomy.classes]
    biases = np.array([taxonomy.biases.get(each.genre, 0.0) for each in taxonomy.classes])
    return np.asarray(logits[:, indices] + biases)


def softmax(logits: Floats) -> Floats:
    """Return the softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def logistic(x: Floats) -> Floats:
    """Return the logistic function."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * x))
