"""Genre trends: shares of genres by group, rising and falling genres, tags against labels, as tables."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.tables.tables import Tables
from pipeline.trends import tag_agreement
from pipeline.trends.changes import Change, trim_strays, fit_changes
from pipeline.trends.grouping import Groups, columns_to_group_by, group_tracks
from pipeline.trends.labeled_tracks import LabeledTracks, read_labeled_tracks
from pipeline.trends.shares import GenreShares, compute_shares
from pipeline.trends.tag_agreement import TagAgreement

Weight = Literal["count", "confidence"]

CONFIDENCE_BINS = 20

_SHARE_COLUMNS = ("tracks", "genre", "count", "expected", "expected_sd", "share", "low", "high")

CHANGES = pa.schema(
    [
        pa.field(name, pa.float64() if kind is float else pa.string())
        for name, kind in Change.__annotations__.items()
    ]
)
"""Columns of `tabulate_changes`: the attributes of `Change`."""


@dataclass(frozen=True, slots=True)
class Trends:
    """What the labels say of groups of tracks.

    Attributes
    ----------
    labeled : LabeledTracks
        The tracks.
    groups : Groups
        How they were grouped.
    shares : GenreShares
        Of each group.
    total : GenreShares
        Of all tracks, as one group.
    changes : list of Change
        Rising and falling genres, where the groups follow one another in time.
    tags : TagAgreement
        Labels against the files' own tags.
    weight : str
        ``count``: every track counts one; ``confidence``: it counts its confidence.
    """

    labeled: LabeledTracks
    groups: Groups
    shares: GenreShares
    total: GenreShares
    changes: list[Change]
    tags: TagAgreement
    weight: Weight

    @property
    def n_ungrouped(self) -> int:
        """Tracks that say nothing of what they are grouped by."""
        return int((self.groups.codes < 0).sum())


def read_tracks_to_group(tables: Tables, model: str, *by: str) -> LabeledTracks:
    """The labeled tracks with the columns that `compute_trends` reads for these groupings."""
    columns = dict.fromkeys(
        [*tag_agreement.COLUMNS, *(name for each in by for name in columns_to_group_by(each))]
    )
    return read_labeled_tracks(tables, model, tuple(columns))


def compute_trends(
    labeled: LabeledTracks, by: str, catalog: str, *, weight: Weight = "count", top: int | None = None
) -> Trends:
    """Find the trends in labeled tracks.

    Parameters
    ----------
    labeled : LabeledTracks
        Of `read_tracks_to_group`, for this grouping.
    by : str
        See `pipeline.trends.grouping.group_tracks`.
    catalog : str
        Where the catalog is.
    weight : str
        ``count`` or ``confidence``.
    top : int, optional
        Only the groups with most tracks.

    Raises
    ------
    MisuseError
        If there is nothing to group by.
    """
    groups = group_tracks(by, labeled.tracks, catalog)
    if top is not None:
        groups = groups.largest(top)
    shares = compute_group_shares(labeled, groups, weight)
    found: list[Change] = []
    if groups.is_time and len(groups.names):
        # Kish's effective number is at most the number of tracks; without weights it is that number.
        years = groups.years()
        shown = trim_strays(shares.tracks, years)
        found = fit_changes(labeled.genres, years[shown], shares.share[shown], shares.effective[shown])
    everything = Groups("all", np.zeros(labeled.n_tracks, np.int64), ["all"])
    return Trends(
        labeled=labeled,
        groups=groups,
        shares=shares,
        total=compute_group_shares(labeled, everything, weight),
        changes=found,
        tags=tag_agreement.compare_with_tags(labeled),
        weight=weight,
    )


def compute_group_shares(labeled: LabeledTracks, groups: Groups, weight: Weight = "count") -> GenreShares:
    """The shares of genres in groups of tracks."""
    weights = labeled.confidence if weight == "confidence" else None
    return compute_shares(groups.codes, len(groups.names), labeled.probabilities, labeled.winner, weights)


def tabulate_shares(trends: Trends) -> pa.Table:
    """Shares as a table, a row for each group and genre.

    Columns are the grouping's name (``group`` where that is the name of another column, as of a manifest's
    column ``genre``), ``tracks`` (of the group), ``genre``, ``count`` (tracks with that label,
    or their weight), ``expected`` and ``expected_sd`` (tracks that are of the genre, by the probabilities),
    ``share``, ``low`` and ``high`` (0 to 1, 95 %).
    """
    groups, shares, genres = trends.groups, trends.shares, trends.labeled.genres
    names = pa.array(groups.names, pa.string())
    if groups.by == "year":
        names = names.cast(pa.int16())
    elif groups.by == "seen":
        names = names.cast(pa.date32())
    n_groups, n_genres = shares.share.shape
    row_group = pa.array(np.repeat(np.arange(n_groups), n_genres))
    columns = {
        "group" if groups.by in _SHARE_COLUMNS else groups.by: names.take(row_group),
        "tracks": pa.array(np.repeat(shares.tracks, n_genres)),
        "genre": pa.array(genres, pa.string()).take(pa.array(np.tile(np.arange(n_genres), n_groups))),
    }
    for name in _SHARE_COLUMNS[2:]:
        columns[name] = pa.array(getattr(shares, name).ravel())
    return pa.table(columns)


def tabulate_changes(found: list[Change]) -> pa.Table:
    """Rising and falling genres as a table."""
    rows = [{name: getattr(each, name) for name in CHANGES.names} for each in found]
    return pa.Table.from_pylist(rows, CHANGES)


def tabulate_tags(trends: Trends) -> pa.Table:
    """Tags against labels as a table: tag, genre, tracks; pairs that do not occur are left out."""
    tag, genre = np.nonzero(trends.tags.counts)
    return pa.table(
        {
            "tag": pa.array(trends.tags.tags, pa.string()).take(pa.array(tag)),
            "genre": pa.array(trends.labeled.genres, pa.string()).take(pa.array(genre)),
            "tracks": pa.array(trends.tags.counts[tag, genre]),
        }
    )


def confidence_histogram(labeled: LabeledTracks) -> NDArray[np.int64]:
    """Tracks by confidence, in `CONFIDENCE_BINS` bins of equal width from 0 to 1."""
    bins = (labeled.confidence * CONFIDENCE_BINS).astype(np.int64)
    return np.bincount(np.clip(bins, 0, CONFIDENCE_BINS - 1), minlength=CONFIDENCE_BINS)
