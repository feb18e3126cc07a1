"""Rows of ``tracks/`` for catalog changes that need no file to be read: tracks gone, moved and returned."""

from datetime import datetime

import pyarrow as pa

from pipeline.catalogs.planning import Plan
from pipeline.tables.tables import VERSION_KEY, Tables, anti_join, keep_newest, semi_join
from schemas.tables import LISTING, TRACKS


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
    unread = semi_join(anti_join(plan.listing, plan.to_featurize), plan.changed)
    if not (unread.num_rows or plan.gone.num_rows):
        return TRACKS.empty_table()
    history = tables.read("tracks", TRACKS.names)
    gone = semi_join(keep_newest(history, "listed_at"), plan.gone)
    facts = keep_newest(semi_join(history, unread), "listed_at", key=VERSION_KEY)
    return pa.concat_tables([_restate(unread, facts, listed_at), _stamp(gone, listed_at, present=False)])


def _restate(listing: pa.Table, facts: pa.Table, listed_at: datetime) -> pa.Table:
    """Join listing rows with the facts known for the same version, null where there are none."""
    row_of = {
        version: row
        for row, version in enumerate(
            zip(facts["track_id"].to_pylist(), facts["etag"].to_pylist(), strict=True)
        )
    }
    versions = zip(listing["track_id"].to_pylist(), listing["etag"].to_pylist(), strict=True)
    matching = pa.array([row_of.get(version) for version in versions], pa.int64())
    columns = [
        listing[name] if name in LISTING.names else facts[name].take(matching) for name in TRACKS.names
    ]
    nullable = pa.schema([field.with_nullable(True) for field in TRACKS])
    return _stamp(pa.Table.from_arrays(columns, schema=nullable), listed_at, present=True)


def _stamp(rows: pa.Table, listed_at: datetime, *, present: bool) -> pa.Table:
    stamps = {"present": present, "listed_at": listed_at}
    columns = [
        pa.array([stamps[field.name]] * rows.num_rows, field.type)
        if field.name in stamps
        else rows[field.name]
        for field in TRACKS
    ]
    return pa.Table.from_arrays(columns, schema=TRACKS)
