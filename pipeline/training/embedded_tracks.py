"""EmbeddedTracks: labeled tracks with the embeddings of their segments, and their artists."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class EmbeddedTracks:
    """Labeled tracks as vectors.

    Attributes
    ----------
    vectors : ndarray of float32, shape (n_segments, n_numbers)
        Embeddings of segments that are not silent.
    track_of : ndarray of int, shape (n_segments,)
        The track of each segment, an index into `names`.
    names : ndarray of str, shape (n_tracks,)
        Path of each track without extension.
    labels : ndarray of int, shape (n_tracks,)
        Genre of each track, an index into `genres`.
    artists : ndarray of str, shape (n_tracks,)
        Artist of each track; "" if unknown.
    genres : tuple of str
        The genres.
    """

    vectors: NDArray[np.float32]
    track_of: NDArray[np.intp]
    names: NDArray[np.str_]
    labels: NDArray[np.intp]
    artists: NDArray[np.str_]
    genres: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def take(self, tracks: NDArray[np.intp]) -> "EmbeddedTracks":
        """Return the tracks at ascending positions."""
        rows = np.flatnonzero(np.isin(self.track_of, tracks))
        return replace(
            self,
            vectors=self.vectors[rows],
            track_of=np.searchsorted(tracks, self.track_of[rows]),
            names=self.names[tracks],
            labels=self.labels[tracks],
            artists=self.artists[tracks],
        )

    def of_genres(self, genres: tuple[str, ...]) -> "EmbeddedTracks":
        """Return the tracks of some genres, which replace `genres`."""
        place = np.array([genres.index(name) if name in genres else -1 for name in self.genres], np.intp)
        kept = self.take(np.flatnonzero(place[self.labels] >= 0))
        return replace(kept, labels=place[kept.labels], genres=genres)

    @property
    def segment_labels(self) -> NDArray[np.intp]:
        """Genre of each segment."""
        return self.labels[self.track_of]

    @property
    def segment_weights(self) -> NDArray[np.float64]:
        """Weights of the segments: every genre counts the same, and so does every track of a genre."""
        of_genre = np.bincount(self.labels, minlength=len(self.genres))
        per_track = len(self) / ((of_genre > 0).sum() * of_genre[self.labels])
        return np.asarray((per_track / np.bincount(self.track_of))[self.track_of])

    @property
    def tracks_by_genre(self) -> dict[str, int]:
        """Number of tracks of each genre."""
        counts = np.bincount(self.labels, minlength=len(self.genres)).tolist()
        return dict(zip(self.genres, counts, strict=True))

    def mean_by_track(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean over each track's segments of values of shape (n_segments, k)."""
        summed = np.zeros((len(self), values.shape[1]))
        np.add.at(summed, self.track_of, values)
        return summed / np.bincount(self.track_of)[:, np.newaxis]
