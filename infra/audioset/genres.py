"""Fits the scores of GTZAN's genres: biases, a head over the embedding, and the temperature."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from infra.audioset.clips import Clips
from infra.audioset.taxonomy import gtzan_places, taxonomy_of, with_own_head, with_taxonomy
from pipeline.models.mobilenet import Head
from pipeline.models.prediction import genre_scores, softmax
from schemas.genres import GTZAN_GENRES
from schemas.model import ModelInfo

Floats = NDArray[np.float64]

SHRINKAGE, HEAD_SHRINKAGE = 0.01, 0.0005
"""Weights of squared biases and of the head's squared weights.

Chosen on train clips: by the accuracy on clips whose neighbors were left out, and on clips of a genre of
which no audio was fitted to at all.
"""
FOLDS = 5


@dataclass(frozen=True)
class Fit:
    """Temperature, biases and the head's weights and bias, fitted to clips."""

    temperature: float
    biases: Floats
    weights: Floats
    bias: Floats

    def proba(self, clips: Clips, info: ModelInfo) -> Floats:
        """Return the mean probabilities of each clip."""
        scores = raw_scores(info, clips.logits)
        ten = gtzan_places(info)
        scores[:, ten] += self.biases + clips.embeddings @ self.weights + self.bias
        return clips.mean(softmax(scores / self.temperature))


def fit_genres(info: ModelInfo, train: Clips, imitated: Clips) -> tuple[ModelInfo, Head]:
    """Fit biases and head to all clips, and the temperature to real clips that were left out of the fit."""
    folds = _by_artist(train)
    held_out = []
    for fold in range(FOLDS):
        out = train.of(np.flatnonzero(folds == fold))
        # Their imitations are left out too.
        others = np.array([n for n, track in enumerate(imitated.tracks) if track not in out.tracks], np.intp)
        held_out.append((fit_scores(info, train.of(np.flatnonzero(folds != fold)), imitated.of(others)), out))

    def loss(x: Floats) -> float:
        at = [(replace(fit, temperature=float(np.exp(x[0]))), clips) for fit, clips in held_out]
        return sum(float(losses(fit.proba(clips, info), clips).sum()) for fit, clips in at)

    temperature = float(np.exp(minimize(loss, [0.0], method="Nelder-Mead").x[0]))
    right = np.concatenate([fit.proba(clips, info).argmax(axis=1) == clips.genre for fit, clips in held_out])
    print(
        f"train clips, each by a fit without its neighbors: {right.mean():.3f}; temperature {temperature:.3f}"
    )
    fit = fit_scores(info, train, imitated)
    adjusted = with_own_head(info, temperature, dict(zip(GTZAN_GENRES, fit.biases, strict=True)))
    return adjusted, Head(fit.weights.astype(np.float32), fit.bias.astype(np.float32))


def fit_scores(info: ModelInfo, real: Clips, imitated: Clips) -> Fit:
    """Fit biases of GTZAN's genres and a head over embeddings; rare genres weigh more than their share."""
    z = [clips.mean(raw_scores(info, clips.logits)) for clips in (real, imitated)]
    embeddings = [clips.mean(clips.embeddings) for clips in (real, imitated)]
    shared = [
        (imitated.tracks.index(track), row)
        for row, track in enumerate(real.tracks)
        if track in imitated.tracks
    ]
    here, there = (np.array(each, np.intp) for each in zip(*shared, strict=True))
    weights: Floats = 1 / np.sqrt(np.bincount(real.genre[there])[real.genre[there]])
    weights /= weights.sum()
    # Imitations differ from what they imitate by a shift and a slope.
    near_z, near_x = z[1][here], embeddings[1][here]
    slope = _slope(near_z, z[0][there], weights)
    z[1] = (z[1] - weights @ near_z) * slope + weights @ z[0][there]
    means, spreads = zip(*(_moments(each, weights) for each in (embeddings[0][there], near_x)), strict=True)
    x = [(each - mean) / spread for each, mean, spread in zip(embeddings, means, spreads, strict=True)]
    without = np.setdiff1d(np.arange(len(imitated.tracks)), here)
    genre = np.concatenate([real.genre, imitated.genre[without]])
    scale = np.sqrt(x[0].shape[1])
    found = _fit(
        info, np.concatenate([z[0], z[1][without]]), np.concatenate([x[0], x[1][without]]) / scale, genre
    )
    sharpness, biases, head = np.exp(found[0]), found[1:11], found[11:].reshape(-1, 10)
    head = head / scale / spreads[0][:, np.newaxis] / sharpness
    return Fit(float(1 / sharpness), biases, head, -means[0] @ head)


def raw_scores(info: ModelInfo, logits: Floats) -> Floats:
    """Return the scores of genres before biases and the head."""
    plain = with_taxonomy(info, biases={}, adjustment=None)
    return genre_scores(logits, plain, taxonomy_of(plain))


def _fit(info: ModelInfo, z: Floats, x: Floats, genre: NDArray[np.intp]) -> Floats:
    ten = gtzan_places(info)
    weights = np.bincount(genre)[genre] ** -0.5
    weights /= weights.sum()
    true = np.eye(len(info.genres))[genre]

    def loss(w: Floats) -> tuple[float, Floats]:
        sharpness, biases, head = np.exp(w[0]), np.zeros(len(info.genres)), w[11:].reshape(-1, 10)
        biases[ten] = w[1:11]
        scores = sharpness * (z + biases)
        scores[:, ten] += x @ head
        p = softmax(scores)
        value = -weights @ np.log(p[true > 0] + 1e-12)
        slope = (p - true) * weights[:, np.newaxis]
        of_biases = sharpness * slope[:, ten].sum(axis=0) + 2 * SHRINKAGE * w[1:11]
        of_head = x.T @ slope[:, ten] + 2 * HEAD_SHRINKAGE * head
        shrinkage = SHRINKAGE * (w[1:11] ** 2).sum() + HEAD_SHRINKAGE * (head**2).sum()
        of_sharpness = [sharpness * (slope * (z + biases)).sum()]
        return float(value + shrinkage), np.concatenate([of_sharpness, of_biases, of_head.ravel()])

    start = np.zeros(11 + 10 * x.shape[1])
    found: Floats = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    return found


def _by_artist(clips: Clips) -> NDArray[np.intp]:
    """Return folds of consecutive clips of each genre: GTZAN's artists stand one after the other."""
    folds = np.zeros(len(clips.genre), np.intp)
    for genre in np.unique(clips.genre):
        rows = np.flatnonzero(clips.genre == genre)
        folds[rows] = np.arange(len(rows)) * min(FOLDS, len(rows)) // len(rows)
    return folds


def losses(proba: Floats, clips: Clips) -> Floats:
    """Return the negative log likelihood of each clip's genre."""
    return -np.log(np.maximum(proba[np.arange(len(clips.genre)), clips.genre], 1e-12))


def _slope(x: Floats, y: Floats, weights: Floats) -> float:
    apart_x, apart_y = x - weights @ x, y - weights @ y
    return float((weights @ (apart_x * apart_y)).sum() / (weights @ apart_x**2).sum())


def _moments(x: Floats, weights: Floats) -> tuple[Floats, Floats]:
    mean = weights @ x
    return mean, np.sqrt(weights @ (x - mean) ** 2) + 1e-6
