"""``earmark evaluate``: measure a model, or an architecture that is trained for it, on labeled data."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.console.messages import Say
from jobs.evaluate_ensemble import evaluate_ensemble
from jobs.matched_genres import match_genres, some_of
from jobs.run.request import refuse_for_ensemble
from jobs.training_data import read_labeled_data
from pipeline.evaluation.baselines import describe_features, run_baselines
from pipeline.evaluation.evaluation import Predictions, Setup, score, summarize
from pipeline.evaluation.ood import predict_outside
from pipeline.evaluation.protocols import LEAKS, Split, drop_folders, other_unit, plan_splits, unit_of
from pipeline.models import metrics
from pipeline.models.bundle import ModelBundle
from pipeline.models.classifier import Classifier
from pipeline.models.ensemble import Ensemble, load_bundle
from pipeline.package_versions import package_versions
from pipeline.training.augment import Augmentation
from pipeline.training.networks import check_data
from pipeline.training.provenance import count_seen
from pipeline.training.splits import check_pieces, leave_out_untrained_genres, parse_split
from pipeline.training.train_model import TrainingOptions, train
from pipeline.training.trainer import Epoch
from pipeline.training.training_set import TrainingSet
from pipeline.training.training_settings import TrainingSettings
from schemas.config import RunConfig
from schemas.errors import MisuseError
from schemas.evaluation import Evaluation, EvaluationProtocol, Scores, Unit

PIECE_AUGMENTATION = Augmentation(
    stretch=0.05, shift=1.0, gain=8, tilt=4, contrast=0.03, band_mask=4, frame_mask=3, mixup=0.0
)
"""For pieces of about 3 s, of which the masks of 10 s crops would hide most."""
_BATCH = 32
_PACKAGES = ("earmark", "numpy", "scikit-learn", "tensorflow")


@dataclass(frozen=True, slots=True)
class Request:
    """The options of ``earmark evaluate``.

    Attributes
    ----------
    data : str
        Labeled data, as `jobs.training_data.read_labeled_data` reads it.
    model : str or None
        Name of a shipped model, several joined by ``+``, or a folder; if None, `arch` is trained.
    arch : str or None
        The architecture to train.
    split : str or None
        ``segment``, ``track`` or ``file:TRAIN.txt,VALID.txt``; if None, all of the data is tested.
    n_folds : int
        Folds of a cross-validation by track (with ``segment``, by piece); 1 for a single split.
    n_pieces : int or None
        Cut each segment into this many pieces; None: ten under the ``segment`` protocol, else no cut.
    baselines : bool
        Also evaluate the baseline classifiers.
    outside : str or None
        A catalog of music out of distribution: none of the genres.
    label_column, tables : str or None
        See `jobs.training_data.read_labeled_data`.
    settings : TrainingSettings
        Of the training; its seed is also used for splits and intervals.
    config : RunConfig
        Selects the Ray cluster that featurizes audio.
    """

    data: str
    model: str | None = None
    arch: str | None = None
    split: str | None = None
    n_folds: int = 1
    n_pieces: int | None = None
    baselines: bool = True
    outside: str | None = None
    label_column: str | None = None
    tables: str | None = None
    settings: TrainingSettings = field(default_factory=TrainingSettings)
    config: RunConfig = field(default_factory=RunConfig)


@dataclass(slots=True)
class _Collected:
    """Predictions of all folds so far, and for each baseline whether its ranking of genres is meaningful."""

    model: list[Predictions] = field(default_factory=list)
    baselines: dict[str, list[Predictions]] = field(default_factory=dict)
    ranks: dict[str, bool] = field(default_factory=dict)
    n_train_tracks: list[int] = field(default_factory=list)
    baseline_features: str | None = None


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
    _check(request)
    bundle = load_bundle(request.model) if request.model is not None else None
    if isinstance(bundle, Ensemble):
        return _evaluate_ensemble(request, bundle, say)
    labeled = _read(request, bundle, say)
    known, unknown = (labeled, None) if bundle is None else _align(labeled, bundle, request, say)
    protocol, splits = plan_splits(
        known,
        request.split or ("track" if bundle is None else None),
        n_folds=request.n_folds,
        n_pieces=request.n_pieces,
        seed=request.settings.seed,
    )
    collected, genres = _Collected(), known.genres
    for fold, split in enumerate(splits, start=1):
        if bundle is None and split.train_set is not None:
            split = Split(*leave_out_untrained_genres(split.train_set, split.test_set, say))
            genres = split.test_set.genres  # in folds, all genres are trained on
        used = bundle or _train(split, request, protocol, partial(on_epoch, fold))
        classifier = Classifier(used, threads=request.settings.threads, batch_size=_BATCH)
        _predict(collected, classifier, split, request, calibrate=bundle is None)
    outside = _predict_outside(request, unknown, classifier, say)
    return _summary(request, known, genres, bundle, protocol, collected, outside)


def _check(request: Request) -> None:
    if (request.model is None) == (request.arch is None):
        raise MisuseError("give either a model or an architecture to train (--arch), not both")
    if request.model is not None and request.n_folds > 1:
        raise MisuseError("--folds trains a model for each fold; give --arch instead of a model")
    if request.n_folds < 1 or (request.n_pieces is not None and request.n_pieces < 1):
        raise MisuseError("--folds and --pieces must be at least 1")
    if request.n_folds > 1 and (request.split or "track") not in ("track", "segment"):
        raise MisuseError("--folds needs --split track or segment; --split file: defines only one split")


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


def _read(request: Request, bundle: ModelBundle | None, say: Say) -> TrainingSet:
    """Read the data; featurize audio for the model."""
    arch = request.settings.arch if bundle is None else bundle.info.arch
    check_pieces(arch, parse_split(request.split)[0] if request.split else None, request.n_pieces)
    is_cut = request.split == "segment" or request.n_pieces is not None
    data = read_labeled_data(
        request.data,
        arch,
        label_column=request.label_column,
        tables=request.tables,
        model=request.model,
        n_frames=None if bundle is None or is_cut else bundle.info.n_frames,
        min_genres=2 if bundle is None else 1,
        config=request.config,
        say=say,
    )
    if bundle is None:
        check_data(data, arch)
    else:
        _check_features(request.data, data, bundle)
    return data


def _check_features(name: str, data: TrainingSet, bundle: ModelBundle) -> None:
    """Check that data has features as a model reads them.

    Raises
    ------
    MisuseError
        If it has none, or others.
    """
    features = bundle.info.features
    if features.descriptors and data.descriptors is None:
        raise MisuseError(
            f"{name} has no descriptors, which {bundle.model} reads; evaluate it on audio or on tables"
        )
    if not features.log_mel:
        return
    if data.log_mel is None:
        raise MisuseError(
            f"{name} has no log-mels, which {bundle.model} reads; evaluate it on audio or on tables"
        )
    n_mels = data.log_mel.shape[1]
    if n_mels != features.n_mels:
        raise MisuseError(
            f"{name} has log-mels of {n_mels} bands, but {bundle.model} takes {features.n_mels}"
        )
    if differing := features.other_form(data.features):
        raise MisuseError(
            f"{name} has log-mels with other settings than {bundle.model} takes "
            f"({', '.join(differing)}); evaluate it on audio"
        )


def _align(
    data: TrainingSet, bundle: ModelBundle, request: Request, say: Say
) -> tuple[TrainingSet, TrainingSet | None]:
    """Return the segments of the model's genres, labeled in its order, and those of other genres."""
    genres = bundle.info.genres
    matched = match_genres(data.genres, genres, request.label_column, say)
    place = np.array(
        [genres.index(matched[name]) if name in matched else -1 for name in data.genres], np.intp
    )
    labels = place[data.labels]
    known, unknown = np.flatnonzero(labels >= 0), np.flatnonzero(labels < 0)
    if not len(known):
        raise MisuseError(
            f"none of the data's genres ({some_of(data.genres)}) is a genre of the model "
            f"({', '.join(genres)})"
        )
    aligned = replace(data.take(known), labels=labels[known], genres=genres)
    return aligned, data.take(unknown) if len(unknown) else None


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


def _predict(
    collected: _Collected, classifier: Classifier, split: Split, request: Request, *, calibrate: bool
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


def _predict_outside(
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


def _summary(
    request: Request,
    known: TrainingSet,
    genres: tuple[str, ...],
    bundle: ModelBundle | None,
    protocol: EvaluationProtocol,
    collected: _Collected,
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
            baselines=_baseline_scores(collected, unit, seed),
            baselines_other_unit=_baseline_scores(collected, other_unit(unit), seed)
            if predictions.has_pieces
            else (),
            baseline_features=collected.baseline_features,
            seen=None if bundle is None else count_seen(bundle.info, predictions.tracks.tolist(), known),
            versions=package_versions(_PACKAGES),
        ),
        outside=outside,
        seed=seed,
    )


def _baseline_scores(collected: _Collected, unit: Unit, seed: int) -> tuple[Scores, ...]:
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


def _leak(protocol: EvaluationProtocol, *, trained_earlier: bool) -> str:
    """Return what leaks. The split does not apply to a model that was trained earlier, only to baselines."""
    if trained_earlier and protocol != "as given":
        return f"the model was trained earlier; for the baselines, {LEAKS[protocol]}"
    return LEAKS[protocol]
