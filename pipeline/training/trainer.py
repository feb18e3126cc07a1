"""Train a network: steps, averaged weights, early stopping, and resuming from a checkpoint."""

from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models import metrics
from pipeline.models.bundle import ModelBundle
from pipeline.training.batches import TrainingBatches, balancing_weights
from pipeline.training.checkpoints import Checkpoint
from pipeline.training.networks import build_network, check_data, choose_n_frames, pack_inputs, prepare_inputs
from pipeline.training.tensorboard import EventLog
from pipeline.training.training_set import TrainingSet
from pipeline.training.training_settings import TrainingSettings
from pipeline.training.warm_start import transfer_weights
from schemas.errors import DivergedError

WARM_UP_STEPS = 200
VALID_BATCH = 32


@dataclass(frozen=True, slots=True)
class Epoch:
    """The result of an epoch: number from 1, number of epochs, mean loss, and validation accuracy."""

    number: int
    n_epochs: int
    loss: float
    valid_accuracy: float

    def __str__(self) -> str:
        return (
            f"epoch {self.number} of {self.n_epochs}: loss {self.loss:.3f}, "
            f"validation accuracy {self.valid_accuracy:.3f}"
        )


@dataclass(slots=True)
class _Progress:
    """The number of epochs done, and the best epoch so far."""

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")


class Trainer:
    """A network in training, and a copy of it with averaged weights, which is the result.

    Parameters
    ----------
    tf : module
        TensorFlow, from `pipeline.models.tensorflow_setup.set_up_tensorflow`.
    train_set, valid_set : TrainingSet
    settings : TrainingSettings
    start : ModelBundle or None
        The model whose weights to start from.

    Attributes
    ----------
    averaged : keras.Model
        The network with averaged weights.
    n_frames : int or None
        Frames that `averaged` takes; None if it takes no log-mels.

    Raises
    ------
    MisuseError
        If the segments are too short for the network or lack features that it reads, or `start` does not fit.
    """

    def __init__(
        self,
        tf: Any,
        train_set: TrainingSet,
        valid_set: TrainingSet,
        settings: TrainingSettings,
        start: ModelBundle | None,
    ) -> None:
        import keras

        check_data(train_set, settings.arch)
        # Keras numbers layers within a process: a second training would get other names, and another hash.
        keras.utils.clear_session()
        keras.utils.set_random_seed(settings.seed)
        if tf.config.list_physical_devices("GPU"):
            tf.config.experimental.enable_op_determinism()
        crop = choose_n_frames(train_set, settings, settings.crop)
        self.n_frames = choose_n_frames(train_set, settings, settings.n_frames)
        self._settings = settings
        self._network = build_network(train_set, settings, crop)
        self.averaged = build_network(train_set, settings, self.n_frames)
        if start is not None:
            transfer_weights([self._network, self.averaged], start, train_set, settings.arch)
        self._n_steps = _count_steps(train_set, crop, settings.batch_size)
        self._optimizer = _build_optimizer(keras, settings, settings.epochs * self._n_steps)
        self._optimizer.build(self._network.trainable_variables)
        weights = (
            balancing_weights(train_set.labels, len(train_set.genres)) if settings.class_weights else None
        )
        self._step = _compile_step(
            tf, keras, self._network, self.averaged, self._optimizer, settings, weights
        )
        self._predict = tf.function(lambda *x: self.averaged(pack_inputs(x), training=False), autograph=False)
        self._batches = TrainingBatches(train_set, crop or 1, settings)
        self._valid = prepare_inputs(valid_set, settings.arch, self.n_frames)
        self._valid_labels = valid_set.labels
        self._best: list[NDArray[Any]] = []

    def epochs(
        self, checkpoint: Checkpoint | None = None, log: EventLog | None = None
    ) -> Generator[Epoch, None, NDArray[np.float64]]:
        """Train, yield after each epoch, and return the logits of `averaged` on the valid set.

        Parameters
        ----------
        checkpoint : Checkpoint, optional
            Resumed from if it exists, and written after epochs.
        log : EventLog, optional
            Receives the loss and accuracy of each epoch.

        Raises
        ------
        DivergedError
            If the loss or an output is no longer finite, and early stopping has kept no earlier epoch.
        """
        progress = _Progress()
        if checkpoint is not None and (kept := checkpoint.read()) is not None:
            progress = self._restore(*kept)
        n_epochs = self._settings.epochs
        while not self._is_done(progress):
            progress.epoch += 1
            loss = float(np.mean([self._run_step() for _ in range(self._n_steps)]))
            logits = self._logits()
            if not ((np.isfinite(loss) and np.isfinite(logits).all()) or self._best):
                raise DivergedError(
                    f"the training diverged: after epoch {progress.epoch} of {n_epochs}, its network gives "
                    f"no finite numbers; choose a learning rate below {self._settings.learning_rate:g}"
                )
            epoch = Epoch(progress.epoch, n_epochs, loss, metrics.accuracy(logits, self._valid_labels))
            if self._settings.early_stopping is not None:
                self._keep_best(progress, logits)
            if checkpoint is not None:
                checkpoint.write(*self._state(progress), final=self._is_done(progress))
            if log is not None:
                log.add(epoch.number, loss=loss, valid_accuracy=epoch.valid_accuracy)
            yield epoch
        if self._best:
            _assign(self.averaged.weights, self._best)
        return self._logits()

    def _is_done(self, progress: _Progress) -> bool:
        patience = self._settings.early_stopping or self._settings.epochs
        return progress.epoch >= self._settings.epochs or progress.epoch - progress.best_epoch >= patience

    def _run_step(self) -> float:
        inputs, y = next(self._batches)
        return float(self._step(y, *inputs))

    def _keep_best(self, progress: _Progress, logits: NDArray[np.float64]) -> None:
        valid_loss = metrics.negative_log_likelihood(logits, self._valid_labels)
        if valid_loss < progress.best_loss:
            progress.best_loss, progress.best_epoch = valid_loss, progress.epoch
            self._best = [_array(weight) for weight in self.averaged.weights]

    def _variables(self) -> list[Any]:
        return [*self._network.variables, *self.averaged.variables, *self._optimizer.variables]

    def _state(self, progress: _Progress) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        state = {"place": asdict(progress), "batches": self._batches.state}
        return state, [*(_array(variable) for variable in self._variables()), *self._best]

    def _restore(self, state: dict[str, Any], arrays: list[NDArray[Any]]) -> _Progress:
        variables = self._variables()
        _assign(variables, arrays[: len(variables)])
        self._best = arrays[len(variables) :]
        self._batches.state = state["batches"]
        return _Progress(**state["place"])

    def _logits(self) -> NDArray[np.float64]:
        """Return the logits of the valid set, in batches of one shape, so that TensorFlow compiles once."""
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


