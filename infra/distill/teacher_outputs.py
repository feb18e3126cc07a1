"""The teacher's outputs for excerpts of sounds, kept on disk with their levels and recordings."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.distill.sounds import Sound
from pipeline.models.audioset import FEATURES, N_FRAMES
from pipeline.models.mobilenet import EMBEDDING

_BATCH = 8
N_CLASSES, N_EMBEDDING = 527, 384
FILES = ("levels.raw", "outputs.raw", "names.txt")

Levels = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TeacherOutputs:
    """Excerpts with the teacher's outputs.

    Attributes
    ----------
    levels : ndarray of uint8, shape (n, 128, 1000)
        Its inputs; mapped into memory.
    outputs : ndarray of float32, shape (n, 911)
        Its logits of AudioSet's classes, and behind them its embedding.
    names : list of str
        The recording of each excerpt.
    """

    levels: Levels
    outputs: Floats
    names: list[str]


def record_outputs(teacher: Any, sounds: Iterable[Sound], folder: Path) -> None:
    """Write the teacher's outputs for sounds as they come, so that an interrupted run keeps what it has."""
    folder.mkdir(parents=True, exist_ok=True)
    n_excerpts = 0
    with ExitStack() as files:
        levels_file, outputs_file, names_file = (
            files.enter_context((folder / file).open("wb", buffering=0)) for file in FILES
        )
        for number, group in enumerate(_grouped(sounds)):
            levels = np.stack([excerpt for sound in group for excerpt in sound.excerpts])
            levels_file.write(levels.tobytes())
            outputs_file.write(predict(teacher, levels).tobytes())
            for sound in group:
                names_file.write(f"{sound.name}\n".encode() * len(sound.excerpts))
            n_excerpts += len(levels)
            if number % 50 == 0:
                print(f"{folder.name}: {n_excerpts} excerpts", flush=True)


def _grouped(sounds: Iterable[Sound]) -> Iterator[list[Sound]]:
    """Yield sounds that fill a batch together, each with its excerpts."""
    group: list[Sound] = []
    for sound in sounds:
        group.append(sound)
        if sum(len(each.excerpts) for each in group) >= _BATCH:
            yield group
            group = []
    if any(each.excerpts for each in group):
        yield group


def read_recorded(folder: Path) -> TeacherOutputs:
    """Return what `record_outputs` wrote there."""
    levels_file, outputs_file, names_file = (folder / file for file in FILES)
    names = names_file.read_text().splitlines()
    levels = np.memmap(levels_file, np.uint8, mode="r", shape=(len(names), FEATURES.n_mels, N_FRAMES))
    outputs = np.fromfile(outputs_file, np.float32, count=len(names) * (N_CLASSES + N_EMBEDDING))
    return TeacherOutputs(levels, outputs.reshape(len(names), -1), names)


def make_predictor(network: Any) -> Any:
    """Return a function from levels, in a batch of 8, to a network's outputs and its embedding."""
    import keras
    import tensorflow as tf

    both = keras.Model(network.inputs[0], [network.output, network.get_layer(EMBEDDING).output])

    def run(levels: Any) -> Any:
        return tf.concat(both(tf.cast(levels, tf.float32), training=False), axis=1)

    return tf.function(run, [tf.TensorSpec((_BATCH, FEATURES.n_mels, N_FRAMES, 1), tf.uint8)])


def predict(run: Any, levels: Levels) -> Floats:
    """Return outputs and embeddings for levels of any number of excerpts."""
    found = []
    for start in range(0, len(levels), _BATCH):
        batch = np.zeros((_BATCH, *levels.shape[1:], 1), np.uint8)
        some = levels[start : start + _BATCH]
        batch[: len(some), :, :, 0] = some
        found.append(np.asarray(run(batch))[: len(some)])
    return np.concatenate(found)
