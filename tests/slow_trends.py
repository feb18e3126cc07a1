"""Sums by group as loops over arrays, with which the queries of `pipeline.trends.shares` are compared."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def sum_arrays(
    groups: NDArray[np.int64],
    n_groups: int,
    probabilities: NDArray[np.float32],
    winner: NDArray[np.int64],
    weights: NDArray[np.float32] | None = None,
) -> pa.Table:
    """Sum probabilities by group, as `pipeline.trends.shares.sum_by_group` does; groups are in their order.

    Parameters
    ----------
    groups : ndarray of int64, shape (n_tracks,)
        Index of each track's group; tracks with a negative index are left out.
    n_groups : int
        Number of groups.
    probabilities : ndarray of float32, shape (n_tracks, n_genres)
        Probabilities.
    winner : ndarray of int64, shape (n_tracks,)
        Index of the label's genre, -1 for none.
    weights : ndarray of float32, shape (n_tracks,), optional
        Weight of each track; 1 by default.
    """
    rows = []
    weights = np.ones(len(groups), np.float32) if weights is None else weights
    order = np.argsort(groups, kind="stable")
    bounds = np.searchsorted(groups[order], np.arange(n_groups + 1))
    for group in range(n_groups):
        inside = order[bounds[group] : bounds[group + 1]]
        w, p = weights[inside].astype(np.float64), probabilities[inside].astype(np.float64)
        labeled = winner[inside] >= 0
        count = np.bincount(winner[inside][labeled], w[labeled], minlength=p.shape[1])
        rows.append(
            {
                "name": str(group),
                "tracks": len(inside),
                "weight": w.sum(),
                "squares": (w**2).sum(),
                "count": count.astype(np.float64).tolist(),
                "expected": (w @ p).tolist(),
                "variance": (w**2 @ (p * (1 - p))).tolist(),
            }
        )
    return pa.Table.from_pylist(rows)
