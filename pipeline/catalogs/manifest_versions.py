"""Checks the versions that a manifest vouches for against those in the tables."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalogs.bulk_stat import stat_listing
from pipeline.catalogs.catalog import Listing
from pipeline.tables.current import current_tracks
from pipeline.tables.tables import VERSION_KEY, Tables, anti_join, semi_join
from schemas.errors import NotFoundError


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
    known = current_tracks(tables)
    unverified = listing.tracks.select(["track_id", "etag"]).filter(listing.unverified)
    changed = semi_join(anti_join(unverified, known), known, ("track_id",))
    not_found = tables.read("failures", VERSION_KEY, pc.field("error_type") == NotFoundError.__name__)
    doubtful = pa.concat_tables([changed, semi_join(unverified, not_found)])
    if not doubtful.num_rows:
        return listing
    ids = listing.tracks["track_id"].combine_chunks()
    which = pc.is_in(ids, doubtful["track_id"].combine_chunks())
    return replace(listing, tracks=stat_listing(listing.tracks, which))
