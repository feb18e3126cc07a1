"""TrainingBatches: an endless, seeded stream of augmented batches with a position that can be saved."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.training.augment import equalize, mask, mix, random_crops
from pipeline.training.training_set import TrainingSet
from pipeline.training.training_settings import TrainingSettings
from schemas.model import feature_kinds

Inputs = tuple[NDArray[np.float32], ...]
"""Inputs of a network: log-mels (batch, n_mels, n_frames, 1), descriptors (batch, 57), or both."""


class TrainingBatches:
    """An iterator over batches: inputs, and target shares of the genres (batch, n_genres).

    Every segment is drawn once before any is drawn again.

    Parameters
    ----------
    data : TrainingSet
    crop : int
        Frames of a crop of a log-mel.
    settings : TrainingSettings
        Its seed fixes every batch.
    """

    def __init__(self, data: TrainingSet, crop: int, settings: TrainingSettings) -> None:
        self._data = data
        self._crop = crop
        self._settings = settings
        self._takes = feature_kinds(settings.arch)
        one_hot = np.eye(len(data.genres), dtype=np.float32)[data.labels]
        self._targets = one_hot if data.shares is None else data.shares
        self._rng = np.random.default_rng(settings.seed)
        self._queue = np.empty(0, np.intp)

    @property
    def state(self) -> dict[str, Any]:
        """The position in the stream, as JSON values; set it to resume from there."""
        return {"rng": self._rng.bit_generator.state, "queue": self._queue.tolist()}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self._rng.bit_generator.state = state["rng"]
        self._queue = np.array(state["queue"], np.intp)

    def __iter__(self) -> "TrainingBatches":
        return self

    def __next__(self) -> tuple[Inputs, NDArray[np.float32]]:
        """Draw the next batch."""
        rng, amount, size = self._rng, self._settings.augmentation, self._settings.batch_size
        while len(self._queue) < size:
            self._queue = np.concatenate([self._queue, rng.permutation(len(self._data))])
        rows, self._queue = self._queue[:size], self._queue[size:]
        arrays = []
        if self._takes["log_mel"] and self._data.log_mel is not None:
            crops = random_crops(self._data.log_mel, rows, self._crop, amount, rng)
            arrays.append(mask(equalize(crops, amount, rng), amount, rng)[..., None])
        if self._takes["descriptors"] and self._data.descriptors is not None:
            arrays.append(self._data.descriptors[rows].astype(np.float32))
        *inputs, y = mix([*arrays, self._targets[rows]], amount, rng)
        return tuple(inputs), y


def balancing_weights(labels: NDArray[np.intp], n_genres: int) -> NDArray[np.float32]:
    """Return a weight for each genre, inverse to its share; the mean over the segments is 1.

    Genres without segments get the weight 1.
    """
    counts = np.bincount(labels, minlength=n_genres)
    present = np.count_nonzero(counts)
    weights = np.where(counts > 0, len(labels) / (present * np.maximum(counts, 1)), 1.0)
    return weights.astype(np.float32)
