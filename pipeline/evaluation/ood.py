"""Out-of-distribution audio: tracks of none of the genres, to measure how many of them a model accepts."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.catalogs.catalog import list_catalog
from pipeline.models.label import accepted_probabilities, track_is_music, track_probabilities
from pipeline.models.network_shape import network_inputs
from pipeline.models.prediction import Prediction
from pipeline.shards.one_track import track_features
from schemas.errors import FeatureError, MisuseError, TrackError
from schemas.features import FeatureSpec

Predict = Callable[[Any, Any], Prediction]
"""Maps log-mels (a sequence or None) and descriptors (an array or None) of segments to predictions."""


def predict_outside(
    catalog: str,
    features: FeatureSpec,
    predict: Predict,
    on_failure: Callable[[TrackError], None] = lambda error: None,
) -> NDArray[np.float64]:
    """Return the probabilities that a model gives each track of a catalog without labels.

    Parameters
    ----------
    catalog : str
        A folder of audio, a prefix of an object store, a manifest, or one file.
    features : FeatureSpec
        The features that the model reads.
    predict : callable
        See `Predict`.
    on_failure : callable
        Called with the error of each track that cannot be featurized or is silent; the track is left out.

    Returns
    -------
    ndarray of float64, shape (n_tracks, n_genres)
        The same probabilities as in labeling; see `pipeline.models.label.track_probabilities`. All zero if
        the model recognizes that a track is no music.

    Raises
    ------
    MisuseError
        If no track of the catalog is left.
    """
    rows, is_music = [], []
    for uri in list_catalog(catalog)["uri"].to_pylist():
        try:
            segments = track_features(uri, features).segments
        except TrackError as error:
            on_failure(error)
            continue
        silent = [segment.is_silent for segment in segments]
        if all(silent):
            on_failure(FeatureError(f"{uri} is silent, and silence gets no genre"))
            continue
        found = predict(*network_inputs(segments))
        rows.append(track_probabilities(found, silent))
        is_music.append(track_is_music(found, silent))
    if not rows:
        raise MisuseError(
            f"{catalog} has no track with sound that can be featurized: give other audio with --outside"
        )
    return accepted_probabilities(np.stack(rows), np.array(is_music, np.float64))
