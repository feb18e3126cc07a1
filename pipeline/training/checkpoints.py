"""Checkpoints: where a training stands, kept so that a killed one goes on as if nothing had been."""

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
from pipeline.storage.parsed import read_parsed
from pipeline.training.training_set import TrainingSet
from pipeline.training.training_settings import TrainingSettings
from schemas.errors import EarmarkError

EVERY_S = 1.0
"""Epochs of a small network take milliseconds: not each of them is worth a file."""


class Checkpoint:
    """One object that holds the weights, the optimizer's state and the place in the stream of batches.

    Its name is a hash of data and settings, so that trainings can share a folder, and only the same one goes
    on from it. It holds arrays and JSON, no pickle.

    Parameters
    ----------
    folder : str
        Folder or URI.
    train_set, valid_set : TrainingSet
    settings : TrainingSettings
    start : ModelBundle, optional
        Whose weights the training started from.
    """

    def __init__(
        self,
        folder: str,
        train_set: TrainingSet,
        valid_set: TrainingSet,
        settings: TrainingSettings,
        start: ModelBundle | None = None,
    ) -> None:
        name = _fingerprint(train_set, valid_set, settings, start)
        self.location = storage.join(folder, f"training-{name}.npz")
        self._written_at = float("-inf")

    def read(self) -> tuple[dict[str, Any], list[NDArray[Any]]] | None:
        """Return the state and the arrays that were written last; None where there are none.

        Raises
        ------
        EarmarkError
            If the file cannot be read.
        """
        try:
            with storage.explain_errors(self.location, "read the checkpoint"):
                if not storage.exists(self.location):
                    return None
                return read_parsed(self.location, _decoded)
        except (ValueError, KeyError, zipfile.BadZipFile) as error:
            raise EarmarkError(
                f"the checkpoint {self.location} is damaged ({error}); remove it to start anew"
            ) from error

    def write(self, state: dict[str, Any], arrays: Sequence[NDArray[Any]], *, final: bool) -> None:
        """Write state and arrays, whole or not at all; unless they are final, not right after the last ones.

        Raises
        ------
        EarmarkError
            If they cannot be written.
        """
        if not final and time.monotonic() - self._written_at < EVERY_S:
            return
        named: dict[str, Any] = {f"array_{number}": array for number, array in enumerate(arrays)}
        buffer = io.BytesIO()
        np.savez(buffer, state=np.frombuffer(json.dumps(state).encode(), np.uint8), **named)
        with storage.explain_errors(self.location, "write the checkpoint"):
            storage.write_bytes(self.location, buffer.getvalue())
        self._written_at = time.monotonic()

    def remove(self) -> None:
        """Remove it: the training is done and its model kept."""
        with storage.explain_errors(self.location, "remove the checkpoint"):
            storage.delete(self.location)


def _decoded(data: bytes) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    with np.load(io.BytesIO(data), allow_pickle=False) as kept:
        arrays = [kept[f"array_{number}"] for number in range(len(kept.files) - 1)]
        return json.loads(bytes(kept["state"])), arrays


def _fingerprint(
    train_set: TrainingSet, valid_set: TrainingSet, settings: TrainingSettings, start: ModelBundle | None
) -> str:
    digest = hashlib.sha256(json.dumps(settings.flat(), sort_keys=True).encode())
    if start is not None:
        digest.update(start.model.encode())
    for data in (train_set, valid_set):
        digest.update(json.dumps([data.genres, data.labels.tolist(), data.features.feature_set]).encode())
        for array in (data.log_mel, data.descriptors):
            digest.update(b"none" if array is None else np.ascontiguousarray(array).data)
        if data.shares is not None:
            digest.update(np.ascontiguousarray(data.shares).data)
    return digest.hexdigest()[:12]
