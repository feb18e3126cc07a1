"""The predictions of a model and of baselines, collected over the splits of an evaluation."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.console.messages import Say
from jobs.evaluation.matched_genres import some_of
from jobs.evaluation.request import Request
from pipeline.evaluation.baselines import describe_features, run_baselines
from pipeline.evaluation.evaluation import Predictions, score
from pipeline.evaluation.ood import predict_outside
from pipeline.evaluation.protocols import Split
from pipeline.models import metrics
from pipeline.models.classifier import Classifier
from pipeline.training.training_set import TrainingSet
from schemas.evaluation import Scores, Unit


@dataclass(slots=True)
class Collected:
    """Predictions of all folds so far, and for each baseline whether its ranking of genres is meaningful."""

    model: list[Predictions] = field(default_factory=list)
    baselines: dict[str, list[Predictions]] = field(default_factory=dict)
    ranks: dict[str, bool] = field(default_factory=dict)
    n_train_tracks: list[int] = field(default_factory=list)
    baseline_features: str | None = None


def add_predictions(
    collected: Collected, classifier: Classifier, split: Split, request: Request, *, calibrate: bool
) -> None:
    """Add the predictions of the model and the baselines for one split."""
    test_set, train_set, seed = split.test_set, split.train_set, request.settings.seed
    predictions = _classify(classifier, test_set)
    if calibrate:
        # Training fitted the temperature to the same tracks that are tested here.
        logits = np.log(np.maximum(predictions.proba, 1e-300))
        proba = metrics.cross_calibrate(logits, test_set.labels, test_set.tracks, seed=seed)
        predictions = replace(predictions, proba=proba)
    collected.model.append(predictions)
    if train_set is None:
        return
    collected.n_train_tracks.append(len(set(train_set.tracks.tolist())))
    if request.baselines:
        collected.baseline_features = describe_features(train_set)
        for baseline in run_baselines(train_set, test_set, seed):
            collected.ranks[baseline.name] = baseline.ranks
            of_baseline = collected.baselines.setdefault(baseline.name, [])
            of_baseline.append(Predictions(baseline.scores, test_set.labels, test_set.tracks))


def _classify(classifier: Classifier, data: TrainingSet) -> Predictions:
    found = classifier.predict(data.log_mel, data.descriptors)
    return Predictions(found.proba, data.labels, data.tracks, found.is_music)


def predict_tracks_outside(
    request: Request,
    unknown: TrainingSet | None,
    classifier: Classifier,
    say: Say,
) -> tuple[str, NDArray[np.float64]] | None:
    """Return the sources of tracks out of distribution, and the model's probabilities for each.

    They are all zero if the model recognizes that a track is no music.
    """
    sources, probabilities = [], []
    if unknown is not None:
        others = some_of(sorted({unknown.genres[label] for label in unknown.labels.tolist()}))
        sources.append(f"{others} of {Path(request.data).name}")
        probabilities.append(_classify(classifier, unknown).by_unit("track").accepted_proba)
    if request.outside is not None:
        features = classifier.info.features
        sources.append(Path(request.outside).name or request.outside)
        probabilities.append(
            predict_outside(
                request.outside, features, classifier.predict, lambda error: say(f"left out: {error}")
            )
        )
    return (", ".join(sources), np.concatenate(probabilities)) if sources else None


def baseline_scores(collected: Collected, unit: Unit, seed: int) -> tuple[Scores, ...]:
    """Return the metrics of each baseline over all splits, counted by track or by piece."""
    return tuple(
        score(
            name,
            Predictions.concatenate(parts),
            unit,
            seed=seed,
            ranks=collected.ranks[name],
            calibrated=False,
        )
        for name, parts in collected.baselines.items()
    )