def _count_steps(data: TrainingSet, crop: int | None, batch_size: int) -> int:
    """Return the steps of an epoch: it draws as many crops as fit side by side into the segments."""
    n_crops = 1 if data.log_mel is None or crop is None else data.log_mel.shape[2] // crop
    return int(max(1, round(len(data) * max(1, n_crops) / batch_size)))


def _build_optimizer(keras: Any, settings: TrainingSettings, n_steps: int) -> Any:
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
    averaged: Any,
    optimizer: Any,
    settings: TrainingSettings,
    genre_weights: NDArray[np.float32] | None,
) -> Callable[..., Any]:
    """Return a compiled training step of `network` that also updates the moving average in `averaged`."""
    loss_of = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=settings.label_smoothing)
    pairs = [
        (mean, weight)
        for mean, weight in zip(averaged.weights, network.weights, strict=True)
        if weight.dtype == "float32"
    ]

    def step(y: Any, *inputs: Any) -> Any:
        weights = None if genre_weights is None else tf.linalg.matvec(y, genre_weights)
        with tf.GradientTape() as tape:
            loss = loss_of(y, network(pack_inputs(inputs), training=True), sample_weight=weights)
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        # A short average at first, so that it does not keep the initial weights.
        n_steps = tf.cast(optimizer.iterations, tf.float32)
        decay = tf.minimum(settings.average, n_steps / (10.0 + n_steps))
        for mean, weight in pairs:
            mean.assign_add((1.0 - decay) * (weight - mean))
        return loss

    return tf.function(step, autograph=False)  # type: ignore[no-any-return]
