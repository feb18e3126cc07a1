"""Trains the student: it regresses the teacher's outputs, and learns the genres of GTZAN's train clips."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.audioset.taxonomy import gtzan_places, taxonomy_of
from infra.distill.augmentation import CROP, LIGHT, Augmentation, augment, crop
from infra.distill.student import (
    N_BANDS,
    N_POOLED,
    POOL,
    build_network,
    build_training_network,
    copy_weights,
    learning_rate,
)
from infra.distill.teacher_outputs import N_CLASSES, N_EMBEDDING, read_recorded
from pipeline.models.audioset import audioset_info, own_head
from pipeline.models.prediction import genre_scores
from pipeline.models.tensorflow_setup import set_up_tensorflow
from schemas.genres import GTZAN_GENRES

Floats = NDArray[np.float32]
Levels = NDArray[np.uint8]

MUSIC_CLASSES = range(137, 283)
"""AudioSet's classes of music, instruments and moods: targets beside the classes that the student outputs."""
BATCH = 64
GENRE_WEIGHT, SCORE_WEIGHT, LABEL_WEIGHT = 6.0, 12.0, 0.3
FIRST_RATE, SECOND_RATE = 2e-3, 1.2e-3
"""Highest learning rates of a training from nothing and of one that goes on from another."""
AVERAGE = 0.999
"""Share of the weights' moving average that a step keeps."""


@dataclass(frozen=True)
class TrainingData:
    """Excerpts, and what the student learns from them.

    Attributes
    ----------
    pooled : ndarray of uint8, shape (n, 64, 500)
        Pooled levels.
    targets : ndarray of float32, shape (n, n_targets)
        Outputs of the teacher, standardized.
    labels : ndarray of intp, shape (n,)
        Number of the genre in `GTZAN_GENRES`; -1: none is known.
    names : list of str
        The recording of each.
    weights : ndarray of float32, shape (n_targets,)
        How much each target matters.
    mean, spread : ndarray of float32, shape (n_targets,)
        What targets were standardized by.
    """

    pooled: Levels
    targets: Floats
    labels: NDArray[np.intp]
    names: list[str]
    weights: Floats
    mean: Floats
    spread: Floats


def output_classes() -> list[int]:
    """Return the AudioSet classes that the student predicts, in the order of its outputs."""
    taxonomy = taxonomy_of(audioset_info())
    return [*(each.index for each in taxonomy.classes), taxonomy.music, *taxonomy.speech]


def read_training_data(
    cache: Path, sources: list[str], left_out: frozenset[str] = frozenset()
) -> TrainingData:
    """Read recorded outputs of the teacher, but for recordings that are left out."""
    levels, outputs, names, labels = [], [], [], []
    for source in sources:
        recorded = read_recorded(cache / source)
        kept = [row for row, name in enumerate(recorded.names) if left_out.isdisjoint(name.split(" + "))]
        levels.append(_pool(recorded.levels, cache / source)[kept])
        outputs.append(recorded.outputs[kept])
        names += [recorded.names[row] for row in kept]
        has_genre = source in ("clips", "imitated")
        labels += [
            GTZAN_GENRES.index(recorded.names[row].partition(".")[0]) if has_genre else -1 for row in kept
        ]
    raw = _targets(np.concatenate(outputs))
    mean, spread = raw.mean(axis=0), raw.std(axis=0) + 1e-3
    return TrainingData(
        pooled=np.concatenate(levels),
        targets=(raw - mean) / spread,
        labels=np.array(labels, np.intp),
        names=names,
        weights=_weights(),
        mean=mean,
        spread=spread,
    )


def _pool(levels: Levels, folder: Path) -> Levels:
    """Return levels as the network pools them, from the cache if they are there."""
    if not (folder / "pooled.npy").is_file():
        found = np.empty((len(levels), N_BANDS, N_POOLED), np.uint8)
        for row, each in enumerate(levels):
            found[row] = pooled(each)
        np.save(folder / "pooled.npy", found)
    kept: Levels = np.load(folder / "pooled.npy", mmap_mode="r")
    return kept


