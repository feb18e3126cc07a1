"""Training a bundle: a fitted network, its temperature and its figure.

The weights that are kept are an exponential moving average over the steps (Polyak averaging), unless settings
say otherwise; then no epoch is picked by its figure, and the validation tracks choose nothing but the
temperature. Early stopping picks the epoch by the loss on them, and its figure flatters for it.
"""

import tempfile
from collections.abc import Callable, Generator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models import metrics
from pipeline.models.bundle import WEIGHTS_FILE, ModelBundle
from pipeline.models.prediction import softmax
from pipeline.models.tensorflow_setup import set_up_tensorflow
from pipeline.training.checkpoints import Checkpoint
from pipeline.training.provenance import provenance
from pipeline.training.tensorboard import EventLog
from pipeline.training.trainer import Epoch, Fitting
from pipeline.training.training_set import TrainingSet
from pipeline.training.training_settings import TrainingSettings
from schemas.features import FeatureSpec
from schemas.model import Figure, ModelInfo, Protocol, kinds_of

__all__ = ["Epoch", "TrainingSettings", "measure", "network_bytes", "train", "training"]


def train(
    train_set: TrainingSet,
    valid_set: TrainingSet,
    *,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    **options: Any,
) -> ModelBundle:
    """Train a network and return it as a bundle.

    Parameters
    ----------
    train_set, valid_set : TrainingSet
        Of the same genres. The second is never trained on.
    on_epoch : callable
        Called after each epoch.
    **options
        The other arguments of `training`.

    Returns
    -------
    ModelBundle

    Raises
    ------
    MisuseError
        As `training`.
    """
    epochs = training(train_set, valid_set, **options)
    while True:
        try:
            on_epoch(next(epochs))
        except StopIteration as done:
            bundle: ModelBundle = done.value
            return bundle


def training(
    train_set: TrainingSet,
    valid_set: TrainingSet,
    *,
    name: str,
    protocol: Protocol,
    dataset: str,
    features: FeatureSpec | None = None,
    command: str = "",
    notes: dict[str, str | int | float | None] | None = None,
    settings: TrainingSettings | None = None,
    start: ModelBundle | None = None,
    checkpoint: str | None = None,
    tensorboard: str | None = None,
) -> Generator[Epoch, None, ModelBundle]:
    """Train a network, yielding after each epoch; return it with its temperature and its figure.

    Parameters
    ----------
    train_set, valid_set : TrainingSet
        Of the same genres. The second is never trained on; the temperature is fitted to it.
    name : str
        Name of the model.
    protocol : {"segment", "track", "file"}
        How the two sets were kept apart, for the figure.
    dataset : str
        What `valid_set` is, in words, for the figure.
    features : FeatureSpec, optional
        How the features were made: what the model asks of a catalog; if not given, those of `train_set`.
    command : str
        How to train this model again, for its notes.
    notes : dict, optional
        Further notes.
    settings : TrainingSettings, optional
    start : ModelBundle, optional
        Start from its weights, all but the last layer's where its genres are others.
    checkpoint : str, optional
        Folder or URI to keep the state of the training in, and to go on from where it holds that of the same
        data and settings. It stays when the training is done; remove it when the model is kept.
    tensorboard : str, optional
        Folder for the event file.

    Returns
    -------
    ModelBundle

    Raises
    ------
    MisuseError
        Where the data lacks what the architecture takes, or its segments are too short, or `start` does not
        fit the network.
    """
    settings = settings or TrainingSettings()
    tf = set_up_tensorflow(settings.threads)
    fitting = Fitting(tf, train_set, valid_set, settings, start)
    kept = None if checkpoint is None else Checkpoint(checkpoint, train_set, valid_set, settings, start)
    with nullcontext() if tensorboard is None else EventLog(tf, tensorboard) as log:
        logits = yield from fitting.epochs(kept, log)
    temperature = metrics.fit_temperature(logits, valid_set.labels)
    info = ModelInfo(
        name=name,
        arch=settings.arch,
        genres=train_set.genres,
        features=_taken(features or train_set.features, train_set, settings),
        n_frames=fitting.n_frames,
        temperature=temperature,
        figures=(measure(softmax(logits / temperature), valid_set, protocol, dataset),),
        training={
            "command": command,
            "train_segments": len(train_set),
            "tensorflow": tf.__version__,
            **(notes or {}),
            **({} if start is None else {"start": start.model}),
            **settings.flat(),
            **provenance(train_set, valid_set, None if start is None else start.info),
        },
    )
    return ModelBundle(info, network_bytes(fitting.served))


def _taken(spec: FeatureSpec, data: TrainingSet, settings: TrainingSettings) -> FeatureSpec:
    """The features as the network takes them: no kind that it does not read."""
    n_mels = spec.n_mels if data.log_mel is None else data.log_mel.shape[1]
    return spec.model_copy(update={"n_mels": n_mels, **kinds_of(settings.arch)})


def measure(proba: NDArray[np.float64], data: TrainingSet, protocol: Protocol, dataset: str) -> Figure:
    """Return accuracy and calibration error by track, or by piece under the ``segment`` protocol."""
    labels = data.labels
    if protocol != "segment":
        proba, labels = metrics.mean_by_track(proba, labels, data.tracks)
    return Figure(
        protocol=protocol,
        dataset=dataset,
        accuracy=round(metrics.accuracy(proba, labels), 4),
        ece=round(metrics.expected_calibration_error(proba, labels), 4),
        n=len(labels),
    )


def network_bytes(network: Any) -> bytes:
    """Return the network as a ``.keras`` file."""
    with tempfile.TemporaryDirectory(prefix="earmark-model-") as scratch:
        path = Path(scratch) / WEIGHTS_FILE
        network.save(path)
        return path.read_bytes()
