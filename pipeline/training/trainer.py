"""Fitting a network: steps, averaged weights, early stopping, and going on from a checkpoint."""

from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models import metrics
from pipeline.models.bundle import ModelBundle
from pipeline.training.batches import TrainingBatches, balancing_weights
from pipeline.training.checkpoints import Checkpoint
from pipeline.training.networks import as_input, build_network, check_data, fitting_frames, whole_segments
from pipeline.training.tensorboard import EventLog
from pipeline.training.training_set import TrainingSet
from pipeline.training.training_settings import TrainingSettings
from pipeline.training.warm_start import take_over

WARM_UP_STEPS = 200
VALID_BATCH = 32


@dataclass(frozen=True, slots=True)
class Epoch:
    """What is known after an epoch: its number from 1, of how many, the mean loss, the valid accuracy."""

    number: int
    of: int
    loss: float
    valid_accuracy: float

    def __str__(self) -> str:
        place = f"epoch {self.number} of {self.of}"
        return f"{place}: loss {self.loss:.3f}, valid accuracy {self.valid_accuracy:.3f}"


@dataclass(slots=True)
class _Place:
    """How far a training has come, and which epoch was the best so far."""

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")


class Fitting:
    """A network, its averaged twin, which is the one that serves, and all that moves them.

    Parameters
    ----------
    tf : module
        TensorFlow, as `pipeline.models.tensorflow_setup.set_up_tensorflow` gives it.
    train_set, valid_set : TrainingSet
    settings : TrainingSettings
    start : ModelBundle, optional
        Whose weights to start from.

    Attributes
    ----------
    served : keras.Model
        With the averaged weights.
    n_frames : int or None
        Frames that `served` takes; None where it takes no log-mels.

    Raises
    ------
    MisuseError
        Where the segments are too short for the network, or lack what it takes, or `start` does not fit it.
    """

    def __init__(
        self,
        tf: Any,
        train_set: TrainingSet,
        valid_set: TrainingSet,
        settings: TrainingSettings,
        start: ModelBundle | None = None,
    ) -> None:
        import keras

        check_data(train_set, settings.arch)
        # Layers are numbered within a process: without this a second training gives other names and hash.
        keras.utils.clear_session()
        keras.utils.set_random_seed(settings.seed)
        if tf.config.list_physical_devices("GPU"):
            tf.config.experimental.enable_op_determinism()
        crop = fitting_frames(train_set, settings, settings.crop)
        self.n_frames = fitting_frames(train_set, settings, settings.n_frames)
        self._settings = settings
        self._network = build_network(train_set, settings, crop)
        self.served = build_network(train_set, settings, self.n_frames)
        if start is not None:
            take_over([self._network, self.served], start, train_set, settings.arch)
        self._n_steps = _steps_an_epoch(train_set, crop, settings.batch_size)
        self._optimizer = _optimizer(keras, settings, settings.epochs * self._n_steps)
        self._optimizer.build(self._network.trainable_variables)
        weights = (
            balancing_weights(train_set.labels, len(train_set.genres)) if settings.class_weights else None
        )
        self._step = _compile_step(tf, keras, self._network, self.served, self._optimizer, settings, weights)
        self._predict = tf.function(lambda *x: self.served(as_input(x), training=False), autograph=False)
        self._batches = TrainingBatches(train_set, crop or 1, settings)
        self._valid = whole_segments(valid_set, settings.arch, self.n_frames)
        self._valid_labels = valid_set.labels
        self._best: list[NDArray[Any]] = []

    def epochs(
        self, checkpoint: Checkpoint | None = None, log: EventLog | None = None
    ) -> Generator[Epoch, None, NDArray[np.float64]]:
        """Train, yielding after each epoch; return the logits of `served` on the valid set.

        Parameters
        ----------
        checkpoint : Checkpoint, optional
            Gone on from where there is one, and written after epochs.
        log : EventLog, optional
            Gets loss and accuracy of each epoch.
        """
        place = _Place()
        if checkpoint is not None and (kept := checkpoint.read()) is not None:
            place = self._restore(*kept)
        n_epochs = self._settings.epochs
        while not self._is_done(place):
            place.epoch += 1
            loss = float(np.mean([self._one_step() for _ in range(self._n_steps)]))
            logits = self._logits()
            epoch = Epoch(place.epoch, n_epochs, loss, metrics.accuracy(logits, self._valid_labels))
            if self._settings.early_stopping is not None:
                self._note_best(place, logits)
            if checkpoint is not None:
                checkpoint.write(*self._state(place), final=self._is_done(place))
            if log is not None:
                log.add(epoch.number, loss=loss, valid_accuracy=epoch.valid_accuracy)
            yield epoch
        if self._best:
            _assign(self.served.weights, self._best)
        return self._logits()

    def _is_done(self, place: _Place) -> bool:
        patience = self._settings.early_stopping or self._settings.epochs
        return place.epoch >= self._settings.epochs or place.epoch - place.best_epoch >= patience

    def _one_step(self) -> float:
        inputs, y = next(self._batches)
        return float(self._step(y, *inputs))

    def _note_best(self, place: _Place, logits: NDArray[np.float64]) -> None:
        valid_loss = metrics.negative_log_likelihood(logits, self._valid_labels)
        if valid_loss < place.best_loss:
            place.best_loss, place.best_epoch = valid_loss, place.epoch
            self._best = [_array(weight) for weight in self.served.weights]

    def _variables(self) -> list[Any]:
        return [*self._network.variables, *self.served.variables, *self._optimizer.variables]

    def _state(self, place: _Place) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        state = {"place": asdict(place), "batches": self._batches.state}
        return state, [*(_array(variable) for variable in self._variables()), *self._best]

    def _restore(self, state: dict[str, Any], arrays: list[NDArray[Any]]) -> _Place:
        variables = self._variables()
        _assign(variables, arrays[: len(variables)])
        self._best = arrays[len(variables) :]
        self._batches.state = state["batches"]
        return _Place(**state["place"])

    def _logits(self) -> NDArray[np.float64]:
        """Return the logits of the whole valid segments, in batches of one shape."""
        logits = []
        for start in range(0, len(self._valid_labels), VALID_BATCH):
            batch = [each[start : start + VALID_BATCH].astype(np.float32) for each in self._valid]
            n = len(batch[0])
            padded = [np.pad(each, [(0, VALID_BATCH - n)] + [(0, 0)] * (each.ndim - 1)) for each in batch]
            logits.append(np.asarray(self._predict(*padded), np.float64)[:n])
        return np.concatenate(logits)


