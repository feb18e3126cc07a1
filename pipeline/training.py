"""Training a bundle: a CNN over crops of augmented log-mels, its averaged weights, its temperature.

The weights that are kept are an exponential moving average over the steps (Polyak averaging), so no epoch
is picked by its figure and the validation tracks choose nothing but the temperature.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline import metrics
from pipeline.augment import Augmentation, equalize, mask, mix, random_crops
from pipeline.cnn import build_cnn
from pipeline.model import WEIGHTS_FILE, ModelBundle, fit_frames, softmax
from pipeline.tensorflow_setup import set_up_tensorflow
from pipeline.training_set import TrainingSet
from schemas.features import FeatureSpec
from schemas.model import Figure, ModelInfo

WARM_UP_STEPS = 200
VALID_BATCH = 32


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What a training is made of; the defaults are those of the shipped model.

    Attributes
    ----------
    epochs : int
        In an epoch as many crops are seen as fit side by side into all training segments.
    batch_size : int
    crop : int
        Frames of a training crop (at most those of the segments).
    n_frames : int
        Frames the finished network takes at once (at most those of the segments).
    learning_rate, weight_decay : float
        Of AdamW (Loshchilov and Hutter 2019); the rate rises for 200 steps, then falls as a cosine.
    label_smoothing : float
    average : float
        Decay of the moving average of the weights, a step.
    seed : int
        Fixes the initial weights and every batch.
    threads : int
        CPU threads of an operation. Other counts add floats in another order: equal in kind, not in bits.
    augmentation : Augmentation
    """

    epochs: int = 60
    batch_size: int = 32
    crop: int = 128
    n_frames: int = 384
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.1
    average: float = 0.998
    seed: int = 0
    threads: int = 2
    augmentation: Augmentation = field(default_factory=Augmentation)


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


