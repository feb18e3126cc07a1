"""The features of a track, for a notebook.

    import earmark
    earmark.describe("song.mp3")

`describe` returns the 57 descriptors as a data frame; `pipeline.audio.features.descriptors` documents each
with its unit and source. `track_features` returns everything that ``earmark run`` would store of the track,
with the same features.
"""

import os

import pandas as pd

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.audio.features.featurize import featurize_track
from pipeline.catalogs.catalog import canonical
from pipeline.catalogs.track_refs import stat_track
from pipeline.shards.fetching import open_track
from pipeline.storage import storage
from pipeline.storage.path_argument import path_argument
from schemas.errors import MisuseError
from schemas.features import FeatureSpec
from schemas.tracks import TrackFeatures, TrackRef


def track_features(track: str | os.PathLike[str], spec: FeatureSpec | None = None) -> TrackFeatures:
    """Read a track and compute its features.

    Parameters
    ----------
    track : str or path
        A path, or the URI of an object (``s3://bucket/song.mp3``).
    spec : FeatureSpec, optional
        What to compute; by default, log-mels as the model ``gtzan`` reads them: up to three segments of 30 s
        at 22,050 Hz. ``load_model().features`` has those of the default model.

    Returns
    -------
    TrackFeatures
        Audio facts, tags, and the features of each segment.

    Raises
    ------
    TrackError
        If the track does not exist or is not audio; see `pipeline.audio.features.featurize.featurize_track`.
    MisuseError
        If `track` is no path, or `spec` no features.

    Examples
    --------
    >>> import earmark
    >>> track = earmark.track_features("song.wav")
    >>> track.info.codec, track.info.duration_s
    ('wav', 65.0)
    >>> [(segment.start_s, segment.log_mel.shape) for segment in track.segments]
    [(1.2, (128, 388)), (33.7, (128, 388))]
    """
    opened = open_track(named_track(track))
    with opened.file as file, opened.unchanged():
        return featurize_track(file, opened.track.uri, chosen_features(spec))


def chosen_features(spec: FeatureSpec | None) -> FeatureSpec:
    """Return the features that a caller has chosen, or the default ones.

    Raises
    ------
    MisuseError
        If it is something else, such as a model.
    """
    if spec is not None and not isinstance(spec, FeatureSpec):
        raise MisuseError(f"spec is a FeatureSpec, such as the features of a model, not {spec!r}")
    return spec or FeatureSpec()


def named_track(track: str | os.PathLike[str]) -> TrackRef:
    """Look up a track in its store. If it is missing or unreadable, `open_track` raises the reason.

    Raises
    ------
    MisuseError
        If it is no path, or empty.
    EarmarkError
        If the store does not answer.
    """
    uri = canonical(path_argument(track, "a track"))
    with storage.explain_errors(uri, "look at"):
        return stat_track(uri, uri)


def describe(track: str | os.PathLike[str], spec: FeatureSpec | None = None) -> pd.DataFrame:
    """Compute the 57 descriptors of each segment of a track.

    Parameters
    ----------
    track : str or path
        A path, or the URI of an object.
    spec : FeatureSpec, optional
        How the track is cut into segments; by default, up to three of 30 s. Of the features of an ensemble,
        the first.

    Returns
    -------
    pandas.DataFrame
        A row for each segment: ``start_s``, ``duration_s`` (seconds) and the columns `DESCRIPTOR_NAMES`.

    Raises
    ------
    TrackError, MisuseError
        As `track_features`.

    Examples
    --------
    >>> import earmark
    >>> earmark.describe("song.wav")[["start_s", "tempo"]].round(2)
       start_s   tempo
    0      1.2  117.45
    1     33.7  117.45
    """
    first = chosen_features(spec).specs[0]
    asked = first.model_copy(update={"descriptors": True, "log_mel": False})
    return pd.DataFrame(
        {"start_s": segment.start_s, "duration_s": segment.duration_s}
        | dict(zip(DESCRIPTOR_NAMES, [] if segment.descriptors is None else segment.descriptors, strict=True))
        for segment in track_features(track, asked).segments
    )
