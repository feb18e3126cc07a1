"""A trained head as a model bundle: the network that it stands on, with the head as its last layer."""

from collections.abc import Mapping

import numpy as np

from pipeline.models import metrics
from pipeline.models.bundle import ModelBundle, load_network, network_bytes
from pipeline.models.embedding import find_embedding
from pipeline.models.tensorflow_setup import set_up_tensorflow
from pipeline.training.head import TrainedHead
from schemas.model import Measurement, ModelInfo, SplitProtocol

_LAYER = "genres"


def build_head_bundle(
    base: ModelBundle,
    trained: TrainedHead,
    name: str,
    figure: Measurement,
    notes: Mapping[str, str | int | float | None],
) -> ModelBundle:
    """Return the model that a head makes of the network it was trained on.

    It reads the same features, so that tracks need not be decoded again, and keeps the source and the license
    of the weights.

    Parameters
    ----------
    base : ModelBundle
        The model that made the embeddings.
    trained : TrainedHead
        The head.
    name : str
        Name of the new model.
    figure : Measurement
        Its accuracy.
    notes : mapping
        Notes about the training.
    """
    set_up_tensorflow(threads=1)
    import keras

    network = load_network(base)
    last = keras.layers.Dense(len(trained.held_out.genres), name=_LAYER)
    whole = keras.Model(network.input, last(find_embedding(network)), name=name.replace("-", "_"))
    last.set_weights([trained.head.weights, trained.head.bias])
    info = ModelInfo.model_validate(
        base.info.model_dump(include={"arch", "features", "n_frames", "source", "license", "weights_sha256"})
        | {
            "name": name,
            "genres": trained.held_out.genres,
            "temperature": trained.temperature,
            "figures": (figure,),
            "training": {**notes, "head_on": base.model, "strength": trained.strength},
        }
    )
    return ModelBundle(info, network_bytes(whole))


def measure_head(trained: TrainedHead, dataset: str) -> Measurement:
    """Return accuracy, calibration error and hits by genre on the held-out tracks."""
    data, proba = trained.held_out, trained.proba
    right = proba.argmax(axis=1) == data.labels
    protocol: SplitProtocol = "file" if trained.folds is None else "track"
    return Measurement(
        protocol=protocol,
        dataset=dataset,
        accuracy=round(metrics.accuracy(proba, data.labels), 4),
        ece=round(metrics.expected_calibration_error(proba, data.labels), 4),
        n=len(data),
        by_genre={
            genre: (int(right[data.labels == label].sum()), int(np.sum(data.labels == label)))
            for label, genre in enumerate(data.genres)
            if np.any(data.labels == label)
        },
    )