def train(
    train_set: TrainingSet,
    valid_set: TrainingSet,
    *,
    name: str,
    features: FeatureSpec,
    protocol: Literal["segment", "track", "file"],
    dataset: str,
    command: str = "",
    settings: TrainingSettings | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> ModelBundle:
    """Train a CNN and return it as a bundle, with its temperature and its figure on `valid_set`.

    Parameters
    ----------
    train_set, valid_set : TrainingSet
        Of the same genres. The second is never trained on; the temperature is fitted to it.
    name : str
        Name of the model.
    features : FeatureSpec
        How the log-mels were made: what the model asks of a catalog.
    protocol : {"segment", "track", "file"}
        How the two sets were kept apart, for the figure.
    dataset : str
        What `valid_set` is, in words, for the figure.
    command : str
        How to train this model again, for its notes.
    settings : TrainingSettings, optional
    on_epoch : callable
        Called after each epoch.

    Returns
    -------
    ModelBundle
    """
    settings = settings or TrainingSettings()
    tf = set_up_tensorflow(settings.threads)
    served, logits = _fit(tf, train_set, valid_set, settings, on_epoch)
    temperature = metrics.fit_temperature(logits, valid_set.labels)
    info = ModelInfo(
        name=name,
        genres=train_set.genres,
        features=features,
        n_frames=served.input_shape[2],
        temperature=temperature,
        figures=(measure(softmax(logits / temperature), valid_set, protocol, dataset),),
        training={
            "command": command,
            "train_segments": len(train_set),
            "tensorflow": tf.__version__,
            **_flat(settings),
        },
    )
    return ModelBundle(info, network_bytes(served))


def _fit(
    tf: Any,
    train_set: TrainingSet,
    valid_set: TrainingSet,
    settings: TrainingSettings,
    on_epoch: Callable[[Epoch], None],
) -> tuple[Any, NDArray[np.float64]]:
    """Return the network with averaged weights, and its logits on `valid_set`."""
    import keras

    # Layers are numbered within a process: without this a second training gives other names, another hash.
    keras.utils.clear_session()
    keras.utils.set_random_seed(settings.seed)
    _, n_mels, longest = train_set.log_mel.shape
    n_genres, crop, n_frames = (
        len(train_set.genres),
        min(settings.crop, longest),
        min(settings.n_frames, longest),
    )
    network = build_cnn(n_mels, crop, n_genres)
    served = build_cnn(n_mels, n_frames, n_genres)
    steps_an_epoch = _steps_an_epoch(train_set, crop, settings.batch_size)
    step = _compile_step(tf, keras, network, served, settings, settings.epochs * steps_an_epoch)
    predict = tf.function(lambda x: served(x, training=False), autograph=False)
    batches = training_batches(train_set, crop, settings)
    for number in range(1, settings.epochs + 1):
        losses = [float(step(*next(batches))) for _ in range(steps_an_epoch)]
        logits = _predict_logits(predict, valid_set, n_frames)
        right = metrics.accuracy(logits, valid_set.labels)
        on_epoch(Epoch(number, settings.epochs, float(np.mean(losses)), right))
    return served, logits


def training_batches(
    data: TrainingSet, crop: int, settings: TrainingSettings
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Yield augmented batches without end: x (batch, n_mels, crop, 1) and target shares (batch, n_genres).

    Every segment is drawn once before one is drawn again.
    """
    rng = np.random.default_rng(settings.seed)
    amount = settings.augmentation
    targets = np.eye(len(data.genres), dtype=np.float32)[data.labels]
    queue = np.empty(0, np.intp)
    while True:
        while len(queue) < settings.batch_size:
            queue = np.concatenate([queue, rng.permutation(len(data))])
        rows, queue = queue[: settings.batch_size], queue[settings.batch_size :]
        x = random_crops(data.log_mel, rows, crop, amount, rng)
        x = mask(equalize(x, amount, rng), amount, rng)
        x, y = mix(x, targets[rows], amount, rng)
        yield x[..., None], y


def measure(
    proba: NDArray[np.float64],
    data: TrainingSet,
    protocol: Literal["segment", "track", "file"],
    dataset: str,
) -> Figure:
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


def _steps_an_epoch(data: TrainingSet, crop: int, batch_size: int) -> int:
    crops = len(data) * max(1, data.log_mel.shape[2] // crop)
    return int(max(1, round(crops / batch_size)))


def _compile_step(
    tf: Any, keras: Any, network: Any, served: Any, settings: TrainingSettings, n_steps: int
) -> Callable[[NDArray[np.float32], NDArray[np.float32]], Any]:
    """Return a compiled training step of `network` that moves the weights of `served` towards it."""
    warm_up = min(WARM_UP_STEPS, n_steps // 4)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, n_steps - warm_up, warmup_target=settings.learning_rate, warmup_steps=warm_up
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(network.trainable_variables)
    loss_of = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=settings.label_smoothing)
    averaged = [
        (mean, weight)
        for mean, weight in zip(served.weights, network.weights, strict=True)
        if _is_float(weight)
    ]

    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(y, network(x, training=True))
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        # The first steps weigh all alike: an average that still holds the initial weights is of no use.
        done = tf.cast(optimizer.iterations, tf.float32)
        decay = tf.minimum(settings.average, done / (10.0 + done))
        for mean, weight in averaged:
            mean.assign_add((1.0 - decay) * (weight - mean))
        return loss

    return tf.function(step, autograph=False)  # type: ignore[no-any-return]


def _is_float(weight: Any) -> bool:
    return bool(weight.dtype == "float32")


def _predict_logits(predict: Any, data: TrainingSet, n_frames: int) -> NDArray[np.float64]:
    """Return the logits of whole segments, in batches of one shape."""
    fitted = np.stack([fit_frames(log_mel, n_frames) for log_mel in data.log_mel])[..., None]
    logits = []
    for start in range(0, len(fitted), VALID_BATCH):
        batch = fitted[start : start + VALID_BATCH].astype(np.float32)
        padding = [(0, VALID_BATCH - len(batch)), (0, 0), (0, 0), (0, 0)]
        logits.append(np.asarray(predict(np.pad(batch, padding)), np.float64)[: len(batch)])
    return np.concatenate(logits)


def network_bytes(network: Any) -> bytes:
    """Return the network as a ``.keras`` file."""
    with tempfile.TemporaryDirectory(prefix="earmark-model-") as scratch:
        path = Path(scratch) / WEIGHTS_FILE
        network.save(path)
        return path.read_bytes()


def _flat(settings: TrainingSettings) -> dict[str, str | int | float | None]:
    values = asdict(settings)
    augmentation = values.pop("augmentation")
    return {**values, **{f"augmentation_{key}": value for key, value in augmentation.items()}}