def pooled(levels: Levels) -> Levels:
    """Return the levels of an excerpt, averaged two by two as the network does, shape (64, 500)."""
    blocks = levels.reshape(N_BANDS, POOL, N_POOLED, POOL)
    found: Levels = np.rint(blocks.mean(axis=(1, 3), dtype=np.float32)).astype(np.uint8)
    return found


def _targets(recorded: Floats) -> Floats:
    """Return logits of `output_classes`, ten calibrated scores, other classes of music, the embedding."""
    head = own_head()
    info = audioset_info()
    logits, embedding = recorded[:, :N_CLASSES], recorded[:, N_CLASSES:]
    outputs = np.concatenate([logits, embedding @ head.weights + head.bias], axis=1).astype(np.float64)
    ten = genre_scores(outputs, info, taxonomy_of(info))[:, gtzan_places(info)]
    others = [each for each in MUSIC_CLASSES if each not in output_classes()]
    found = np.concatenate([logits[:, output_classes()], ten, logits[:, others], embedding], axis=1)
    return np.asarray(found, np.float32)


def sizes() -> list[int]:
    """Return the numbers of targets of each kind; see `_targets`."""
    others = [each for each in MUSIC_CLASSES if each not in output_classes()]
    return [len(output_classes()), len(GTZAN_GENRES), len(others), N_EMBEDDING]


def _weights() -> Floats:
    n_classes, ten, others, embedding = sizes()
    weights = np.concatenate(
        [np.full(n_classes, 2.0), np.full(ten, SCORE_WEIGHT), np.ones(others + embedding)]
    )
    classes = taxonomy_of(audioset_info()).classes
    for place, each in enumerate(classes):
        if each.style is None and each.genre in GTZAN_GENRES:
            weights[place] = GENRE_WEIGHT
    weights[len(classes)] = GENRE_WEIGHT  # music of any kind
    return np.asarray(weights / weights.sum(), np.float32)


def batches(
    data: TrainingData, n_steps: int, rng: np.random.Generator, how: Augmentation
) -> Iterator[tuple[Any, ...]]:
    """Yield crops of excerpts, changed at random, with their targets and genres."""
    order: list[int] = []
    for _ in range(n_steps):
        if len(order) < BATCH:
            order = [*order, *rng.permutation(len(data.pooled)).tolist()]
        rows, order = order[:BATCH], order[BATCH:]
        x = np.stack([augment(crop(data.pooled[row], rng), rng, how) for row in rows])
        yield x[..., np.newaxis], data.targets[rows], data.labels[rows]


