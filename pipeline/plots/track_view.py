"""TrackView: a track as the model hears it, with its samples, for inspecting a single track."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.decode.audio import read_segments
from pipeline.audio.features.log_mel import log_mel
from pipeline.audio.tags.tags import read_tags
from pipeline.models.prediction import Prediction
from pipeline.shards.fetching import open_track
from pipeline.shards.one_track import chosen_features, named_track
from schemas.errors import EmptyFileError, MisuseError
from schemas.features import FeatureSpec
from schemas.model import ModelInfo
from schemas.tracks import AudioInfo, Tags, is_silent_range


@dataclass(frozen=True, slots=True)
class SegmentView:
    """A segment of a track.

    Attributes
    ----------
    start_s : float
        Start in the track, seconds.
    y : ndarray of float32, shape (n,)
        Samples: mono, resampled to the feature set's rate, full scale ±1.
    log_mel : ndarray of uint8, shape (n_mels, n_frames)
        Log-mel as stored in the features table; see `pipeline.audio.features.log_mel.quantize`.
    range_db : float
        dB between level 255 and level 0.
    """

    start_s: float
    y: NDArray[np.float32]
    log_mel: NDArray[np.uint8]
    range_db: float

    @property
    def is_silent(self) -> bool:
        """Whether the segment has nothing to label, by the same rule as labeling uses."""
        return is_silent_range(self.range_db, has_log_mel=True)


@dataclass(frozen=True, slots=True)
class TrackView:
    """A track: its location, audio properties, tags and segments, and the spec of the segments."""

    uri: str
    info: AudioInfo
    tags: Tags
    segments: tuple[SegmentView, ...]
    spec: FeatureSpec

    def segment(self, number: int | None) -> SegmentView:
        """Return a segment by its index; for None, the middle one of those that are not silent.

        Raises
        ------
        MisuseError
            If the track has no such segment.
        """
        n = len(self.segments)
        if number is not None and not 0 <= number < n:
            has = f"the segments 0 to {n - 1}" if n > 1 else "only segment 0"
            raise MisuseError(f"{self.uri} has no segment {number}; it has {has}")
        if number is not None:
            return self.segments[number]
        candidates = [segment for segment in self.segments if not segment.is_silent] or self.segments
        return candidates[len(candidates) // 2]


def view_track(track: str | os.PathLike[str], spec: FeatureSpec | None = None) -> TrackView:
    """Read exactly the segments of a track that a run with the same features would featurize.

    Parameters
    ----------
    track : str or path
        A path, or the URI of an object (``s3://bucket/song.mp3``).
    spec : FeatureSpec, optional
        Determines the segments and their log-mels; by default, those of the model ``gtzan``. For
        `segment_probabilities`, pass the ``features`` of the model.

    Raises
    ------
    MisuseError
        If `track` is no path, or empty, or `spec` no features.
    TrackError
        If the track does not exist or is not audio; see `pipeline.audio.decode.audio.read_segments`.
    """
    spec = chosen_features(spec)
    opened = open_track(named_track(track))
    uri = os.fspath(track)
    with opened.file as file, opened.unchanged():
        if not opened.track.size:
            raise EmptyFileError(f"{uri} is empty (0 bytes)")
        info, excerpts = read_segments(file, uri, spec)
        tags = read_tags(file, uri)
    segments = tuple(SegmentView(start_s, y, *log_mel(y, spec)) for start_s, y in excerpts)
    return TrackView(uri, info, tags, segments, spec)


class SegmentModel(Protocol):
    """What predicts for segments: an `earmark.Model`, or its network, a `Classifier`."""

    @property
    def info(self) -> ModelInfo:
        """The metadata of the model."""

    def predict(
        self, log_mels: Sequence[NDArray[np.uint8]], descriptors: NDArray[np.float64] | None, /
    ) -> Prediction:
        """Return all predictions for segments."""


def segment_probabilities(view: TrackView, model: SegmentModel) -> NDArray[np.float64]:
    """Return the calibrated probability of each genre for each segment, shape (n_segments, n_genres).

    Parameters
    ----------
    view : TrackView
        The track.
    model : earmark.Model or Classifier
        The model.

    Raises
    ------
    MisuseError
        If the view has other features than the model reads; `view_track` takes those of the model.
    """
    return predict_segments(view, model).proba


def predict_segments(view: TrackView, model: SegmentModel) -> Prediction:
    """Return everything that the model predicts for the segments. Errors: see `segment_probabilities`."""
    if view.spec != model.info.features:  # log-mels of another spec may have the same shape
        raise MisuseError(
            f"the view of {view.uri} has other features than the model {model.info.name} reads; make it "
            "with view_track(track, model.features)"
        )
    descriptors = None
    if model.info.features.descriptors:
        from pipeline.audio.features.descriptors import compute_descriptors_of

        signals = (segment.y for segment in view.segments)
        descriptors = compute_descriptors_of(signals, sr=view.spec.sample_rate)
    return model.predict([segment.log_mel for segment in view.segments], descriptors)
