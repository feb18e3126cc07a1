"""A summary of the labels of each artist."""

import pyarrow as pa

from pipeline.trends.labeled_tracks import LabeledTracks
from pipeline.trends.shares import exact_sum

_SUMMARY = """\
SELECT
    artist,
    count(*) AS tracks,
    {confidence} / count(*) AS confidence,
    CAST(min({year}) AS SMALLINT) AS first_year,
    CAST(max({year}) AS SMALLINT) AS last_year,
    [{shares}] AS shares
FROM (SELECT *, {artist} AS artist FROM labeled)
WHERE artist IS NOT NULL
GROUP BY artist
ORDER BY tracks DESC, artist
LIMIT $top
"""
_N_ARTISTS = "SELECT count(DISTINCT artist) AS n FROM (SELECT {artist} AS artist FROM labeled)"


def summarize_artists(labeled: LabeledTracks, top: int | None = None) -> pa.Table:
    """Return one row per artist, most tracks first; a track by several counts for each of them.

    Columns are ``artist``, ``tracks``, ``confidence`` (mean), ``first_year``, ``last_year`` and ``shares``,
    the list of genre shares. The tracks need the groupings ``artist`` and ``year``.
    """
    sql = _SUMMARY.format(
        artist=labeled.group_names("artist"),
        year=labeled.groupings["year"],
        confidence=exact_sum("confidence"),
        shares=", ".join(f"{exact_sum(f'p{genre}')} / count(*)" for genre in range(len(labeled.genres))),
    )
    return labeled.query(sql, top=top)


def count_artists(labeled: LabeledTracks) -> int:
    """Count the artists; the tracks need the grouping ``artist``."""
    return int(labeled.query(_N_ARTISTS.format(artist=labeled.group_names("artist")))["n"][0].as_py())
