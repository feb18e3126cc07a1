"""A catalog of tracks that were measured, resampled to any size."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.tables import LISTING
from tests.benchmarks.simulation.inputs import TrackCost

_TRACKS_PER_ALBUM = 12


def resample(measured: tuple[TrackCost, ...], n_tracks: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return which measured track each track of the catalog is like."""
    return rng.integers(len(measured), size=n_tracks)


def make_listing(measured: tuple[TrackCost, ...], kinds: NDArray[np.int64]) -> pa.Table:
    """Return the catalog as planned: schema `LISTING` and ``attempts``. The ids are the row numbers."""
    n_tracks = len(kinds)
    sizes = np.array([track.size_bytes for track in measured])[kinds]
    ids = [f"{row:020x}" for row in range(n_tracks)]
    uris = [
        f"s3://bucket/music/Artist {row // 60:06}/Album {row // _TRACKS_PER_ALBUM:06}/"
        f"{row % _TRACKS_PER_ALBUM + 1:02} Track {row:08}.mp3"
        for row in range(n_tracks)
    ]
    modified = pa.array([datetime(2026, 1, 1, tzinfo=UTC)], LISTING.field("modified_at").type)
    columns = [
        pa.array(ids),
        pa.array(uris),
        pa.array(sizes),
        pa.array([f"{row:032x}" for row in range(n_tracks)]),
        modified.take(pa.array(np.zeros(n_tracks, np.int64))),
        pa.nulls(n_tracks, LISTING.field("carried").type),
    ]
    table = pa.Table.from_arrays(columns, schema=LISTING)
    return table.append_column("attempts", pa.array(np.zeros(n_tracks, np.int32)))
