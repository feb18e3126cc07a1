"""Values that travel between the steps: a track as listed, its facts and tags, its features."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

SILENT_WITHOUT_LOG_MEL = -1.0
"""The range of a silent segment whose log-mel was not computed; it is 0 for others without a log-mel."""


@dataclass(frozen=True, slots=True)
class TrackRef:
    """A track as the catalog lists it; ``(track_id, etag)`` is one version of its content.

    Attributes
    ----------
    track_id : str
        From the manifest where it has one, else a hash of the path below the catalog root.
    uri : str
        Where the bytes are: a local path or ``s3://bucket/key``.
    size : int
        Bytes.
    etag : str
        The store's entity tag, or size and modification time on disk.
    modified_at : float
        Seconds since the epoch, 0.0 where the store does not say.
    carried : Mapping[str, str]
        Further columns of the manifest, carried along as text.
    """

    track_id: str
    uri: str
    size: int
    etag: str
    modified_at: float = 0.0
    carried: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What the decoder says of a file.

    Attributes
    ----------
    codec : str
        Short lower-case name: ``wav``, ``flac``, ``mp3``, ``vorbis``, ``opus``, ``aac``, ``alac``, …
    duration_s : float
        Seconds that decode, as far as is known.
    sample_rate : int
        Hz.
    channels : int
        Channel count of the file (before mixing to mono).
    """

    codec: str
    duration_s: float
    sample_rate: int
    channels: int


@dataclass(frozen=True, slots=True)
class Tags:
    """The file's own tags; None where there is none. Text exactly as stored.

    ``release_date`` is the date tag as far as it is known: ``1999``, ``1999-05`` or ``1999-05-03``.
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
        Where the segment lies in the track, seconds.
    log_mel : ndarray of uint8, shape (n_mels, n_frames), or None
        dB below the segment's maximum, the range 0 … `range_db` mapped to 255 … 0; row 0 is the lowest band.
    range_db : float
        dB between level 255 and level 0; of a silent segment 0, or `SILENT_WITHOUT_LOG_MEL`.
    descriptors : ndarray of float64, shape (57,), or None
        In the order of `pipeline.audio.features.descriptors.DESCRIPTOR_NAMES`.
    """

    start_s: float
    duration_s: float
    log_mel: NDArray[np.uint8] | None
    range_db: float
    descriptors: NDArray[np.float64] | None = None

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing in it to label."""
        return is_silent_range(self.range_db, has_log_mel=self.log_mel is not None)


def is_silent_range(range_db: float, *, has_log_mel: bool) -> bool:
    """Return what `range_db` says of a segment: whether there is nothing in it to label.

    Tables without log-mels that were written before silence was looked for say 0 of all segments.
    """
    return range_db < 0 or (has_log_mel and range_db == 0)


@dataclass(frozen=True, slots=True)
class TrackFeatures:
    """What featurizing one track gives."""

    info: AudioInfo
    tags: Tags
    segments: tuple[SegmentFeatures, ...]
