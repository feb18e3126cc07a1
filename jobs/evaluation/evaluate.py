"""``earmark evaluate``: measure a model, or an architecture that is trained for it, on labeled data."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.console.messages import Say
from jobs.evaluation.evaluate_ensemble import evaluate_ensemble
from jobs.evaluation.request import Request, check_request
from jobs.evaluation.tested_data import align_genres, read_tested_data
from jobs.evaluation.tested_predictions import (
    Collected,
    add_predictions,
    baseline_scores,
    predict_tracks_outside,
)
from jobs.run.request import refuse_for_ensemble
from pipeline.evaluation.evaluation import Predictions, Setup, summarize
from pipeline.evaluation.protocols import LEAKS, Split, drop_folders, other_unit, plan_splits, unit_of
from pipeline.models import metrics
from pipeline.models.bundle import ModelBundle
from pipeline.models.classifier import Classifier
from pipeline.models.ensemble import Ensemble, load_bundle
from pipeline.package_versions import package_versions
from pipeline.training.augment import Augmentation
from pipeline.training.provenance import count_seen
from pipeline.training.splits import leave_out_untrained_genres
from pipeline.training.train_model import TrainingOptions, train
from pipeline.training.trainer import Epoch
from pipeline.training.training_set import TrainingSet
from schemas.errors import MisuseError
from schemas.evaluation import Evaluation, EvaluationProtocol

PIECE_AUGMENTATION = Augmentation(
    stretch=0.05, shift=1.0, gain=8, tilt=4, contrast=0.03, band_mask=4, frame_mask=3, mixup=0.0
)
"""For pieces of about 3 s, of which the masks of 10 s crops would hide most."""
_BATCH = 32
_PACKAGES = ("earmark", "numpy", "scikit-learn", "tensorflow")


def evaluate_job(
    request: Request,
    *,
    on_epoch: Callable[[int, Epoch], None] = lambda fold, epoch: None,
    say: Say = lambda sentence: None,
) -> Evaluation:
    """Measure a model, or an architecture that is trained for it, and baselines on the same split.

    Parameters
    ----------
    request : Request
    on_epoch : callable
        Called with the fold, from 1, and each epoch of its training.
    say : callable
        Prints a message, such as about files that are left out.

    Returns
    -------
    Evaluation

    Raises
    ------
    MisuseError
        If the options, the model or the data are invalid.
    KeyboardInterrupt
        If the computation of features was interrupted.
    """
    check_request(request)
    bundle = load_bundle(request.model) if request.model is not None else None
    if isinstance(bundle, Ensemble):
        return _evaluate_ensemble(request, bundle, say)
    labeled = read_tested_data(request, bundle, say)
    known, unknown = (labeled, None) if bundle is None else align_genres(labeled, bundle, request, say)
    protocol, splits = plan_splits(
        known,
        request.split or ("track" if bundle is None else None),
        n_folds=request.n_folds,
        n_pieces=request.n_pieces,
        seed=request.settings.seed,
    )
    collected, genres = Collected(), known.genres
    for fold, split in enumerate(splits, start=1):
        if bundle is None and split.train_set is not None:
            split = Split(*leave_out_untrained_genres(split.train_set, split.test_set, say))
            genres = split.test_set.genres  # in folds, all genres are trained on
        used = bundle or _train(split, request, protocol, partial(on_epoch, fold))
        classifier = Classifier(used, threads=request.settings.threads, batch_size=_BATCH)
        add_predictions(collected, classifier, split, request, calibrate=bundle is None)
    outside = predict_tracks_outside(request, unknown, classifier, say)
    return _summary(request, known, genres, bundle, protocol, collected, outside)


def _evaluate_ensemble(request: Request, ensemble: Ensemble, say: Say) -> Evaluation:
    given = {"--split": request.split, "--pieces": request.n_pieces, "--outside": request.outside}
    refuse_for_ensemble(str(request.model), {name: value is not None for name, value in given.items()})
    return evaluate_ensemble(
        request.data,
        ensemble,
        request.config.model_copy(update={"model": request.model}),
        label_column=request.label_column,
        tables=request.tables,
        seed=request.settings.seed,
        say=say,
    )


def _train(
    split: Split, request: Request, protocol: EvaluationProtocol, on_epoch: Callable[[Epoch], None]
) -> ModelBundle:
    """Train the architecture on one split."""
    train_set, settings = split.train_set, request.settings
    if train_set is None:
        raise MisuseError("an architecture needs training data; add --split")
    if train_set.log_mel is not None and train_set.log_mel.shape[2] < settings.crop // 2:
        settings = replace(
            settings, augmentation=PIECE_AUGMENTATION, label_smoothing=0.05, keep_bands=request.arch == "cnn"
        )
    options = TrainingOptions(
        name=f"{request.arch}-evaluated",
        protocol=protocol if protocol != "as given" else "track",
        dataset=Path(request.data).name,
        settings=settings,
    )
    return train(train_set, split.test_set, options, on_epoch=on_epoch)


def _summary(
    request: Request,
    known: TrainingSet,
    genres: tuple[str, ...],
    bundle: ModelBundle | None,
    protocol: EvaluationProtocol,
    collected: Collected,
    outside: tuple[str, NDArray[np.float64]] | None,
) -> Evaluation:
    unit, seed = unit_of(protocol), request.settings.seed
    predictions = Predictions.concatenate(collected.model)
    counted = [fold.by_unit(unit) for fold in collected.model] if request.n_folds > 1 else []
    trained_on = collected.n_train_tracks if bundle is None else []
    return summarize(
        bundle.model if bundle else str(request.arch),
        predictions,
        unit,
        genres,
        Setup(
            data=Path(request.data).name,
            protocol=protocol,
            leak=_leak(protocol, trained_earlier=bundle is not None),
            split=None if protocol == "as given" else drop_folders(request.split or protocol),
            folds=request.n_folds,
            n_train_tracks=round(float(np.mean(trained_on))) if trained_on else None,
            fold_accuracies=tuple(metrics.accuracy(fold.proba, fold.labels) for fold in counted),
            baselines=baseline_scores(collected, unit, seed),
            baselines_other_unit=baseline_scores(collected, other_unit(unit), seed)
            if predictions.has_pieces
            else (),
            baseline_features=collected.baseline_features,
            seen=None if bundle is None else count_seen(bundle.info, predictions.tracks.tolist(), known),
            versions=package_versions(_PACKAGES),
        ),
        outside=outside,
        seed=seed,
    )


def _leak(protocol: EvaluationProtocol, *, trained_earlier: bool) -> str:
    """Return what leaks. The split does not apply to a model that was trained earlier, only to baselines."""
    if trained_earlier and protocol != "as given":
        return f"the model was trained earlier; for the baselines, {LEAKS[protocol]}"
    return LEAKS[protocol]
