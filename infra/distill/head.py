"""The student's own head: what it adds to its scores, so that they say what the calibrated teacher says.

A head that is fitted to GTZAN's clips alone does well on GTZAN and calls most music of games blues: blues has
hardly a clip with audio there, so that whatever is not like the others counts as blues. This one is fitted to
the teacher's calibrated probabilities of real music of many kinds, and to those of the imitations.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from infra.audioset.genres import raw_scores
from infra.audioset.taxonomy import gtzan_places, with_own_head
from infra.distill.teacher_outputs import N_CLASSES, make_predictor, predict, read_recorded
from infra.distill.training import output_classes
from pipeline.models.audioset import audioset_info, own_head
from pipeline.models.mobilenet import Head
from pipeline.models.prediction import read_outputs, softmax
from schemas.model import ModelInfo

Floats = NDArray[np.float64]

FITTED_TO = {"games": 3500, "accompaniments": 1200, "clips": 2303, "imitated": 1300}
"""Excerpts of each source; a fifth of the recordings is left out, to measure with."""
WEIGHTS = {"clips": 2.0}
SHRINKAGE, BIAS_SHRINKAGE = 1e-4, 1e-3
"""Weights of squares. The first was chosen on recordings that were left out."""


@dataclass(frozen=True)
class Excerpts:
    """What student and teacher say of excerpts: scores, embeddings, probabilities; source and weight."""

    scores: Floats
    embeddings: Floats
    proba: Floats
    source: NDArray[np.str_]
    weight: Floats

    def where(self, which: NDArray[np.bool_]) -> "Excerpts":
        """Return some of them."""
        return Excerpts(*(each[which] for each in vars(self).values()))


def fit_head(info: ModelInfo, network: Any, cache: Path) -> tuple[ModelInfo, Head, dict[str, float]]:
    """Fit temperature, biases and head.

    Returns
    -------
    info, head : ModelInfo and Head
        With what was fitted.
    agreement : dict of str to float
        By source, how often student and teacher name the same genre for recordings that were left out.
    """
    found, left_out = _read(info, network, cache)
    fitted_to = found.where(~left_out)
    mean, spread = fitted_to.embeddings.mean(axis=0), fitted_to.embeddings.std(axis=0) + 1e-6
    scale = spread * np.sqrt(len(spread))
    sharpness, biases, weights = _fit(info, fitted_to, (fitted_to.embeddings - mean) / scale)
    weights = weights / scale[:, np.newaxis] / sharpness
    head = Head(weights.astype(np.float32), (-mean @ weights).astype(np.float32))
    info = with_own_head(info, 1 / sharpness, dict(zip(info.genres, biases / sharpness, strict=True)))
    measured = found.where(left_out)
    scores = measured.scores + biases / sharpness
    scores[:, gtzan_places(info)] += measured.embeddings @ weights - mean @ weights
    same = scores.argmax(axis=1) == measured.proba.argmax(axis=1)
    return info, head, {name: round(float(same[measured.source == name].mean()), 3) for name in FITTED_TO}


def _read(info: ModelInfo, network: Any, cache: Path) -> tuple[Excerpts, NDArray[np.bool_]]:
    rng = np.random.default_rng(0)
    run, teacher, own = make_predictor(network), audioset_info(), own_head()
    parts, left_out = [], []
    for source, n in FITTED_TO.items():
        recorded = read_recorded(cache / source)
        rows = np.sort(rng.choice(len(recorded.names), min(n, len(recorded.names)), replace=False))
        of_student = predict(run, recorded.levels[rows]).astype(np.float64)
        of_teacher = recorded.outputs[rows].astype(np.float64)
        logits, embedding = of_teacher[:, :N_CLASSES], of_teacher[:, N_CLASSES:]
        outputs = np.concatenate([logits, embedding @ own.weights + own.bias], axis=1)
        n_classes = len(output_classes())
        parts.append(
            Excerpts(
                raw_scores(info, of_student[:, :n_classes]),
                of_student[:, n_classes:],
                read_outputs(outputs, teacher).proba,
                np.full(len(rows), source),
                np.full(len(rows), WEIGHTS.get(source, 1.0)),
            )
        )
        # By name, so that all excerpts of a recording are on the same side.
        left_out.append(np.array([sum(map(ord, recorded.names[row])) % 5 == 0 for row in rows]))
    joined = (np.concatenate(each) for each in zip(*(vars(part).values() for part in parts), strict=True))
    return Excerpts(*joined), np.concatenate(left_out)


def _fit(info: ModelInfo, found: Excerpts, x: Floats) -> tuple[float, Floats, Floats]:
    ten, n_genres = gtzan_places(info), len(info.genres)
    weight = found.weight / found.weight.sum()

    def loss(w: Floats) -> tuple[float, Floats]:
        sharpness, biases, head = np.exp(w[0]), w[1 : 1 + n_genres], w[1 + n_genres :].reshape(-1, len(ten))
        scores = sharpness * found.scores + biases
        scores[:, ten] += x @ head
        p = softmax(scores)
        slope = (p - found.proba) * weight[:, np.newaxis]
        value = -weight @ (found.proba * np.log(p + 1e-12)).sum(axis=1)
        value += SHRINKAGE * (head**2).sum() + BIAS_SHRINKAGE * (biases**2).sum()
        of_biases = slope.sum(axis=0) + 2 * BIAS_SHRINKAGE * biases
        of_head = x.T @ slope[:, ten] + 2 * SHRINKAGE * head
        of_sharpness = [sharpness * (slope * found.scores).sum()]
        return float(value), np.concatenate([of_sharpness, of_biases, of_head.ravel()])

    start = np.zeros(1 + n_genres + x.shape[1] * len(ten))
    w = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
    return float(np.exp(w[0])), w[1 : 1 + n_genres], w[1 + n_genres :].reshape(-1, len(ten))