def _array(variable: Any) -> NDArray[Any]:
    return np.array(variable.numpy())


def _assign(variables: list[Any], arrays: list[NDArray[Any]]) -> None:
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _steps_an_epoch(data: TrainingSet, crop: int | None, batch_size: int) -> int:
    side_by_side = 1 if data.log_mel is None or crop is None else data.log_mel.shape[2] // crop
    return int(max(1, round(len(data) * max(1, side_by_side) / batch_size)))


def _optimizer(keras: Any, settings: TrainingSettings, n_steps: int) -> Any:
    rate: Any = settings.learning_rate
    if settings.schedule == "cosine":
        warm_up = min(WARM_UP_STEPS, n_steps // 4)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, n_steps - warm_up, warmup_target=settings.learning_rate, warmup_steps=warm_up
        )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _compile_step(
    tf: Any,
    keras: Any,
    network: Any,
    served: Any,
    optimizer: Any,
    settings: TrainingSettings,
    genre_weights: NDArray[np.float32] | None,
) -> Callable[..., Any]:
    """Return a compiled training step of `network` that moves the weights of `served` toward it."""
    loss_of = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=settings.label_smoothing)
    averaged = [
        (mean, weight)
        for mean, weight in zip(served.weights, network.weights, strict=True)
        if weight.dtype == "float32"
    ]

    def step(y: Any, *inputs: Any) -> Any:
        weights = None if genre_weights is None else tf.linalg.matvec(y, genre_weights)
        with tf.GradientTape() as tape:
            loss = loss_of(y, network(as_input(inputs), training=True), sample_weight=weights)
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        # The first steps weigh all alike: an average that still holds the initial weights is of no use.
        done = tf.cast(optimizer.iterations, tf.float32)
        decay = tf.minimum(settings.average, done / (10.0 + done))
        for mean, weight in averaged:
            mean.assign_add((1.0 - decay) * (weight - mean))
        return loss

    return tf.function(step, autograph=False)  # type: ignore[no-any-return]
