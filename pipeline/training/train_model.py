"""Train a model: fit a network and its temperature, and measure its accuracy.

By default the result is an exponential moving average of the weights over the steps (Polyak averaging). No
epoch is then picked by its accuracy, and the validation tracks determine only the temperature. Early stopping
picks the epoch by the loss on these tracks, so its accuracy is optimistic.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.models import metrics
from pipeline.models.bundle import ModelBundle, network_bytes
from pipeline.models.prediction import softmax
from pipeline.models.tensorflow_setup import set_up_tensorflow
from pipeline.training.checkpoints import Checkpoint
from pipeline.training.provenance import describe_provenance
from pipeline.training.tensorboard import EventLog
from pipeline.training.trainer import Epoch, Trainer
from pipeline.training.training_set import TrainingSet
from pipeline.training.training_settings import TrainingSettings
from schemas.features import FeatureSpec
from schemas.model import Measurement, ModelInfo, SplitProtocol, feature_kinds


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is trained, and what its metadata records.

    Attributes
    ----------
    name : str
        Name of the model.
    protocol : {"segment", "track", "file"}
        How training and validation tracks were separated, for the reported accuracy.
    dataset : str
        Description of the held-out set, for the reported accuracy.
    settings : TrainingSettings
    features : FeatureSpec or None
        How the features were made: what the model asks of a catalog; None: those of the training set.
    command : str
        The command that trains this model, for its notes.
    notes : mapping
        Further notes.
    start : ModelBundle or None
        Start from its weights, without those of the last layer if its genres differ.
    checkpoint : str or None
        Folder or URI to keep the state of the training in, and to go on from where it holds that of the same
        data and settings. It stays when the training is done; remove it when the model is saved.
    tensorboard : str or None
        Folder for the event file.
    """

    name: str
    protocol: SplitProtocol
    dataset: str
    settings: TrainingSettings = field(default_factory=TrainingSettings)
    features: FeatureSpec | None = None
    command: str = ""
    notes: Mapping[str, str | int | float | None] = field(default_factory=dict)
    start: ModelBundle | None = None
    checkpoint: str | None = None
    tensorboard: str | None = None


def train(
    train_set: TrainingSet,
    valid_set: TrainingSet,
    options: TrainingOptions,
    *,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> ModelBundle:
    """Train a network and return it as a bundle.

    Parameters
    ----------
    train_set, valid_set : TrainingSet
        Of the same genres. The second is never trained on.
    options : TrainingOptions
    on_epoch : callable
        Called after each epoch.

    Returns
    -------
    ModelBundle

    Raises
    ------
    MisuseError, DivergedError
        See `train_by_epoch`.
    """
    epochs = train_by_epoch(train_set, valid_set, options)
    while True:
        try:
            on_epoch(next(epochs))
        except StopIteration as done:
            bundle: ModelBundle = done.value
            return bundle


def train_by_epoch(
    train_set: TrainingSet, valid_set: TrainingSet, options: TrainingOptions
) -> Generator[Epoch, None, ModelBundle]:
    """Train a network, yield after each epoch, and return it with its temperature and accuracy.

    Parameters
    ----------
    train_set, valid_set : TrainingSet
        Of the same genres. The second is never trained on.
    options : TrainingOptions

    Returns
    -------
    ModelBundle

    Raises
    ------
    MisuseError
        Where the data lacks what the architecture takes, or its segments are too short, or the model to start
        from does not fit the network.
    DivergedError
        If the training diverges.
    """
    settings, start = options.settings, options.start
    tf = set_up_tensorflow(settings.threads)
    trainer = Trainer(tf, train_set, valid_set, settings, start)
    saved = None
    if options.checkpoint is not None:
        saved = Checkpoint(options.checkpoint, train_set, valid_set, settings, start)
    with nullcontext() if options.tensorboard is None else EventLog(tf, options.tensorboard) as log:
        logits = yield from trainer.epochs(saved, log)
    temperature = metrics.fit_temperature(logits, valid_set.labels)
    info = ModelInfo(
        name=options.name,
        arch=settings.arch,
        genres=train_set.genres,
        features=_restrict_features(options.features or train_set.features, train_set, settings),
        n_frames=trainer.n_frames,
        temperature=temperature,
        figures=(measure(logits, temperature, valid_set, options.protocol, options.dataset),),
        training={
            "command": options.command,
            "train_segments": len(train_set),
            "tensorflow": tf.__version__,
            **options.notes,
            **({} if start is None else {"start": start.model}),
            **settings.to_notes(),
            **describe_provenance(train_set, valid_set, None if start is None else start.info),
        },
    )
    return ModelBundle(info, network_bytes(trainer.averaged))


def _restrict_features(spec: FeatureSpec, data: TrainingSet, settings: TrainingSettings) -> FeatureSpec:
    """Return the features without the kinds that the network does not read."""
    n_mels = spec.n_mels if data.log_mel is None else data.log_mel.shape[1]
    return spec.model_copy(update={"n_mels": n_mels, **feature_kinds(settings.arch)})


def measure(
    logits: NDArray[np.float64],
    temperature: float,
    data: TrainingSet,
    protocol: SplitProtocol,
    dataset: str,
) -> Measurement:
    """Return accuracy and calibration error by track, or by piece under the ``segment`` protocol.

    The temperature was fitted to the same tracks, so the calibration error is that of `cross_calibrate`.
    """
    proba, labels = softmax(logits / temperature), data.labels
    calibrated = metrics.cross_calibrate(logits, labels, data.tracks)
    if protocol != "segment":
        calibrated, _ = metrics.average_by_track(calibrated, labels, data.tracks)
        proba, labels = metrics.average_by_track(proba, labels, data.tracks)
    return Measurement(
        protocol=protocol,
        dataset=dataset,
        accuracy=round(metrics.accuracy(proba, labels), 4),
        ece=round(metrics.expected_calibration_error(calibrated, labels), 4),
        n=len(labels),
    )
