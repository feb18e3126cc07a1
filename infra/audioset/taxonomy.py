"""Taxonomies of models: read, changed, and fitted to what they tell beside genres, labels and music."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from infra.audioset.clips import Clips
from pipeline.models.prediction import logistic, read_outputs
from schemas.genres import GTZAN_GENRES
from schemas.model import ModelInfo
from schemas.taxonomy import Taxonomy

Floats = NDArray[np.float64]


def fit_labels(info: ModelInfo, clips: Clips) -> ModelInfo:
    """Fit slope and offset of the classes that mean a whole genre of GTZAN, all together."""
    classes = taxonomy_of(info).classes
    places = [
        place for place, each in enumerate(classes) if each.style is None and each.genre in GTZAN_GENRES
    ]
    truth = np.array([[info.genres.index(classes[p].genre) == g for p in places] for g in clips.genre])

    def loss(x: Floats) -> float:
        model = with_taxonomy(info, slope=float(np.exp(x[0])), offset=float(x[1]))
        labels = read_outputs(clips.logits, model).labels
        p = np.clip(clips.mean(np.asarray(labels))[:, places], 1e-9, 1 - 1e-9)
        return -float(np.where(truth, np.log(p), np.log1p(-p)).mean())

    slope, offset = minimize(loss, [0.0, 0.0], method="Nelder-Mead").x
    return with_taxonomy(info, slope=round(float(np.exp(slope)), 4), offset=round(float(offset), 4))


def fit_music(info: ModelInfo, music: Clips, others: Clips) -> ModelInfo:
    """Fit a logistic regression of music against speech and noise, both sides weighing the same."""
    logits = np.concatenate([music.logits, others.logits])
    x = np.stack(
        [logits[:, taxonomy_of(info).music], logits[:, list(taxonomy_of(info).speech)].max(axis=1)], axis=1
    )
    y = np.repeat([1.0, 0.0], [len(music.logits), len(others.logits)])
    weights = np.where(y > 0, 0.5 / y.sum(), 0.5 / (1 - y).sum())

    def loss(w: Floats) -> float:
        p = np.clip(logistic(w[0] + x @ w[1:]), 1e-12, 1 - 1e-12)
        return float(-(weights * np.where(y > 0, np.log(p), np.log1p(-p))).sum() + 0.003 * (w[1:] ** 2).sum())

    intercept, of_music, of_speech = (round(float(each), 4) for each in minimize(loss, np.zeros(3)).x)
    return with_taxonomy(info, is_music={"intercept": intercept, "music": of_music, "speech": of_speech})


def taxonomy_of(info: ModelInfo) -> Taxonomy:
    """Return the taxonomy of a model that has one."""
    if info.taxonomy is None:
        raise ValueError("the model has no taxonomy")
    return info.taxonomy


def with_taxonomy(info: ModelInfo, **changes: Any) -> ModelInfo:
    """Return a model with some entries of its taxonomy changed."""
    taxonomy = Taxonomy.model_validate({**taxonomy_of(info).model_dump(), **changes})
    return info.model_copy(update={"taxonomy": taxonomy})


def with_own_head(info: ModelInfo, temperature: float, biases: Mapping[str, float]) -> ModelInfo:
    """Return a model with outputs of a head for GTZAN's genres behind its own, and with what was fitted."""
    n_outputs = taxonomy_of(info).n_outputs
    changed = with_taxonomy(
        info,
        n_outputs=n_outputs + len(GTZAN_GENRES),
        biases={name: round(float(bias), 3) for name, bias in biases.items()},
        adjustment={"first": n_outputs, "genres": GTZAN_GENRES},
    )
    return changed.model_copy(update={"temperature": round(temperature, 4)})


def gtzan_places(info: ModelInfo) -> list[int]:
    """Return the places of GTZAN's genres among those of the model."""
    return [info.genres.index(genre) for genre in GTZAN_GENRES]
