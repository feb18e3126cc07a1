"""Models that are ready to label tracks."""

import os
from collections.abc import Iterable
from functools import cached_property, partial
from typing import Any, SupportsFloat, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.models.classifier import CPU_BATCH_SIZE, GPU_BATCH_SIZE, Classifier, LogMels
from pipeline.models.ensemble import Bundle, load_bundle
from pipeline.models.ensemble_classifier import EnsembleClassifier, load_classifier, networks_of
from pipeline.models.prediction import Prediction
from pipeline.models.tensorflow_setup import set_up_tensorflow
from pipeline.storage.path_argument import path_argument
from schemas.config import RunConfig
from schemas.errors import MisuseError
from schemas.features import FeatureSpec
from schemas.model import ModelInfo

Source: TypeAlias = str | os.PathLike[str]
"""The path or URI of a track, a folder, a prefix of an object store or a manifest."""
DEFAULTS = RunConfig()
"""The default settings of a run."""


class Model:
    """A model that labels tracks; `load_model` loads one.

    TensorFlow is imported, and the network built, at the first prediction.

    Parameters
    ----------
    bundle : ModelBundle or Ensemble
        The model as stored.

    Attributes
    ----------
    bundle : ModelBundle or Ensemble
        The model as stored.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    def __getstate__(self) -> dict[str, Bundle]:
        # A copy, or a model in another process, builds its own network.
        return {"bundle": self.bundle}

    def __repr__(self) -> str:
        return f"<earmark.Model {self.name}, {len(self.genres)} genres>"

    @property
    def name(self) -> str:
        """Name and content hash, as in the column ``model`` of the labels table."""
        return self.bundle.model

    @property
    def genres(self) -> tuple[str, ...]:
        """The genres, in the order of the probabilities."""
        return self.bundle.info.genres

    @property
    def features(self) -> FeatureSpec:
        """The features that the model reads, for `earmark.track_features`."""
        return self.bundle.info.features

    @property
    def info(self) -> ModelInfo:
        """Everything recorded in the model: figures, training, temperature."""
        return self.bundle.info

    def predict_proba(
        self,
        log_mels: LogMels | Iterable[NDArray[np.uint8]] | None = None,
        descriptors: ArrayLike | None = None,
    ) -> NDArray[np.float64]:
        """Return the calibrated probability of each genre for each segment.

        Parameters
        ----------
        log_mels : iterable of ndarray of uint8, each of shape (n_mels, t)
            Segments of any length, where the model reads log-mels (`features`).
        descriptors : ndarray of float64, shape (n, 57)
            Of the same segments, where the model reads descriptors: finite numbers, such as the columns after
            the second of `earmark.describe`.

        Warnings
        --------
        ``earmark.track_features(track)`` alone has the features of the model ``gtzan``. Pass it the
        `features` of this model, as below: log-mels of other features may have the same shape, and their
        probabilities are wrong.

        Returns
        -------
        ndarray of float64, shape (n, n_genres)
            Rows sum to 1.

        Raises
        ------
        MisuseError
            If an input that the model reads is missing, has another shape or dtype or numbers that are not
            finite, or the model is an ensemble, which labels whole tracks.

        Examples
        --------
        >>> import earmark
        >>> model = earmark.load_model("default")
        >>> track = earmark.track_features("song.wav", model.features)
        >>> model.predict_proba([segment.log_mel for segment in track.segments]).shape
        (3, 19)
        """
        return self.predict(log_mels, descriptors).proba

    def predict(
        self,
        log_mels: LogMels | Iterable[NDArray[np.uint8]] | None = None,
        descriptors: ArrayLike | None = None,
    ) -> Prediction:
        """Return all predictions for each segment. Parameters and errors are those of `predict_proba`."""
        network, inputs = self._network_for(log_mels, descriptors)
        return network.predict(*inputs)

    def embed(
        self,
        log_mels: LogMels | Iterable[NDArray[np.uint8]] | None = None,
        descriptors: ArrayLike | None = None,
    ) -> NDArray[np.float32]:
        """Return the embedding of each segment: the numbers that the last layer of the network reads.

        Parameters and errors are those of `predict_proba`.

        Returns
        -------
        ndarray of float32, shape (n, n_numbers)
            Segments that sound alike have embeddings that point in similar directions.
        """
        network, inputs = self._network_for(log_mels, descriptors)
        return network.predict_and_embed(*inputs)[1]

    def label(
        self,
        tracks: Source | Iterable[Source],
        *,
        min_confidence: SupportsFloat = DEFAULTS.min_confidence,
        track_timeout_s: float = DEFAULTS.track_timeout_s,
        track_memory_mb: int = DEFAULTS.track_memory_mb,
    ) -> pd.DataFrame:
        """Label tracks with this model; see `earmark.label`."""
        from earmark._label import label

        return label(
            tracks,
            self,
            min_confidence=min_confidence,
            track_timeout_s=track_timeout_s,
            track_memory_mb=track_memory_mb,
        )

    def _network_for(self, log_mels: Any, descriptors: Any) -> tuple[Classifier, tuple[Any, Any]]:
        """Return the only network of the model, and its inputs once it is sure that it can read them."""
        if self.info.members:
            raise MisuseError(
                f"the model {self.name} is an ensemble, which labels whole tracks and nothing else; load one "
                f"of its models ({', '.join(self.info.members)})"
            )
        inputs = self._check_inputs(log_mels, descriptors)
        (network,) = networks_of(self._classifier)
        return network, inputs

    def _check_inputs(self, log_mels: Any, descriptors: Any) -> tuple[Any, Any]:
        """Check what the model reads, and return it as arrays; the network says which are missing."""
        lengths = set()
        if self.features.log_mel and log_mels is not None:
            if not isinstance(log_mels, Iterable):
                raise MisuseError(f"the model {self.name} reads a list of log-mels, not {log_mels!r}")
            log_mels = list(log_mels)
            for place, segment in enumerate(map(_as_array, log_mels)):
                n_rows, n_frames = segment.shape if segment.ndim == 2 else (0, 0)
                if n_rows != self.features.n_mels or not n_frames or segment.dtype != np.uint8:
                    raise MisuseError(
                        f"the model {self.name} reads a list of log-mels, each of shape "
                        f"({self.features.n_mels}, t) and dtype uint8, but number {place} has shape "
                        f"{segment.shape} and dtype {segment.dtype}; track_features(track, model.features) "
                        "has such log-mels"
                    )
            lengths.add(len(log_mels))
        if self.features.descriptors and descriptors is not None:
            descriptors = _as_array(descriptors)
            shape, n_columns = descriptors.shape, len(DESCRIPTOR_NAMES)
            if len(shape) != 2 or shape[1] != n_columns:
                raise MisuseError(
                    f"the model {self.name} reads descriptors of shape (n, {n_columns}), not {shape}"
                )
            if descriptors.dtype.kind not in "fiu" or not np.isfinite(descriptors).all():
                raise MisuseError(f"the model {self.name} reads descriptors that are finite numbers")
            lengths.add(shape[0])
        if len(lengths) > 1:
            raise MisuseError(f"there are {len(log_mels)} log-mels, but descriptors of {shape[0]} segments")
        return log_mels, descriptors

    @cached_property
    def _classifier(self) -> Classifier | EnsembleClassifier:
        # Threads and batch size as in the actors of a run: other values add floats in another order.
        on_gpu = bool(set_up_tensorflow(threads=1).config.list_physical_devices("GPU"))
        batch_size = GPU_BATCH_SIZE if on_gpu else CPU_BATCH_SIZE
        return load_classifier(self.bundle, partial(Classifier, threads=1, batch_size=batch_size))


def _as_array(values: Any) -> NDArray[Any]:
    """Return values as an array; as one of objects, which no model reads, if their lengths differ."""
    try:
        return np.asarray(values)
    except ValueError:
        return np.asarray(values, dtype=object)


def load_model(name: str | os.PathLike[str] = "default") -> Model:
    """Load a model.

    Parameters
    ----------
    name : str or path
        A shipped model's name, also as in the column ``model`` of the tables, or the folder (path or URI) of
        a trained one; names joined by ``+`` load an ensemble.

    Returns
    -------
    Model
        The model, to label any number of tracks with.

    Raises
    ------
    MisuseError
        If there is no such model, it is damaged, or a newer Earmark made it, or models cannot be combined; or
        if `name` is no text and no path.

    Examples
    --------
    >>> import earmark
    >>> model = earmark.load_model("default")
    >>> model.genres[:3]
    ('blues', 'children', 'classical')
    >>> len(model.label(["song.wav", "music/other.wav"]))
    2
    """
    return Model(load_bundle(path_argument(name, "a model")))
