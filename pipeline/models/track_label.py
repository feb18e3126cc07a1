"""A track's probabilities out of those of its segments."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def track_probabilities(segments: NDArray[np.float64], silent: Sequence[bool]) -> NDArray[np.float64]:
    """Return the mean over the segments that are not silent: a network answers something for silence too.

    Parameters
    ----------
    segments : ndarray of float64, shape (n, n_genres)
        The calibrated probabilities of each segment.
    silent : sequence of bool, of length n
        Whether there is nothing to label in a segment.

    Returns
    -------
    ndarray of float64, shape (n_genres,)
        Of a track of silence alone, all are equally probable.
    """
    heard = ~np.asarray(silent, bool)
    n_genres = segments.shape[1]
    return segments[heard].mean(axis=0) if heard.any() else np.full(n_genres, 1 / n_genres)
