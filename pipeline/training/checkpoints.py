"""Checkpoints: the saved state of a training, from which a killed training resumes with the same result."""

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.bundle import ModelBundle
from pipeline.storage import storage
from pipeline.storage.read_and_parse import read_and_parse
from pipeline.training.training_set import TrainingSet
from pipeline.training.training_settings import TrainingSettings
from schemas.errors import EarmarkError

MIN_INTERVAL_S = 1.0
"""Seconds between two writes: epochs of a small network take milliseconds, too little for a file each."""


class Checkpoint:
    """One file with the weights, the state of the optimizer and the position in the stream of batches.

    Its name is a hash of data and settings, so that trainings can share a folder, and only the same training
    resumes from it. It holds arrays and JSON, no pickle.

    Parameters
    ----------
    folder : str
        Folder or URI.
    train_set, valid_set : TrainingSet
    settings : TrainingSettings
    start : ModelBundle, optional
        The model whose weights the training started from.
    """

    def __init__(
        self,
        folder: str,
        train_set: TrainingSet,
        valid_set: TrainingSet,
        settings: TrainingSettings,
        start: ModelBundle | None = None,
    ) -> None:
        name = _hash_inputs(train_set, valid_set, settings, start)
        self.location = storage.join(folder, f"training-{name}.npz")
        self._written_at = float("-inf")

    def read(self) -> tuple[dict[str, Any], list[NDArray[Any]]] | None:
        """Return the state and the arrays that were written last; None if there is no checkpoint.

        Raises
        ------
        EarmarkError
            If the file cannot be read.
        """
        try:
            with storage.explain_errors(self.location, "read the checkpoint"):
                if not storage.exists(self.location):
                    return None
                return read_and_parse(self.location, _decode)
        except (ValueError, KeyError, zipfile.BadZipFile) as error:
            raise EarmarkError(
                f"the checkpoint {self.location} is damaged ({error}); remove it to start over"
            ) from error

    def write(self, state: dict[str, Any], arrays: Sequence[NDArray[Any]], *, final: bool) -> None:
        """Write state and arrays atomically, at most once per `MIN_INTERVAL_S` unless they are final.

        Raises
        ------
        EarmarkError
            If they cannot be written.
        """
        if not final and time.monotonic() - self._written_at < MIN_INTERVAL_S:
            return
        named: dict[str, Any] = {f"array_{number}": array for number, array in enumerate(arrays)}
        buffer = io.BytesIO()
        np.savez(buffer, state=np.frombuffer(json.dumps(state).encode(), np.uint8), **named)
        with storage.explain_errors(self.location, "write the checkpoint"):
            storage.write_bytes(self.location, buffer.getvalue())
        self._written_at = time.monotonic()

    def remove(self) -> None:
        """Remove the checkpoint, once the training is done and its model is saved."""
        with storage.explain_errors(self.location, "remove the checkpoint"):
            storage.delete(self.location)


def _decode(data: bytes) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    with np.load(io.BytesIO(data), allow_pickle=False) as kept:
        arrays = [kept[f"array_{number}"] for number in range(len(kept.files) - 1)]
        return json.loads(bytes(kept["state"])), arrays


def _hash_inputs(
    train_set: TrainingSet, valid_set: TrainingSet, settings: TrainingSettings, start: ModelBundle | None
) -> str:
    digest = hashlib.sha256(json.dumps(settings.to_notes(), sort_keys=True).encode())
    if start is not None:
        digest.update(start.model.encode())
    for data in (train_set, valid_set):
        digest.update(json.dumps([data.genres, data.labels.tolist(), data.features.feature_set]).encode())
        for array in (data.log_mel, data.descriptors):
            digest.update(b"none" if array is None else np.ascontiguousarray(array).data)
        if data.shares is not None:
            digest.update(np.ascontiguousarray(data.shares).data)
    return digest.hexdigest()[:12]
