"""Checks the versions that a manifest vouches for against those in the tables."""

from dataclasses import replace

import pyarrow.compute as pc

from pipeline.catalogs.bulk_stat import stat_listing
from pipeline.catalogs.catalog import Listing
from pipeline.tables.current import define_current_tracks
from pipeline.tables.keys import open_keys
from pipeline.tables.tables import Tables
from schemas.errors import NotFoundError

_DOUBTFUL = """\
SELECT track_id
FROM unverified JOIN current_tracks AS known USING (track_id)
WHERE unverified.etag <> known.etag
UNION
SELECT track_id
FROM unverified SEMI JOIN (SELECT track_id, etag FROM failures WHERE error_type = $not_found) AS missing
    USING (track_id, etag)
"""
"""Tracks that the tables hold in another version, or that were once missing in this one."""


def confirm_versions(listing: Listing, tables: Tables) -> Listing:
    """Look up the tracks whose version in the manifest contradicts the tables, and correct the listing.

    A manifest may be older than the tables, name missing tracks, or state versions that its store does not
    have. Such a track would be read again every night, since it is never done in the manifest's version.

    Parameters
    ----------
    listing : Listing
        The catalog.
    tables : Tables
        The tables. New tracks are not looked up, nor those that the tables hold in the manifest's version.

    Returns
    -------
    Listing
        The same tracks, the doubtful ones in the version that their store has now.

    Raises
    ------
    OSError
        If the store fails.
    """
    if listing.unverified is None or not pc.any(listing.unverified).as_py():
        return listing
    unverified = listing.tracks.select(["track_id", "etag"]).filter(listing.unverified)
    with open_keys(tables) as keys:
        keys.load("failures")
        define_current_tracks(keys)
        keys.register("unverified", unverified)
        doubtful = keys.query(_DOUBTFUL, not_found=NotFoundError.__name__)
    if not doubtful.num_rows:
        return listing
    ids = listing.tracks["track_id"].combine_chunks()
    which = pc.is_in(ids, doubtful["track_id"].combine_chunks())
    return replace(listing, tracks=stat_listing(listing.tracks, which))
