"""The tracks of a plan, cut into shards so that all workers end at about the same time."""

from collections.abc import Sequence

import pyarrow as pa

_MIN_SHARD_TRACKS = 8
"""Tracks of a shard, if there are enough: each shard writes some objects, which every later run lists."""
_LAST_SHARDS_TRACKS = 32
"""Tracks of the last shards, if the others have more: workers then end at about the same time."""
_LEFT_SHARE = 2
"""A shard holds at most the tracks that are left, times this and divided by the shards to cut at least."""


def cut_shards(tracks: pa.Table, *, max_tracks: int, max_bytes: int, at_least: int) -> list[pa.Table]:
    """Cut tracks into shards of consecutive rows.

    Parameters
    ----------
    tracks : pyarrow.Table
        With a column ``size``.
    max_tracks, max_bytes : int
        A shard is full when it reaches either.
    at_least : int
        Cut into about this many shards if there are enough tracks, so that all workers are busy; the last
        shards are smaller, so that none is left with a long one.
    """
    sizes = tracks["size"].to_pylist()
    bounds = shard_bounds(sizes, max_tracks=max_tracks, max_bytes=max_bytes, at_least=at_least)
    return [copy_rows(tracks, start, stop) for start, stop in bounds]


def shard_bounds(
    sizes: Sequence[int], *, max_tracks: int, max_bytes: int, at_least: int
) -> list[tuple[int, int]]:
    """Return the first row of each shard, and the one after its last, for tracks of these sizes.

    The other parameters are those of `cut_shards`.
    """
    even_tracks = max(_MIN_SHARD_TRACKS, -(-len(sizes) // max(1, at_least)))
    max_tracks = min(max_tracks, even_tracks)
    bounds: list[tuple[int, int]] = []
    start, total, limit = 0, 0, max_tracks
    for index, size in enumerate(sizes):
        total += size
        if index + 1 - start >= limit or total >= max_bytes:
            bounds.append((start, index + 1))
            start, total = index + 1, 0
            left_share = _LEFT_SHARE * (len(sizes) - start) // max(1, at_least)
            limit = min(max_tracks, max(_LAST_SHARDS_TRACKS, left_share))
    if start < len(sizes):
        bounds.append((start, len(sizes)))
    return bounds


def copy_rows(tracks: pa.Table, start: int, stop: int) -> pa.Table:
    """Copy rows `start` to `stop`: Ray serializes a slice together with the whole table it belongs to."""
    # Of the slice: a table's `take` first joins all of its chunks, for each shard again.
    return tracks.slice(start, stop - start).take(pa.array(range(stop - start), pa.int64()))
