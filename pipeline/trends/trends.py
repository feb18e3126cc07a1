"""Genre trends: genre shares by group, rising and falling genres, and labels against tags, as tables."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.trends import tag_agreement
from pipeline.trends.grouping import COLUMNS, TIME_GROUPINGS, Groups
from pipeline.trends.labeled_tracks import LabeledTracks
from pipeline.trends.rising_falling import Change, fit_changes, trim_strays
from pipeline.trends.shares import GenreShares, Weight, compute_shares, exact_sum, sum_by_group
from pipeline.trends.tag_agreement import TagAgreement
from schemas.errors import MisuseError

CONFIDENCE_BINS = 20

_SHARE_COLUMNS = ("tracks", "genre", "count", "expected", "expected_sd", "share", "low", "high")

CHANGES = pa.schema(
    [
        pa.field(name, pa.float64() if kind is float else pa.string())
        for name, kind in Change.__annotations__.items()
    ]
)
"""Schema of `tabulate_changes`: the attributes of `Change`."""

_TOTALS = """\
SELECT count(*) - count(genre) AS without_genre, {confidence} AS confidence FROM labeled
"""
_OTHERS = """\
WITH named AS (SELECT track_part, track_row, {name} AS name FROM labeled),
grouped AS (SELECT DISTINCT track_part, track_row FROM named WHERE name IS NOT NULL),
shown AS (SELECT DISTINCT track_part, track_row FROM named SEMI JOIN shown_names USING (name))
SELECT (SELECT count(*) FROM grouped) - (SELECT count(*) FROM shown) AS n
"""
_HISTOGRAM = """\
SELECT CAST(greatest(0, least(floor(confidence * $bins), $bins - 1)) AS INTEGER) AS bin, count(*) AS tracks
FROM labeled
GROUP BY bin
"""


@dataclass(frozen=True, slots=True)
class GroupTrends:
    """Genre shares by group, and how they change.

    Attributes
    ----------
    genres : tuple of str
        The model's genres.
    groups : Groups
        The groups of tracks.
    shares : GenreShares
        Genre shares of each group.
    changes : list of Change
        Rising and falling genres over all periods of time, if the groups are such.
    n_ungrouped : int
        Number of tracks in no group.
    n_smaller : int
        Number of tracks only in groups that are left out, because others have more tracks.
    """

    genres: tuple[str, ...]
    groups: Groups
    shares: GenreShares
    changes: list[Change]
    n_ungrouped: int
    n_smaller: int


@dataclass(frozen=True, slots=True)
class Trends(GroupTrends):
    """Genre trends of a catalog.

    Attributes
    ----------
    n_tracks : int
        Number of labeled tracks that are music.
    n_without_genre : int
        Number of those without a genre, because the run abstained.
    n_silent, n_not_music : int
        Number of labeled tracks that are left out, because they are silent or probably not music.
    mean_confidence : float or None
        Mean confidence of the labels; None if there are none.
    confidences : ndarray of int64, shape (`CONFIDENCE_BINS`,)
        Number of tracks by confidence, in bins of equal width from 0 to 1.
    total : GenreShares
        Genre shares of all tracks, as a single group.
    tags : TagAgreement
        Labels compared with genre tags.
    weight : str
        ``count`` if every track has weight 1, ``confidence`` if tracks are weighted by confidence.
    """

    n_tracks: int
    n_without_genre: int
    n_silent: int
    n_not_music: int
    mean_confidence: float | None
    confidences: NDArray[np.int64]
    total: GenreShares
    tags: TagAgreement
    weight: Weight


def compute_trends(
    labeled: LabeledTracks, by: str, *, weight: Weight = "count", top: int | None = None
) -> Trends:
    """Compute the trends of labeled tracks.

    Parameters
    ----------
    labeled : LabeledTracks
        The tracks.
    by : str
        One of their groupings.
    weight : str
        ``count`` or ``confidence``.
    top : int, optional
        Keep only this many groups, those with the most tracks.

    Raises
    ------
    MisuseError
        If no track has the manifest column `by`.
    """
    groups = compute_group_trends(labeled, by, weight=weight, top=top)
    totals = labeled.query(_TOTALS.format(confidence=exact_sum("confidence"))).to_pylist()[0]
    n_tracks = labeled.n_tracks
    return Trends(
        genres=labeled.genres,
        groups=groups.groups,
        shares=groups.shares,
        changes=groups.changes,
        n_ungrouped=groups.n_ungrouped,
        n_smaller=groups.n_smaller,
        n_tracks=n_tracks,
        n_without_genre=totals["without_genre"],
        n_silent=labeled.n_silent,
        n_not_music=labeled.n_not_music,
        mean_confidence=totals["confidence"] / n_tracks if n_tracks else None,
        confidences=_count_by_confidence(labeled),
        total=compute_shares(sum_by_group(labeled, None, weight), len(labeled.genres)),
        tags=tag_agreement.compare_with_tags(labeled),
        weight=weight,
    )


def compute_group_trends(
    labeled: LabeledTracks, by: str, *, weight: Weight, top: int | None = None
) -> GroupTrends:
    """Compute genre shares by group; parameters and errors are those of `compute_trends`."""
    is_time = by in TIME_GROUPINGS
    sums = sum_by_group(labeled, by, weight, None if is_time else top)
    if not sums.num_rows and by not in COLUMNS:
        raise MisuseError(f"no track has a column '{by}'; {_describe_groupings(labeled)}")
    changes: list[Change] = []
    if is_time:
        changes = _fit_changes(labeled, by, sums.sort_by("name"))
        sums = sums.slice(0, top).sort_by("name")
    groups = Groups(by, sums["name"].to_pylist())
    shares = compute_shares(sums, len(labeled.genres))
    n_ungrouped = labeled.keys.count(f"FROM labeled WHERE {labeled.groupings[by]} IS NULL")
    n_smaller = 0 if top is None else _count_others(labeled, by, groups)
    return GroupTrends(labeled.genres, groups, shares, changes, n_ungrouped, n_smaller)


def _count_others(labeled: LabeledTracks, by: str, groups: Groups) -> int:
    """Count the tracks in groups, but in none of these."""
    labeled.keys.register("shown_names", pa.table({"name": pa.array(groups.names, pa.string())}))
    found = labeled.query(_OTHERS.format(name=labeled.group_names(by)))
    return int(found["n"][0].as_py())


def _fit_changes(labeled: LabeledTracks, by: str, sums: pa.Table) -> list[Change]:
    """Fit rising and falling genres to all periods of time, sorted, whether or not they are kept."""
    if not sums.num_rows:
        return []
    shares = compute_shares(sums, len(labeled.genres))
    years = Groups(by, sums["name"].to_pylist()).midpoints()
    shown = trim_strays(shares.tracks, years)
    # Kish's effective sample size; without weights, the number of tracks.
    return fit_changes(labeled.genres, years[shown], shares.share[shown], shares.effective[shown])


def _describe_groupings(labeled: LabeledTracks) -> str:
    names = ", ".join(sorted(labeled.manifest_columns))
    manifest = f"columns of the manifest: {names}" if names else "no manifest columns"
    return f"tracks can be grouped by {', '.join(COLUMNS)} ({manifest})"


def _count_by_confidence(labeled: LabeledTracks) -> NDArray[np.int64]:
    rows = labeled.query(_HISTOGRAM, bins=CONFIDENCE_BINS)
    counts = np.zeros(CONFIDENCE_BINS, np.int64)
    counts[np.asarray(rows["bin"])] = np.asarray(rows["tracks"])
    return counts


def tabulate_shares(trends: Trends) -> pa.Table:
    """Return the shares as a table with one row per group and genre.

    Columns are the name of the grouping (``group`` if another column already has that name, as with a
    manifest column ``genre``), ``tracks`` (in the group), ``genre``, ``count`` (tracks with that label, or
    their weight), ``expected`` and ``expected_sd`` (expected tracks of the genre and its standard deviation),
    ``share``, and ``low`` and ``high`` (0 to 1, its 95 % interval).
    """
    groups, shares, genres = trends.groups, trends.shares, trends.genres
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
            "genre": pa.array(trends.genres, pa.string()).take(pa.array(genre)),
            "tracks": pa.array(trends.tags.counts[tag, genre]),
        }
    )
