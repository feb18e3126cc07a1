"""A summary of the labels of each artist."""

import pyarrow as pa

from pipeline.trends.labeled_tracks import LabeledTracks
from pipeline.trends.shares import compute_shares, exact_sum, sum_by_group

_SUMMARY = """\
SELECT
    {artist} AS artist,
    {confidence} / count(*) AS confidence,
    CAST(min({year}) AS SMALLINT) AS first_year,
    CAST(max({year}) AS SMALLINT) AS last_year
FROM labeled
WHERE {artist} IS NOT NULL
GROUP BY {artist}
ORDER BY count(*) DESC, {artist}
LIMIT $top
"""
_N_ARTISTS = "SELECT count(DISTINCT {artist}) AS n FROM labeled"


def summarize_artists(labeled: LabeledTracks, top: int | None = None) -> pa.Table:
    """Return one row per artist, most tracks first.

    Columns are ``artist``, ``tracks``, ``confidence`` (mean), ``first_year``, ``last_year`` and ``shares``,
    the list of genre shares. The tracks need the groupings ``artist`` and ``year``.
    """
    sums = sum_by_group(labeled, "artist", top=top)
    summary = labeled.query(
        _SUMMARY.format(
            artist=labeled.groupings["artist"],
            year=labeled.groupings["year"],
            confidence=exact_sum("CAST(confidence AS DOUBLE)"),
        ),
        top=top,
    )
    shares = compute_shares(sums, len(labeled.genres)).share
    return pa.table(
        {
            "artist": summary["artist"],
            "tracks": sums["tracks"],
            "confidence": summary["confidence"],
            "first_year": summary["first_year"],
            "last_year": summary["last_year"],
            "shares": pa.FixedSizeListArray.from_arrays(pa.array(shares.ravel()), len(labeled.genres)),
        }
    )


def count_artists(labeled: LabeledTracks) -> int:
    """Count the artists; the tracks need the grouping ``artist``."""
    return int(labeled.query(_N_ARTISTS.format(artist=labeled.groupings["artist"]))["n"][0].as_py())
