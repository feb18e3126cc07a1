"""Read, check and write model bundles, and run their networks over segments.

A bundle is a folder of two files: ``model.json`` (`schemas.model.ModelInfo`) and ``model.keras``. Neither
can run code: JSON is data, and Keras loads in safe mode. Reading a bundle does not import TensorFlow.
"""

import contextlib
import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pipeline.models.embedding import with_embedding
from pipeline.models.model_cache import ADDABLE, added_models
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
"""Fields of ``model.json`` that labels do not depend on."""
CPU_BATCH_SIZE, GPU_BATCH_SIZE = 8, 64
"""Default number of segments that run together."""


def shipped_models() -> dict[str, Path]:
    """Return the folders of the shipped models, by the name that ``--model`` takes.

    Returns
    -------
    dict of str to Path
        Sorted by name; a run uses "default" unless another is named.
    """
    folder = Path(__file__).parent.parent / "pretrained"
    return {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{INFO_FILE}"))}


@dataclass(frozen=True)
class ModelBundle:
    """A model as stored on disk.

    Attributes
    ----------
    info : ModelInfo
        The contents of ``model.json``.
    weights : bytes
        The contents of ``model.keras``: architecture and weights.
    """

    info: ModelInfo
    weights: bytes

    @cached_property
    def model(self) -> str:
        """Name and content hash, as in the labels table: ``gtzan-cnn-1f3a9c02``.

        The hash covers what labels depend on: the network, genres, features, frames and temperature. It
        leaves out figures, training notes and file dates, so that measuring a model again does not make it
        a new one. It also leaves out the format version and values at their defaults, so that a setting added
        in a later version does not either.
        """
        relevant = self.info.model_dump(
            mode="json",
            exclude=_NOTES,
            exclude_defaults=True,
        )
        with zipfile.ZipFile(io.BytesIO(self.weights)) as archive:
            network = json.loads(archive.read("config.json"), object_hook=_drop_object_id)
            weights = archive.read("model.weights.h5")
        canonical = json.dumps([relevant, network], sort_keys=True).encode()
        digest = hashlib.sha256(hashlib.sha256(canonical).digest() + hashlib.sha256(weights).digest())
        return f"{self.info.name}-{digest.hexdigest()[:8]}"

    @classmethod
    def load(cls, name_or_uri: str) -> "ModelBundle":
        """Read a bundle and check that its two files match.

        Parameters
        ----------
        name_or_uri : str
            The name of a shipped or added model, or a folder: a local path or any URI that fsspec opens.

        Raises
        ------
        MisuseError
            If the name is unknown, a file is missing or broken, the format version is newer, or the inputs
            or outputs of the network do not match ``model.json``.
        EarmarkError
            If the store refuses or fails.
        """
        known = shipped_models() | (added_models() if name_or_uri in ADDABLE else {})
        folder = str(known.get(name_or_uri, name_or_uri))
        if "/" not in folder and not Path(folder).is_dir():
            if folder in ADDABLE:
                raise MisuseError(
                    f"the model '{folder}' has not been added yet; add it with 'earmark models add {folder}'"
                )
            names = ", ".join(known) or "none"
            raise MisuseError(f"there is no model '{folder}': give a folder or a shipped model ({names})")
        bundle = cls(parse_info(_read(folder, INFO_FILE), folder), _read(folder, WEIGHTS_FILE))
        check_network(bundle.weights, bundle.info, f"{folder}/{WEIGHTS_FILE}")
        return bundle

    def save(self, folder: str | Path) -> None:
        """Write the two files into a local folder, which is created if it is missing.

        The folder appears whole or not at all: a hidden folder beside it is filled and then renamed.

        Raises
        ------
        MisuseError
            If the folder exists and is not empty, or cannot be written.
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


def _drop_object_id(config: dict[str, Any]) -> dict[str, Any]:
    """Drop the id that Keras derives from a memory address: it differs from process to process."""
    return {key: value for key, value in config.items() if key != "shared_object_id"}


def _read(folder: str, file: str) -> bytes:
    path = storage.join(folder, file)
    with storage.explain_errors(path, "read"):
        try:
            return storage.read_bytes(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MisuseError(f"there is no {file} in {folder}: give the folder of a model") from error


def parse_info(data: bytes, folder: str) -> ModelInfo:
    """Parse the ``model.json`` of a model folder.

    Raises
    ------
    MisuseError
        If it is not valid, or a newer Earmark wrote a model that this version cannot run.
    """
    with contextlib.suppress(ValidationError):  # reported below, with the cause
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
    """Repeat a log-mel in time up to `n_frames`, or keep only its middle.

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
    """The network of a bundle, compiled for one batch shape.

    Parameters
    ----------
    bundle : ModelBundle
    threads : int
        CPU threads per operation. It takes effect only before the first TensorFlow operation of a process.
    batch_size : int
        Segments that run together. A smaller batch is padded with zeros, so that every batch has the same
        shape and the output of a segment does not depend on the others.

    Attributes
    ----------
    logits : callable
        The compiled network. It maps uint8 (batch_size, n_mels, n_frames, 1), float32 (batch_size, 57), or
        both, depending on the model, to logits (batch_size, n_outputs).
    network : keras.Model
        The network itself. It takes float32 of any batch size.

    Raises
    ------
    MisuseError
        If Keras in safe mode refuses the network.
    """

    def __init__(self, bundle: ModelBundle, *, threads: int = 1, batch_size: int = 32) -> None:
        self._tf = set_up_tensorflow(threads)
        self.info = bundle.info
        self.batch_size = batch_size
        self.network = load_network(bundle)
        self._shapes = [(batch_size, *shape) for shape in input_shapes(bundle.info)]
        self.logits = self._compile(self.network)

    def _compile(self, network: Any) -> Callable[..., Any]:
        """Compile a network that takes the inputs of the bundle's."""
        tf = self._tf

        def run(*inputs: Any) -> Any:
            x = [tf.cast(each, tf.float32) for each in inputs]
            return network(x if len(x) > 1 else x[0], training=False)

        empty = [np.zeros(shape, self._dtype(shape)) for shape in self._shapes]
        signature = [tf.TensorSpec(array.shape, array.dtype) for array in empty]
        compiled: Callable[..., Any] = tf.function(run, signature, autograph=False)
        compiled(*empty)
        return compiled

    @cached_property
    def _logits_and_embedding(self) -> Callable[..., Any]:
        """The network with the embedding as a second output, compiled when it is first asked for."""
        return self._compile(with_embedding(self.network))

    @staticmethod
    def _dtype(shape: tuple[int, ...]) -> type[np.generic]:
        return np.uint8 if len(shape) == 4 else np.float32

    def predict_proba(
        self,
        log_mels: Sequence[NDArray[np.uint8]] | NDArray[np.uint8] | None = None,
        descriptors: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """Return the calibrated probability of each genre. Parameters and errors are those of `predict`.

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
        """Return all predictions for segments.

        Parameters
        ----------
        log_mels : sequence of ndarray of uint8, each of shape (n_mels, t)
            Segments of at least one frame; see `fit_frames`. Ignored by a model that reads only
            descriptors.
        descriptors : ndarray of float64, shape (n, 57)
            Descriptors of the same segments. Ignored by a model that reads only log-mels.

        Returns
        -------
        Prediction
            Probabilities of the genres: softmax of the logits divided by the bundle's temperature (Guo et al.
            2017). With a taxonomy also the probabilities of music and of each class.

        Raises
        ------
        MisuseError
            If features that the model reads are missing.
        """
        inputs = self._select_inputs(log_mels, descriptors)
        if not len(inputs[0]):
            return no_prediction(self.info)
        logits = [np.asarray(self.logits(*batch), np.float64)[:n] for batch, n in self._batches(inputs)]
        return read_outputs(np.concatenate(logits), self.info)

    def predict_and_embed(
        self,
        log_mels: Sequence[NDArray[np.uint8]] | NDArray[np.uint8] | None = None,
        descriptors: NDArray[np.float64] | None = None,
    ) -> tuple[Prediction, NDArray[np.float32]]:
        """Return all predictions for segments and, from the same pass, the segments' embeddings.

        Parameters and errors are those of `predict`.

        Returns
        -------
        prediction : Prediction
            The same as that of `predict`.
        embeddings : ndarray of float32, shape (n, n_numbers)
            See `pipeline.models.embedding.find_embedding`.
        """
        inputs = self._select_inputs(log_mels, descriptors)
        if not len(inputs[0]):
            n_numbers = with_embedding(self.network).outputs[1].shape[-1]
            return no_prediction(self.info), np.empty((0, n_numbers), np.float32)
        found = [
            [np.asarray(each)[:n] for each in self._logits_and_embedding(*batch)]
            for batch, n in self._batches(inputs)
        ]
        logits, embeddings = (np.concatenate(each) for each in zip(*found, strict=True))
        return read_outputs(logits.astype(np.float64), self.info), embeddings

    def _select_inputs(self, log_mels: Any, descriptors: Any) -> list[Any]:
        """Return the inputs that the network reads, in its order."""
        given = {
            "log-mels": (log_mels, self.info.features.log_mel),
            "descriptors": (descriptors, self.info.features.descriptors),
        }
        for name, (segments, is_read) in given.items():
            if is_read and segments is None:
                raise MisuseError(
                    f"the model {self.info.name} reads {name}, which this data does not have; "
                    "choose other data or another model"
                )
        return [segments for segments, is_read in given.values() if is_read]

    def _batches(self, inputs: list[Any]) -> Iterator[tuple[list[NDArray[Any]], int]]:
        """Yield whole batches, the last one padded, each with its number of real segments."""
        for start in range(0, len(inputs[0]), self.batch_size):
            chunk = [each[start : start + self.batch_size] for each in inputs]
            yield self._pad(chunk), len(chunk[0])

    def _pad(self, inputs: list[Any]) -> list[NDArray[Any]]:
        """Pad the inputs to a whole batch."""
        batches = []
        for segments, shape in zip(inputs, self._shapes, strict=True):
            batch = np.zeros(shape, self._dtype(shape))
            if batch.dtype == np.uint8:
                for row, log_mel in zip(batch, segments, strict=False):
                    row[:, :, 0] = fit_frames(log_mel, shape[2])
            else:
                batch[: len(segments)] = segments
            batches.append(batch)
        return batches


def load_network(bundle: ModelBundle) -> Any:
    """Load the network of a bundle in Keras' safe mode.

    Raises
    ------
    MisuseError
        If Keras refuses it.
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
