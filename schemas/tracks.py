"""Values passed between the stages: a listed track, its audio properties and tags, its features."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

SILENT_WITHOUT_LOG_MEL = -1.0
"""``range_db`` of a silent segment without a log-mel. A segment with sound but without a log-mel has 0."""


@dataclass(frozen=True, slots=True)
class TrackRef:
    """A track as listed in the catalog; ``(track_id, etag)`` identifies one version of its content.

    Attributes
    ----------
    track_id : str
        The manifest's id, or else a hash of the path below the catalog root.
    uri : str
        Location of the file: a local path or ``s3://bucket/key``.
    size : int
        Size in bytes.
    etag : str
        The store's entity tag; on disk, size and modification time.
    modified_at : float
        Seconds since the epoch; 0.0 if the store does not say.
    carried : Mapping[str, str]
        Other columns of the manifest, as text.
    """

    track_id: str
    uri: str
    size: int
    etag: str
    modified_at: float = 0.0
    carried: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """Audio properties of a file, as the decoder reports them.

    Attributes
    ----------
    codec : str
        Short lowercase name: ``wav``, ``flac``, ``mp3``, ``vorbis``, ``opus``, ``aac``, ``alac``, …
    duration_s : float
        Decodable duration in seconds, as far as it is known.
    sample_rate : int
        Sample rate in Hz.
    channels : int
        Number of channels in the file, before mixing to mono.
    """

    codec: str
    duration_s: float
    sample_rate: int
    channels: int


@dataclass(frozen=True, slots=True)
class Tags:
    """The file's tags; None where a tag is absent. Text is kept exactly as stored.

    ``release_date`` is the date tag, as precise as it is: ``1999``, ``1999-05`` or ``1999-05-03``.
    """

    artist: str | None = None
    album: str | None = None
    title: str | None = None
    year: int | None = None
    release_date: str | None = None
    genre_tag: str | None = None


@dataclass(frozen=True, slots=True)
class SegmentFeatures:
    """The features of one segment of a track.

    Attributes
    ----------
    start_s, duration_s : float
        Start and duration of the segment in the track, seconds.
    log_mel : ndarray of uint8, shape (n_mels, n_frames), or None
        dB below the segment's maximum, with 0 … `range_db` mapped to 255 … 0; row 0 is the lowest band.
    range_db : float
        dB between level 255 and level 0. For a silent segment 0, or `SILENT_WITHOUT_LOG_MEL`.
    descriptors : ndarray of float64, shape (57,), or None
        In the order of `pipeline.audio.features.descriptors.DESCRIPTOR_NAMES`.
    spec : int
        Which of `FeatureSpec.specs` it was cut and featurized by.
    """

    start_s: float
    duration_s: float
    log_mel: NDArray[np.uint8] | None
    range_db: float
    descriptors: NDArray[np.float64] | None = None
    spec: int = 0

    @property
    def is_silent(self) -> bool:
        """Whether the segment has nothing to label."""
        return is_silent_range(self.range_db, has_log_mel=self.log_mel is not None)


def is_silent_range(range_db: float, *, has_log_mel: bool) -> bool:
    """Return whether `range_db` marks a segment as silent, that is, with nothing to label.

    Without a log-mel, 0 does not mean silence: tables written before silence was detected have 0 for every
    segment.
    """
    return range_db < 0 or (has_log_mel and range_db == 0)


@dataclass(frozen=True, slots=True)
class TrackFeatures:
    """The result of featurizing one track."""

    info: AudioInfo
    tags: Tags
    segments: tuple[SegmentFeatures, ...]
