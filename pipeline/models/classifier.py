"""Run the network of a bundle over segments."""

import threading
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.models.bundle import ModelBundle, load_network
from pipeline.models.embedding import with_embedding
from pipeline.models.network_shape import input_shapes
from pipeline.models.prediction import Prediction, no_prediction, read_outputs
from pipeline.models.tensorflow_setup import check_not_forked, set_up_tensorflow
from pipeline.stopwatch import Stopwatch
from schemas.errors import MisuseError

CPU_BATCH_SIZE, GPU_BATCH_SIZE = 8, 64
"""Default number of segments that run together."""

LogMels: TypeAlias = Sequence[NDArray[np.uint8] | None] | NDArray[np.uint8]
"""Log-mels of segments, as `schemas.tracks.SegmentFeatures` has them; None is refused."""

Network = Callable[..., Any]
"""A compiled network: it takes a batch of each input and returns a tensor, or one for each output."""


class Classifier:
    """The network of a bundle, which always runs on batches of the same size.

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
        self._logits_and_embedding: Network | None = None
        self._compiling = threading.Lock()

    def _compile(self, network: Any) -> Network:
        """Compile a network that takes the inputs of the bundle's."""
        tf = self._tf

        def run(*inputs: Any) -> Any:
            x = [tf.cast(each, tf.float32) for each in inputs]
            return network(x if len(x) > 1 else x[0], training=False)

        empty = [np.zeros(shape, self._dtype(shape)) for shape in self._shapes]
        # The graph must not know the batch size: Keras takes what is added to each segment for a bias of the
        # bands if there are as many bands as segments (since keras-team/keras#20386).
        signature = [tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in empty]
        # The concrete function: TensorFlow would warn of retracing after the fifth model of a process.
        compiled: Network = tf.function(run, signature, autograph=False).get_concrete_function()
        compiled(*empty)
        return compiled

    def _with_embedding(self) -> Network:
        """Return the network with the embedding as a second output, compiled when it is first asked for."""
        with self._compiling:
            if self._logits_and_embedding is None:
                self._logits_and_embedding = self._compile(with_embedding(self.network))
            return self._logits_and_embedding

    @staticmethod
    def _dtype(shape: tuple[int, ...]) -> type[np.generic]:
        return np.uint8 if len(shape) == 4 else np.float32

    def predict_proba(
        self,
        log_mels: LogMels | None = None,
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
        log_mels: LogMels | None = None,
        descriptors: NDArray[np.float64] | None = None,
        watch: Stopwatch | None = None,
    ) -> Prediction:
        """Return all predictions for segments.

        Parameters
        ----------
        log_mels : sequence of ndarray of uint8, each of shape (n_mels, t)
            Segments of at least one frame; see `fit_frames`. Ignored by a model that reads only
            descriptors.
        descriptors : ndarray of float64, shape (n, 57)
            Descriptors of the same segments. Ignored by a model that reads only log-mels.
        watch : Stopwatch, optional
            The seconds of the network are added to its stage ``predict``.

        Returns
        -------
        Prediction
            Probabilities of the genres: softmax of the logits divided by the bundle's temperature (Guo et al.
            2017). With a taxonomy also the probabilities of music and of each class.

        Raises
        ------
        MisuseError
            If features that the model reads are missing.
        EarmarkError
            If this process was forked from one in which TensorFlow was set up.
        """
        check_not_forked()
        inputs = self._select_inputs(log_mels, descriptors)
        if not len(inputs[0]):
            return no_prediction(self.info)
        (logits,) = self._run(self.logits, inputs, watch or Stopwatch())
        return read_outputs(logits.astype(np.float64), self.info)

    def predict_and_embed(
        self,
        log_mels: LogMels | None = None,
        descriptors: NDArray[np.float64] | None = None,
        watch: Stopwatch | None = None,
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
        check_not_forked()
        inputs = self._select_inputs(log_mels, descriptors)
        if not len(inputs[0]):
            n_numbers = with_embedding(self.network).outputs[1].shape[-1]
            return no_prediction(self.info), np.empty((0, n_numbers), np.float32)
        logits, embeddings = self._run(self._with_embedding(), inputs, watch or Stopwatch())
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

    def _run(self, network: Network, inputs: list[Any], watch: Stopwatch) -> list[NDArray[np.float32]]:
        """Return each output of a network for all segments."""
        found = []
        with watch.stage("predict"):
            for start in range(0, len(inputs[0]), self.batch_size):
                chunk = [each[start : start + self.batch_size] for each in inputs]
                found.append([each[: len(chunk[0])] for each in self._run_batch(network, [chunk])])
        return join_outputs(found)

    def _run_batch(self, network: Network, chunks: list[list[Any]]) -> list[NDArray[np.float32]]:
        """Return each output of a network for the segments of some chunks, which fit into one batch."""
        outputs = network(*self._pad(chunks))
        return [np.asarray(each) for each in (outputs if isinstance(outputs, list | tuple) else [outputs])]

    def _pad(self, chunks: list[list[Any]]) -> list[NDArray[Any]]:
        """Fill a batch of each input, and pad it with zeros."""
        batches = []
        for place, shape in enumerate(self._shapes):
            batch = np.zeros(shape, self._dtype(shape))
            segments = chain.from_iterable(chunk[place] for chunk in chunks)
            for row, segment in zip(batch, segments, strict=False):
                if batch.dtype == np.uint8:
                    row[:, :, 0] = fit_frames(segment, shape[2])
                else:
                    row[:] = segment
            batches.append(batch)
        return batches


def join_outputs(batches: list[list[NDArray[np.float32]]]) -> list[NDArray[np.float32]]:
    """Join the outputs of batches: the first of each, the second of each, and so on."""
    return [np.concatenate(each) for each in zip(*batches, strict=True)]


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