def train(
    data: TrainingData,
    *,
    n_steps: int,
    seed: int,
    log: Path,
    start: Any = None,
    how: Augmentation = LIGHT,
) -> Any:
    """Train a student.

    Parameters
    ----------
    data : TrainingData
        What it learns from.
    n_steps, seed : int
        Batches, and what chooses them and the first weights.
    log : Path
        A JSON line of losses for every 50 steps is added there.
    start : keras.Model, optional
        A network as this function returns it, to go on from, without labels: most clips of some genres are
        imitations, and what labels teach of these misleads about real audio.
    how : Augmentation
        How far crops are changed.

    Returns
    -------
    keras.Model
        The network that ships, with the teacher's scale of logits.
    """
    tf = set_up_tensorflow(threads=1)
    import keras

    keras.utils.set_random_seed(seed)
    keras.mixed_precision.set_global_policy(_fastest_precision(tf))
    network = build_training_network(sizes(), CROP)
    if start is not None:
        _continue_from(start, network, data)
    highest, label_weight = (FIRST_RATE, LABEL_WEIGHT) if start is None else (SECOND_RATE, 0.0)
    optimizer = keras.optimizers.AdamW(
        highest, weight_decay=0.02, use_ema=True, ema_momentum=AVERAGE, clipnorm=1.0
    )
    optimizer.build(network.trainable_variables)
    weights = tf.constant(data.weights)
    n_classes, ten = sizes()[:2]
    scale = tf.constant(data.spread[n_classes : n_classes + ten])
    shift = tf.constant(data.mean[n_classes : n_classes + ten])

    def step(x: Any, y: Any, labels: Any, one_hot: Any) -> Any:
        with tf.GradientTape() as tape:
            found = network(x, training=True)
            regression = tf.reduce_mean(tf.reduce_sum(weights * (found - y) ** 2, axis=1))
            scores = found[:, n_classes : n_classes + ten] * scale + shift
            cross = tf.nn.softmax_cross_entropy_with_logits(one_hot, scores)
            known = tf.cast(labels >= 0, tf.float32)
            cross = tf.reduce_sum(known * cross) / (tf.reduce_sum(known) + 1)
            loss = regression + label_weight * cross
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        return tf.stack([regression, cross])

    run = tf.function(step)
    rng = np.random.default_rng(seed)
    recent: list[Any] = []
    for number, (x, y, labels) in enumerate(batches(data, n_steps, rng, how)):
        optimizer.learning_rate.assign(learning_rate(number, n_steps, highest))
        one_hot = np.where(labels[:, np.newaxis] >= 0, 0.9 * np.eye(ten)[labels] + 0.1 / ten, 0.0)
        recent.append(np.asarray(run(x, y, labels, one_hot.astype(np.float32))))
        if (number + 1) % 50 == 0:
            mean = np.mean(recent, axis=0)
            recent = []
            line = {"step": number + 1, "regression": float(mean[0]), "cross": float(mean[1])}
            with log.open("a") as file:
                file.write(json.dumps({**line, "cpu_s": round(time.process_time())}) + "\n")
    optimizer.finalize_variable_values(network.trainable_variables)
    return released_network(network, data)


def _fastest_precision(tf: Any) -> str:
    """Return the fastest precision of this machine: a CPU without bfloat16 takes ten times as long for it."""
    flags = Path("/proc/cpuinfo").read_text().split()
    has_bfloat16 = tf.config.list_physical_devices("GPU") or {"avx512_bf16", "amx_bf16"} & set(flags)
    return "mixed_bfloat16" if has_bfloat16 else "float32"


def _continue_from(start: Any, network: Any, data: TrainingData) -> None:
    """Copy weights; heads but that of the classes begin at zero, to disturb nothing before they learned."""
    n_classes = sizes()[0]
    others = ("outputs_1", "outputs_2", "outputs_3")
    copy_weights(start, network, but=("outputs", *others))
    kernel, bias = start.get_layer("outputs").get_weights()
    spread, mean = data.spread[:n_classes], data.mean[:n_classes]
    classes = [kernel[:, :n_classes] / spread, (bias[:n_classes] - mean) / spread]
    network.get_layer("outputs").set_weights(classes)
    for name in others:
        layer = network.get_layer(name)
        layer.set_weights([np.zeros_like(each) for each in layer.get_weights()])


def released_network(trained: Any, data: TrainingData) -> Any:
    """Return the network that ships, with output classes and ten scores as the teacher scales them."""
    import keras

    keras.mixed_precision.set_global_policy("float32")
    n_classes, ten = sizes()[:2]
    network = build_network(n_classes + ten)
    outputs = network.get_layer("outputs")
    kernels = [trained.get_layer(name).get_weights() for name in ("outputs", "outputs_1")]
    spread, mean = data.spread[: n_classes + ten], data.mean[: n_classes + ten]
    kernel = np.concatenate([kernel for kernel, _ in kernels], axis=1) * spread
    bias = np.concatenate([bias for _, bias in kernels]) * spread + mean
    copy_weights(trained, network, but=("outputs",))
    outputs.set_weights([kernel, bias])
    return network
