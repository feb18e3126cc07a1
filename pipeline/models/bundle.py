"""Model bundles: reading, checking and writing them, and running the network over segments.

A bundle is a folder of two files: ``model.json`` (`schemas.model.ModelInfo`) and ``model.keras``. Neither
can carry code: JSON is data, and Keras loads in safe mode. Reading a bundle does not import TensorFlow.
"""

import contextlib
import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pipeline.models.added import ADDABLE, added_models
from pipeline.models.network_shape import check_network, input_shapes
from pipeline.models.prediction import Prediction, no_prediction, read_outputs
from pipeline.models.tensorflow_setup import set_up_tensorflow
from pipeline.storage import storage
from schemas.errors import MisuseError
from schemas.model import ModelInfo
from schemas.versions import MODEL_FORMAT, FormatHeader, check_format

INFO_FILE = "model.json"
WEIGHTS_FILE = "model.keras"
_NOTES = {"format_version", "name", "figures", "training", "counts", "source", "license", "weights_sha256"}
"""Fields of ``model.json`` that no answer depends on."""
CPU_BATCH_SIZE, GPU_BATCH_SIZE = 8, 64
"""Segments that run together unless something else is asked for."""


def shipped_models() -> dict[str, Path]:
    """Return the folders of the models in this package, by the name that ``--model`` takes.

    Returns
    -------
    dict of str to Path
        Sorted by name; "default" is the one that a run uses when none is named.
    """
    folder = Path(__file__).parent.parent / "pretrained"
    return {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{INFO_FILE}"))}


@dataclass(frozen=True)
class ModelBundle:
    """A model as stored.

    Attributes
    ----------
    info : ModelInfo
        What ``model.json`` says.
    weights : bytes
        The file ``model.keras``: architecture and weights.
    """

    info: ModelInfo
    weights: bytes

    @cached_property
    def model(self) -> str:
        """Name and content hash, as the labels table has it: ``gtzan-cnn-1f3a9c02``.

        Hashed is what answers depend on: the network, genres, features, frames and temperature. Figures,
        training notes and file dates are left out, so measuring a model again does not make it a new one;
        so are values at their defaults, so a new setting in a later version does not either; and the format.
        """
        answering = self.info.model_dump(
            mode="json",
            exclude=_NOTES,
            exclude_defaults=True,
        )
        with zipfile.ZipFile(io.BytesIO(self.weights)) as archive:
            network = json.loads(archive.read("config.json"), object_hook=_without_object_ids)
            weights = archive.read("model.weights.h5")
        canonical = json.dumps([answering, network], sort_keys=True).encode()
        digest = hashlib.sha256(hashlib.sha256(canonical).digest() + hashlib.sha256(weights).digest())
        return f"{self.info.name}-{digest.hexdigest()[:8]}"

    @classmethod
    def load(cls, name_or_uri: str) -> "ModelBundle":
        """Read a bundle and check that its two files fit each other.

        Parameters
        ----------
        name_or_uri : str
            The name of a shipped or added model, or a folder: a local path or any URI that fsspec opens.

        Raises
        ------
        MisuseError
            For an unknown name, a missing or broken file, another format version, or a network whose
            input or output does not fit ``model.json``.
        EarmarkError
            Where the store refuses or fails.
        """
        known = shipped_models() | (added_models() if name_or_uri in ADDABLE else {})
        folder = str(known.get(name_or_uri, name_or_uri))
        if "/" not in folder and not Path(folder).is_dir():
            if folder in ADDABLE:
                raise MisuseError(
                    f"the model '{folder}' is not there yet; add it with 'earmark models add {folder}'"
                )
            names = ", ".join(known) or "none"
            raise MisuseError(f"there is no model '{folder}': give a folder or a shipped model ({names})")
        bundle = cls(parse_info(_read(folder, INFO_FILE), folder), _read(folder, WEIGHTS_FILE))
        check_network(bundle.weights, bundle.info, f"{folder}/{WEIGHTS_FILE}")
        return bundle

    def save(self, folder: str | Path) -> None:
        """Write the two files into a local folder, which is made where it is missing.

        The folder appears whole or not at all: a hidden neighbor is filled and then renamed.

        Raises
        ------
        MisuseError
            Where the folder exists and is not empty, or cannot be written.
        """
        target = Path(folder)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
                whole = Path(scratch) / "bundle"
                whole.mkdir()
                (whole / INFO_FILE).write_text(self.info.model_dump_json(indent=2) + "\n")
                (whole / WEIGHTS_FILE).write_bytes(self.weights)
                whole.replace(target)
        except OSError as error:
            raise MisuseError(f"cannot write the model folder {target}: {error.strerror}") from error


def _without_object_ids(config: dict[str, Any]) -> dict[str, Any]:
    """Drop what Keras takes from memory addresses: it differs from process to process."""
    return {key: value for key, value in config.items() if key != "shared_object_id"}


def _read(folder: str, file: str) -> bytes:
    path = storage.join(folder, file)
    with storage.explained(path, "read"):
        try:
            return storage.read_bytes(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MisuseError(f"there is no {file} in {folder}: a model folder holds it") from error


def parse_info(data: bytes, folder: str) -> ModelInfo:
    """What the ``model.json`` of a model folder says.

    Raises
    ------
    MisuseError
        If it is none, or was written by a newer Earmark that made a model which this one cannot run.
    """
    with contextlib.suppress(ValidationError):  # said below, with what is wrong
        header = FormatHeader.model_validate_json(data)
        check_format(header.format_version, MODEL_FORMAT, f"the model {folder} was")
    try:
        return ModelInfo.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "extra_forbidden":
            raise MisuseError(
                f"the model {folder} takes features that this version of Earmark does not know "
                f"({first['loc'][-1]}); upgrade Earmark"
            ) from error
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise MisuseError(f"{folder}/{INFO_FILE} is not valid: {where}: {first['msg']}") from error


def fit_frames(log_mel: NDArray[np.uint8], n_frames: int) -> NDArray[np.uint8]:
    """Repeat a log-mel in time up to `n_frames`, or cut its middle out.

    Parameters
    ----------
    log_mel : ndarray of uint8, shape (n_mels, t), t >= 1

    Returns
    -------
    ndarray of uint8, shape (n_mels, n_frames)
    """
    length = log_mel.shape[1]
    if length >= n_frames:
        start = (length - n_frames) // 2
        return log_mel[:, start : start + n_frames]
    return np.tile(log_mel, -(-n_frames // length))[:, :n_frames]


class Classifier:
    """A bundle's network, ready to run: one compiled function of one batch shape.

    Parameters
    ----------
    bundle : ModelBundle
    threads : int
        CPU threads of an operation. TensorFlow takes this once a process, before its first operation.
    batch_size : int
        Segments that run together; a smaller batch is filled up with zeros, so that every batch has the
        same shape and an answer does not depend on its neighbors.

    Attributes
    ----------
    logits : callable
        The compiled network: uint8 (batch_size, n_mels, n_frames, 1) and float32 (batch_size, 57), or that
        of the two which the model takes, to logits (batch_size, n_outputs).
    network : keras.Model
        The network itself, which takes float32 of any batch size.

    Raises
    ------
    MisuseError
        Where Keras in safe mode refuses the network.
    """

    def __init__(self, bundle: ModelBundle, *, threads: int = 1, batch_size: int = 32) -> None:
        tf = set_up_tensorflow(threads)
        self.info = bundle.info
        self.batch_size = batch_size
        self.network = network = load_network(bundle)
        self._shapes = [(batch_size, *shape) for shape in input_shapes(bundle.info)]

        def run(*inputs: Any) -> Any:
            x = [tf.cast(each, tf.float32) for each in inputs]
            return network(x if len(x) > 1 else x[0], training=False)

        empty = [np.zeros(shape, self._dtype(shape)) for shape in self._shapes]
        signature = [tf.TensorSpec(array.shape, array.dtype) for array in empty]
        self.logits = tf.function(run, signature, autograph=False)
        self.logits(*empty)

    @staticmethod
    def _dtype(shape: tuple[int, ...]) -> type[np.generic]:
        return np.uint8 if len(shape) == 4 else np.float32

    def predict_proba(
        self,
        log_mels: Sequence[NDArray[np.uint8]] | NDArray[np.uint8] | None = None,
        descriptors: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """Return the calibrated probability of each genre: `predict` without what else a model may say.

        Returns
        -------
        ndarray of float64, shape (n, n_genres)
            Rows sum to 1.
        """
        return self.predict(log_mels, descriptors).proba

    def predict(
        self,
        log_mels: Sequence[NDArray[np.uint8]] | NDArray[np.uint8] | None = None,
        descriptors: NDArray[np.float64] | None = None,
    ) -> Prediction:
        """Return what the model says of segments.

        Parameters
        ----------
        log_mels : sequence of ndarray of uint8, each of shape (n_mels, t)
            Segments of any length of at least one frame; see `fit_frames`. A model of descriptors alone
            leaves them aside.
        descriptors : ndarray of float64, shape (n, 57)
            Of the same segments. A model of log-mels alone leaves them aside.

        Returns
        -------
        Prediction
            Probabilities of genres, calibrated by the bundle's temperature (Guo et al. 2017), and what else
            the model says.

        Raises
        ------
        MisuseError
            If what the model takes is not given.
        """
        taken = self._taken(log_mels, descriptors)
        n = len(taken[0])
        if not n:
            return no_prediction(self.info)
        starts = range(0, n, self.batch_size)
        batches = [self._run([each[start : start + self.batch_size] for each in taken]) for start in starts]
        return read_outputs(np.concatenate(batches), self.info)

    def _taken(self, log_mels: Any, descriptors: Any) -> list[Any]:
        """What the network takes of what is given, in its order."""
        given = {
            "log-mels": (log_mels, self.info.features.log_mel),
            "descriptors": (descriptors, self.info.features.descriptors),
        }
        for name, (segments, wanted) in given.items():
            if wanted and segments is None:
                raise MisuseError(f"the model {self.info.name} takes {name}, and there are none")
        return [segments for segments, wanted in given.values() if wanted]

    def _run(self, taken: list[Any]) -> NDArray[np.float64]:
        batches = []
        for segments, shape in zip(taken, self._shapes, strict=True):
            batch = np.zeros(shape, self._dtype(shape))
            if batch.dtype == np.uint8:
                for row, log_mel in zip(batch, segments, strict=False):
                    row[:, :, 0] = fit_frames(log_mel, shape[2])
            else:
                batch[: len(segments)] = segments
            batches.append(batch)
        return np.asarray(self.logits(*batches), np.float64)[: len(taken[0])]


def load_network(bundle: ModelBundle) -> Any:
    """Return a bundle's network, read in Keras' safe mode.

    Raises
    ------
    MisuseError
        Where Keras refuses it.
    """
    import keras

    with tempfile.TemporaryDirectory(prefix="earmark-model-") as scratch:
        path = Path(scratch) / WEIGHTS_FILE
        path.write_bytes(bundle.weights)
        try:
            return keras.saving.load_model(path, compile=False, safe_mode=True)
        except (ValueError, TypeError, OSError, KeyError) as error:
            reason = str(error).partition("\n")[0]
            raise MisuseError(f"Keras refuses the network of {bundle.model}: {reason}") from error
