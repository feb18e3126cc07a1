"""Checks the versions that a manifest vouches for against those in the tables."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalogs.catalog import Listing
from pipeline.catalogs.store_facts import with_store_facts
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
    if listing.vouched is None or not pc.any(listing.vouched).as_py():
        return listing
    known = current_tracks(tables)
    vouched = listing.tracks.select(["track_id", "etag"]).filter(listing.vouched)
    changed = semi_join(anti_join(vouched, known), known, ("track_id",))
    not_found = tables.read("failures", VERSION_KEY, pc.field("error_type") == NotFoundError.__name__)
    doubtful = pa.concat_tables([changed, semi_join(vouched, not_found)])
    if not doubtful.num_rows:
        return listing
    ids = listing.tracks["track_id"].combine_chunks()
    which = pc.is_in(ids, doubtful["track_id"].combine_chunks())
    return replace(listing, tracks=with_store_facts(listing.tracks, which))
