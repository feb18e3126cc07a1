"""A summary of the labels of each artist."""

import numpy as np
import pyarrow as pa

from pipeline.trends.grouping import group_tracks
from pipeline.trends.labeled_tracks import LabeledTracks
from pipeline.trends.trends import compute_group_shares


def summarize_artists(labeled: LabeledTracks) -> pa.Table:
    """Return one row per artist, most tracks first.

    Columns are ``artist``, ``tracks``, ``confidence`` (mean), ``first_year``, ``last_year`` and ``shares``,
    the list of genre shares. The tracks need the columns ``artist`` and ``year``.
    """
    groups = group_tracks("artist", labeled.tracks, "")
    shares = compute_group_shares(labeled, groups)
    inside = groups.codes >= 0
    sums = np.bincount(groups.codes[inside], labeled.confidence[inside], minlength=len(groups.names))
    years = pa.table({"code": groups.codes, "year": labeled.tracks["year"]}).filter(pa.array(inside))
    years = years.group_by("code").aggregate([("year", "min"), ("year", "max")]).sort_by("code")
    n_genres = len(labeled.genres)
    return pa.table(
        {
            "artist": pa.array(groups.names, pa.string()),
            "tracks": pa.array(shares.tracks),
            "confidence": pa.array(sums / np.maximum(shares.tracks, 1)),
            "first_year": years["year_min"],
            "last_year": years["year_max"],
            "shares": pa.FixedSizeListArray.from_arrays(pa.array(shares.share.ravel()), n_genres),
        }
    )
