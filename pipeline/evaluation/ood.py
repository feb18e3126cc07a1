"""Music of none of a model's genres: read without labels, to see how much of it the model accepts."""

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
"""Log-mels (a sequence) and descriptors (an array) of segments, or None, to probabilities."""


def outside_probabilities(
    catalog: str,
    features: FeatureSpec,
    predict: Predict,
    on_failure: Callable[[TrackError], None] = lambda error: None,
) -> NDArray[np.float64]:
    """Return a model's probabilities of each track of a catalog, whatever music it holds.

    Parameters
    ----------
    catalog : str
        A folder of audio, a prefix of an object store, a manifest, or one file.
    features : FeatureSpec
        What the model takes.
    predict : callable
        The model.
    on_failure : callable
        Called with the error of each track that gives no features; it is left out.

    Returns
    -------
    ndarray of float64, shape (n_tracks, n_genres)
        Of each track, as labeling finds them; see `pipeline.models.label.track_probabilities`.

    Raises
    ------
    MisuseError
        If the catalog holds no track that gives features.
    """
    rows = []
    for uri in list_catalog(catalog)["uri"].to_pylist():
        try:
            segments = track_features(uri, features).segments
        except TrackError as error:
            on_failure(error)
            continue
        silent = [segment.is_silent for segment in segments]
        rows.append(track_probabilities(predict(*_inputs(segments)), silent))
    if not rows:
        raise MisuseError(f"{catalog} holds no track that can be featurized (--outside)")
    return np.stack(rows)


def _inputs(segments: tuple[SegmentFeatures, ...]) -> tuple[Any, Any]:
    log_mels = [segment.log_mel for segment in segments if segment.log_mel is not None]
    descriptors = [segment.descriptors for segment in segments if segment.descriptors is not None]
    return log_mels or None, np.stack(descriptors) if descriptors else None
