"""Out-of-distribution audio: tracks of none of the genres, to measure how many of them a model accepts."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.catalogs.catalog import list_catalog
from pipeline.models.label import track_probabilities
from pipeline.shards.one_track import track_features
from schemas.errors import MisuseError, TrackError
from schemas.features import FeatureSpec
from schemas.tracks import SegmentFeatures

Predict = Callable[[Any, Any], NDArray[np.float64]]
"""Maps log-mels (a sequence or None) and descriptors (an array or None) of segments to probabilities."""


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
        Called with the error of each track that cannot be featurized; the track is left out.

    Returns
    -------
    ndarray of float64, shape (n_tracks, n_genres)
        The same probabilities as in labeling; see `pipeline.models.label.track_probabilities`.

    Raises
    ------
    MisuseError
        If no track of the catalog can be featurized.
    """
    rows = []
    for uri in list_catalog(catalog)["uri"].to_pylist():
        try:
            segments = track_features(uri, features).segments
        except TrackError as error:
            on_failure(error)
            continue
        silent = [segment.is_silent for segment in segments]
        rows.append(track_probabilities(predict(*_stack_inputs(segments)), silent))
    if not rows:
        raise MisuseError(f"{catalog} has no track that can be featurized: give other audio with --outside")
    return np.stack(rows)


def _stack_inputs(segments: tuple[SegmentFeatures, ...]) -> tuple[Any, Any]:
    log_mels = [segment.log_mel for segment in segments if segment.log_mel is not None]
    descriptors = [segment.descriptors for segment in segments if segment.descriptors is not None]
    return log_mels or None, np.stack(descriptors) if descriptors else None
