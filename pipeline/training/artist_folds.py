"""Folds for cross-validation that keep artists apart where they are known."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.tags.several_values import split_values
from pipeline.training.copies import find_originals
from pipeline.training.embedded_tracks import EmbeddedTracks
from schemas.errors import MisuseError

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
    return _fewest_groups(_group_by_artist(data)[0], data.labels)


def divide(data: EmbeddedTracks, seed: int, *, max_folds: int = MAX_FOLDS) -> Folds:
    """Divide tracks into folds with the same shares of genres, and no artist and no copy in two of them.

    Parameters
    ----------
    data : EmbeddedTracks
        At least two tracks of each genre.
    seed : int
        Seed of the order.
    max_folds : int
        Number of folds if each genre has as many artists.

    Raises
    ------
    MisuseError
        If all tracks of a genre are copies of one.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    groups, one_artist = _group_by_artist(data)
    n_folds = min(max_folds, _fewest_groups(groups, data.labels))
    if n_folds < 2:
        single = next(label for label in np.unique(data.labels) if len(set(groups[data.labels == label])) < 2)
        raise MisuseError(
            f"the tracks of {data.genres[single]} are copies of one, so that none can be held out; add others"
        )
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    fold_of = np.zeros(len(data), np.intp)
    for number, (_, held_out) in enumerate(splitter.split(data.labels, data.labels, groups)):
        fold_of[held_out] = number
    names = tuple(data.genres[label] for label in one_artist)
    return Folds(fold_of, n_folds, int((data.artists == "").sum()), names, len(np.unique(data.labels)))


def _fewest_groups(groups: NDArray[np.intp], labels: NDArray[np.intp]) -> int:
    return min(len(np.unique(groups[labels == label])) for label in np.unique(labels))


def _group_by_artist(data: EmbeddedTracks) -> tuple[NDArray[np.intp], list[int]]:
    """Return the group of each track, and the genres whose only artist was divided into tracks."""
    own = len(data) + np.arange(len(data))
    artists = _join_shared([split_values(artist.casefold()) for artist in data.artists.tolist()])
    originals = find_originals(data.track_of, [vector.tobytes() for vector in data.vectors], len(data))
    alone = data.artists == ""
    groups = _join_copies(np.where(alone, own, artists), originals)
    divided = []
    for label in np.unique(data.labels).tolist():
        rows = data.labels == label
        if rows.sum() > 1 and len(np.unique(groups[rows])) == 1:
            divided.append(label)
            alone = alone | rows
    return _join_copies(np.where(alone, own, artists), originals), divided


def _join_shared(artists: list[list[str]]) -> NDArray[np.intp]:
    """Return a group for each track such that tracks with an artist in common are in the same one."""
    first: dict[str, int] = {}
    pairs = [(track, first.setdefault(name, track)) for track, names in enumerate(artists) for name in names]
    return _connect(len(artists), np.array(pairs, np.intp).reshape(-1, 2))


def _join_copies(groups: NDArray[np.intp], originals: list[int]) -> NDArray[np.intp]:
    """Join the groups that have copies of the same track."""
    return _connect(groups.max() + 1, np.column_stack([groups, groups[originals]]))[groups]


def _connect(n: int, pairs: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return for each of `n` numbers the smallest one that pairs connect it with."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, joined = connected_components(edges, directed=False)
    _, smallest = np.unique(joined, return_index=True)
    return np.asarray(smallest[joined], np.intp)
