"""Rows of ``tracks/`` for catalog changes that need no file to be read: tracks gone, moved and returned."""

from datetime import datetime

import numpy as np
import pyarrow as pa

from pipeline.catalogs.planning import Plan
from pipeline.tables.gather import gather
from pipeline.tables.keys import Keys, open_keys
from pipeline.tables.tables import Tables, anti_join, semi_join
from schemas.tables import LISTING, TRACKS

_NEWEST_OF_GONE = """\
SELECT part, row
FROM tracks SEMI JOIN gone USING (track_id)
WHERE recency IN (SELECT max(recency) FROM tracks SEMI JOIN gone USING (track_id) GROUP BY track_id)
ORDER BY part, row
"""

_NEWEST_OF_UNREAD = """\
WITH known AS (
    SELECT unread.number, tracks.part, tracks.row, tracks.recency
    FROM tracks JOIN unread USING (track_id, etag)
)
SELECT number, part, row
FROM known
WHERE recency IN (SELECT max(recency) FROM known GROUP BY number)
ORDER BY part, row
"""
"""The newest row of each version, with its place among the unread tracks."""


def change_rows(plan: Plan, tables: Tables, listed_at: datetime) -> pa.Table:
    """Return rows for the changes of a listing, except for tracks to featurize, which workers record.

    Parameters
    ----------
    plan : Plan
        The run's plan.
    tables : Tables
        Source of the tags and audio facts of versions that were read before.
    listed_at : datetime
        When the catalog was listed.

    Returns
    -------
    pyarrow.Table
        Schema `TRACKS`.
    """
    changed = anti_join(plan.changed, plan.to_featurize)
    if not (changed.num_rows or plan.gone.num_rows):
        return TRACKS.empty_table()
    unread = semi_join(plan.listing, changed)
    with open_keys(tables) as keys:
        keys.load("tracks")
        restated = _restate(unread, keys)
        keys.register("gone", plan.gone)
        gone = gather(keys.stored, "tracks", keys.query(_NEWEST_OF_GONE), TRACKS.names)
    return pa.concat_tables(
        [_stamp(restated, listed_at, present=True), _stamp(gone, listed_at, present=False)]
    )


def _restate(listing: pa.Table, keys: Keys) -> pa.Table:
    """Join listing rows with the facts known for the same version, null where there are none."""
    numbers = pa.array(np.arange(listing.num_rows))
    keys.register("unread", listing.select(["track_id", "etag"]).append_column("number", numbers))
    places = keys.query(_NEWEST_OF_UNREAD)
    others = [name for name in TRACKS.names if name not in LISTING.names]
    facts = gather(keys.stored, "tracks", places, others)
    row_of = np.full(listing.num_rows, -1)
    row_of[places["number"].to_numpy()] = np.arange(places.num_rows)
    matching = pa.array(row_of, mask=row_of < 0)
    columns = [
        listing[name] if name in LISTING.names else facts[name].take(matching) for name in TRACKS.names
    ]
    nullable = pa.schema([field.with_nullable(True) for field in TRACKS])
    return pa.Table.from_arrays(columns, schema=nullable)


def _stamp(rows: pa.Table, listed_at: datetime, *, present: bool) -> pa.Table:
    stamps = {"present": present, "listed_at": listed_at}
    columns = [
        pa.repeat(pa.scalar(stamps[field.name], field.type), rows.num_rows)
        if field.name in stamps
        else rows[field.name]
        for field in TRACKS
    ]
    return pa.Table.from_arrays(columns, schema=TRACKS)
