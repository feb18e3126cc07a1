"""TrainingSet: labeled segments in memory, with the names of their tracks and their genres."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.decode.formats import AUDIO_EXTENSIONS
from schemas.errors import MisuseError
from schemas.features import FeatureSpec
from schemas.genres import GTZAN_GENRES


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Labeled segments, with log-mels, descriptors or both.

    Attributes
    ----------
    log_mel : ndarray of uint8, shape (n, n_mels, n_frames), or None
        See `schemas.tracks.SegmentFeatures.log_mel`.
    labels : ndarray of int, shape (n,)
        Index into `genres`.
    tracks : ndarray of str, shape (n,)
        The track of each segment: its path without extension, or only its name.
    genres : tuple of str
        In the order of the outputs of the network.
    descriptors : ndarray of float64, shape (n, 57), or None
        In the order of `pipeline.audio.features.descriptors.DESCRIPTOR_NAMES`.
    features : FeatureSpec
        The settings of the features; a model trained on them reads the same features from a catalog.
    shares : ndarray of float32, shape (n, n_genres), or None
        Soft labels, if known: the probabilities of another model (Hinton et al. 2015), or the share of
        listeners for each genre. Rows sum to 1. Training uses them instead of `labels`, their maxima.
    content : ndarray of str, shape (n,), or None
        Hashes of the features that Earmark computed from audio files, before log-mels were repeated or cut to
        one length: the same file has the same ones everywhere. None if the features came otherwise.
    """

    log_mel: NDArray[np.uint8] | None
    labels: NDArray[np.intp]
    tracks: NDArray[np.str_]
    genres: tuple[str, ...]
    descriptors: NDArray[np.float64] | None = None
    features: FeatureSpec = field(default_factory=FeatureSpec)
    shares: NDArray[np.float32] | None = None
    content: NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def tracks_by_genre(self) -> dict[str, int]:
        """The number of tracks of each genre."""
        counts = Counter(
            label for label, _ in set(zip(self.labels.tolist(), self.tracks.tolist(), strict=True))
        )
        return {genre: counts[label] for label, genre in enumerate(self.genres)}

    def take(self, index: NDArray[np.intp]) -> "TrainingSet":
        """Return the segments at `index`."""
        return replace(
            self,
            log_mel=None if self.log_mel is None else self.log_mel[index],
            labels=self.labels[index],
            tracks=self.tracks[index],
            descriptors=None if self.descriptors is None else self.descriptors[index],
            shares=None if self.shares is None else self.shares[index],
            content=None if self.content is None else self.content[index],
        )

    def of_genres(self, genres: tuple[str, ...]) -> "TrainingSet":
        """Return the segments of some genres, which replace `genres`."""
        place = np.array([genres.index(name) if name in genres else -1 for name in self.genres], np.intp)
        kept = self.take(np.flatnonzero(place[self.labels] >= 0))
        shares = kept.shares
        if shares is not None:
            shares = shares[:, [self.genres.index(name) for name in genres]]
            shares = shares / shares.sum(axis=1, keepdims=True)
        return replace(kept, labels=place[kept.labels], genres=genres, shares=shares)

    def cut_pieces(self, n_pieces: int) -> "TrainingSet":
        """Cut every log-mel into `n_pieces` of equal length, for the ``segment`` protocol.

        Descriptors are left out, since they describe whole segments. A set that has only descriptors is
        returned unchanged: its segments are the pieces.

        Raises
        ------
        MisuseError
            If the segments have fewer than `n_pieces` frames.
        """
        if self.log_mel is None:
            return self
        n, n_mels, n_frames = self.log_mel.shape
        length = n_frames // n_pieces
        if not length:
            raise MisuseError(f"segments of {n_frames} frames cannot be cut into {n_pieces} pieces")
        cut = self.log_mel[:, :, : n_pieces * length].reshape(n, n_mels, n_pieces, length)
        shorter = {
            "segment_s": max(1.0, round(self.features.segment_s / n_pieces, 3)),
            "max_segments": min(100, self.features.max_segments * n_pieces),
        }
        return TrainingSet(
            np.ascontiguousarray(cut.transpose(0, 2, 1, 3)).reshape(-1, n_mels, length),
            np.repeat(self.labels, n_pieces),
            np.repeat(self.tracks, n_pieces),
            self.genres,
            features=self.features.model_copy(update=shorter),
            shares=None if self.shares is None else np.repeat(self.shares, n_pieces, axis=0),
        )


def track_name(file: str) -> str:
    """Return the name of a file without folder and audio extension.

    >>> track_name("blues/blues.00029.wav")
    'blues.00029'
    >>> track_name("blues.00029")
    'blues.00029'
    """
    return track_path(file).rpartition("/")[2]


def track_path(file: str) -> str:
    """Return the path of a file without its audio extension; other dots belong to the name.

    >>> track_path("blues/blues.00029.wav")
    'blues/blues.00029'
    >>> track_path("blues/01. Crossroads")
    'blues/01. Crossroads'
    """
    folder, slash, name = file.rpartition("/")
    stem, _, extension = name.rpartition(".")
    return folder + slash + (stem if stem and extension.lower() in AUDIO_EXTENSIONS else name)


def pick_genres(names: Iterable[str], source: str) -> tuple[str, ...]:
    """Return the genres of labeled data: GTZAN's ten in their usual order if exactly those, else sorted.

    Raises
    ------
    MisuseError
        If there is none. The message names the data as `source`.
    """
    present = set(names)
    if not present:
        raise MisuseError(f"{source} has no rows with a genre; add them")
    return GTZAN_GENRES if present == set(GTZAN_GENRES) else tuple(sorted(present))


def index_genres(names: Iterable[str], genres: Sequence[str]) -> NDArray[np.intp]:
    """Return the index of each name in `genres`."""
    index_of = {genre: index for index, genre in enumerate(genres)}
    return np.array([index_of[name] for name in names], np.intp)
