"""Genre trends: genre shares by group, rising and falling genres, and labels against tags, as tables."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.tables.tables import Tables
from pipeline.trends import tag_agreement
from pipeline.trends.grouping import Groups, columns_to_group_by, group_tracks
from pipeline.trends.labeled_tracks import LabeledTracks, read_labeled_tracks
from pipeline.trends.rising_falling import Change, fit_changes, trim_strays
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
"""Schema of `tabulate_changes`: the attributes of `Change`."""


@dataclass(frozen=True, slots=True)
class Trends:
    """Genre trends of a catalog.

    Attributes
    ----------
    labeled : LabeledTracks
        The tracks.
    groups : Groups
        The groups of tracks.
    shares : GenreShares
        Genre shares of each group.
    total : GenreShares
        Genre shares of all tracks, as a single group.
    changes : list of Change
        Rising and falling genres, if the groups are periods of time.
    tags : TagAgreement
        Labels compared with genre tags.
    weight : str
        ``count`` if every track has weight 1, ``confidence`` if tracks are weighted by confidence.
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
        """Number of tracks in no group."""
        return int((self.groups.codes < 0).sum())


def read_tracks_to_group(tables: Tables, model: str, *by: str) -> LabeledTracks:
    """Read the labeled tracks with the columns that `compute_trends` needs for these groupings."""
    columns = dict.fromkeys(
        [*tag_agreement.COLUMNS, *(name for each in by for name in columns_to_group_by(each))]
    )
    return read_labeled_tracks(tables, model, tuple(columns))


def compute_trends(
    labeled: LabeledTracks, by: str, catalog: str, *, weight: Weight = "count", top: int | None = None
) -> Trends:
    """Compute the trends of labeled tracks.

    Parameters
    ----------
    labeled : LabeledTracks
        The result of `read_tracks_to_group` for this grouping.
    by : str
        The grouping; see `pipeline.trends.grouping.group_tracks`.
    catalog : str
        Location of the catalog.
    weight : str
        ``count`` or ``confidence``.
    top : int, optional
        Keep only this many groups, those with the most tracks.

    Raises
    ------
    MisuseError
        If no track has the manifest column `by`.
    """
    groups = group_tracks(by, labeled.tracks, catalog)
    if top is not None:
        groups = groups.largest(top)
    shares = compute_group_shares(labeled, groups, weight)
    found: list[Change] = []
    if groups.is_time and len(groups.names):
        # Kish's effective sample size; without weights, the number of tracks.
        years = groups.midpoints()
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
    """Compute genre shares for groups of tracks."""
    weights = labeled.confidence if weight == "confidence" else None
    return compute_shares(groups.codes, len(groups.names), labeled.probabilities, labeled.winner, weights)


def tabulate_shares(trends: Trends) -> pa.Table:
    """Return the shares as a table with one row per group and genre.

    Columns are the name of the grouping (``group`` if another column already has that name, as with a
    manifest column ``genre``), ``tracks`` (in the group), ``genre``, ``count`` (tracks with that label, or
    their weight), ``expected`` and ``expected_sd`` (expected tracks of the genre and its standard deviation),
    ``share``, and ``low`` and ``high`` (0 to 1, its 95 % interval).
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
    """Return rising and falling genres as a table."""
    rows = [{name: getattr(each, name) for name in CHANGES.names} for each in found]
    return pa.Table.from_pylist(rows, CHANGES)


def tabulate_tags(trends: Trends) -> pa.Table:
    """Return the number of tracks by tag and label as a table; pairs that do not occur are left out."""
    tag, genre = np.nonzero(trends.tags.counts)
    return pa.table(
        {
            "tag": pa.array(trends.tags.tags, pa.string()).take(pa.array(tag)),
            "genre": pa.array(trends.labeled.genres, pa.string()).take(pa.array(genre)),
            "tracks": pa.array(trends.tags.counts[tag, genre]),
        }
    )


def count_by_confidence(labeled: LabeledTracks) -> NDArray[np.int64]:
    """Count tracks by confidence, in `CONFIDENCE_BINS` bins of equal width from 0 to 1."""
    bins = (labeled.confidence * CONFIDENCE_BINS).astype(np.int64)
    return np.bincount(np.clip(bins, 0, CONFIDENCE_BINS - 1), minlength=CONFIDENCE_BINS)
