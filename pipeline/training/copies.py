"""Tracks that are copies of one file: they have the same features, or the same embeddings."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray


def find_originals(track_of: NDArray[np.intp], segments: Sequence[Hashable], n_tracks: int) -> list[int]:
    """Return for each track the first track with the same segments in the same order: itself, if no other.

    Parameters
    ----------
    track_of : ndarray of int, shape (n_segments,)
        The track of each segment.
    segments : sequence of hashable
        Something of each segment that only equal segments have in common.
    n_tracks : int
        Number of tracks.
    """
    of_track: list[list[Hashable]] = [[] for _ in range(n_tracks)]
    for track, segment in zip(track_of.tolist(), segments, strict=True):
        of_track[track].append(segment)
    first: dict[tuple[Hashable, ...], int] = {}
    return [first.setdefault(tuple(each), track) for track, each in enumerate(of_track)]
