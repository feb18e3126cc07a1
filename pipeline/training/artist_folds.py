"""Folds for cross-validation that keep artists apart where they are known."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.training.embedded_tracks import EmbeddedTracks

MAX_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Folds:
    """Tracks divided into folds.

    Attributes
    ----------
    fold_of : ndarray of int, shape (n_tracks,)
        The fold of each track.
    n_folds : int
        Number of folds.
    n_artists_unknown : int
        Tracks without a known artist; each counts as an artist of its own.
    one_artist : tuple of str
        Genres whose tracks are all by one artist, so that its tracks had to be divided.
    n_genres : int
        Number of genres.
    """

    fold_of: NDArray[np.intp]
    n_folds: int
    n_artists_unknown: int
    one_artist: tuple[str, ...] = ()
    n_genres: int = 0

    @property
    def protocol(self) -> str:
        """How artists were kept apart, in words."""
        n_tracks, unknown = len(self.fold_of), self.n_artists_unknown
        if unknown == n_tracks:
            return "artists unknown, so they may be on both sides"
        if self.one_artist and len(self.one_artist) == self.n_genres:
            return "each genre by a single artist, so artists are on both sides"
        words = ["artists apart"]
        if unknown:
            words.append(f"those of {unknown:,} of {n_tracks:,} tracks unknown")
        if self.one_artist:
            words.append(f"except for genres by a single artist ({', '.join(self.one_artist)})")
        return ", ".join(words)


def count_artists(data: EmbeddedTracks) -> int:
    """Return how many artists the genre with the fewest of them has."""
    groups, _ = _group_by_artist(data)
    return min(len(np.unique(groups[data.labels == label])) for label in np.unique(data.labels))


def divide(data: EmbeddedTracks, seed: int, *, max_folds: int = MAX_FOLDS) -> Folds:
    """Divide tracks into folds with the same shares of genres, and no artist in two of them.

    Parameters
    ----------
    data : EmbeddedTracks
        At least two tracks of each genre.
    seed : int
        Seed of the order.
    max_folds : int
        Number of folds if each genre has as many artists.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    groups, one_artist = _group_by_artist(data)
    n_folds = min(max_folds, count_artists(data))
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    fold_of = np.zeros(len(data), np.intp)
    for number, (_, held_out) in enumerate(splitter.split(data.labels, data.labels, groups)):
        fold_of[held_out] = number
    names = tuple(data.genres[label] for label in one_artist)
    return Folds(fold_of, n_folds, int((data.artists == "").sum()), names, len(np.unique(data.labels)))


def _group_by_artist(data: EmbeddedTracks) -> tuple[NDArray[np.intp], list[int]]:
    """Return the group of each track, and the genres whose only artist was divided into tracks."""
    _, groups = np.unique([artist.casefold() for artist in data.artists.tolist()], return_inverse=True)
    alone = data.artists == ""
    divided = []
    for label in np.unique(data.labels).tolist():
        rows = (data.labels == label) & (data.artists != "")
        if (
            rows.sum() > 1
            and rows.sum() == (data.labels == label).sum()
            and len(np.unique(groups[rows])) == 1
        ):
            divided.append(label)
            alone = alone | rows
    groups = groups.astype(np.intp)
    groups[alone] = len(data) + np.flatnonzero(alone)
    return groups, divided
