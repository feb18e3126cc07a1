"""The embedding of one file, in or out of the catalog."""

import numpy as np
from numpy.typing import NDArray

from pipeline.models.bundle import ModelBundle
from pipeline.models.classifier import Classifier
from pipeline.models.network_shape import network_inputs
from pipeline.shards.limits import TrackLimits
from pipeline.shards.one_track import named_track
from pipeline.shards.outcomes import featurize_isolated
from pipeline.stopwatch import Stopwatch
from pipeline.tables.tables import Tables
from schemas.config import RunConfig
from schemas.errors import TrackError


def embed_track(tables: Tables, model: str, track: str) -> NDArray[np.float32]:
    """Decode a track in a process of its own and embed it.

    Parameters
    ----------
    tables : Tables
        The tables, beside which the model is kept.
    model : str
        The model's name with its hash.
    track : str
        Path or URI of an audio file.

    Returns
    -------
    ndarray of float32, shape (n_numbers,)
        The sum of the embeddings of its segments; a single 0 if it is silent.

    Raises
    ------
    TrackError
        If the file cannot be decoded.
    """
    bundle = ModelBundle.load(tables.model_folder(model))
    limits = TrackLimits.of(RunConfig())
    ((_, features),) = featurize_isolated([named_track(track)], bundle.info.features, Stopwatch(), limits)
    if isinstance(features, TrackError):
        raise features
    heard = [segment for segment in features.segments if not segment.is_silent]
    if not heard:
        return np.zeros(1, np.float32)
    classifier = Classifier(bundle, threads=1, batch_size=len(heard))
    embeddings = classifier.predict_and_embed(*network_inputs(heard))[1]
    summed: NDArray[np.float32] = embeddings.sum(axis=0, dtype=np.float32)
    return summed
