"""The features of a track, for a notebook.

    from pipeline.features import describe
    describe("song.mp3")

`describe` gives the 57 descriptors as a data frame; `pipeline.featurizing.descriptors` says what each number
is, its unit and its source. `track_features` gives everything that ``earmark run`` would keep of the track.
"""

import pandas as pd

from pipeline.catalogs.track_refs import stat_track
from pipeline.featurizing.descriptors import DESCRIPTOR_NAMES, compute_descriptors
from pipeline.featurizing.featurize import featurize_track
from pipeline.featurizing.log_mel import log_mel
from pipeline.shards.fetching import open_track
from schemas.features import FeatureSpec
from schemas.tracks import TrackFeatures

__all__ = ["DESCRIPTOR_NAMES", "compute_descriptors", "describe", "log_mel", "track_features"]


def track_features(track: str, spec: FeatureSpec | None = None) -> TrackFeatures:
    """Read a track and compute its features.

    Parameters
    ----------
    track : str
        A path, or the URI of an object (``s3://bucket/song.mp3``).
    spec : FeatureSpec, optional
        What to compute; the default features if not given.

    Returns
    -------
    TrackFeatures
        Audio facts, tags, and the features of each segment.

    Raises
    ------
    TrackError
        If there is no such track, or it is no audio; see `pipeline.featurizing.featurize.featurize_track`.
    """
    with open_track(stat_track(track, track)).file as file:
        return featurize_track(file, track, spec or FeatureSpec())


def describe(track: str, spec: FeatureSpec | None = None) -> pd.DataFrame:
    """The 57 descriptors of each segment of a track.

    Parameters
    ----------
    track : str
        A path, or the URI of an object.
    spec : FeatureSpec, optional
        Says how the track is cut into segments; up to three of 30 s if not given.

    Returns
    -------
    pandas.DataFrame
        A row for each segment: ``start_s``, ``duration_s`` (seconds) and the columns `DESCRIPTOR_NAMES`.

    Raises
    ------
    TrackError
        As `track_features`.
    """
    asked = (spec or FeatureSpec()).model_copy(update={"descriptors": True, "log_mel": False})
    return pd.DataFrame(
        {"start_s": segment.start_s, "duration_s": segment.duration_s}
        | dict(zip(DESCRIPTOR_NAMES, [] if segment.descriptors is None else segment.descriptors, strict=True))
        for segment in track_features(track, asked).segments
    )
