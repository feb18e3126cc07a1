"""What ``earmark trends`` prints."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.console.output import console, print_table
from jobs.trends import Show, check_over_time, select_rows
from pipeline.formatting import count_text, short_name
from pipeline.trends.trends import Trends

_PRINTED_GROUPS = 20
"""Maximum number of groups to print if they are not periods of time; ``--top`` overrides it."""


def print_trends(found: Trends, *, top: int | None, show: Show | None = None) -> None:
    """Print shares by group, rising and falling genres, and agreement with tags; or one of these tables.

    Raises
    ------
    MisuseError
        See `select_rows`.
    """
    if show in {"tags", "disagreements"}:
        _print_rows(select_rows(found, show))
    elif show == "changes":
        check_over_time(found)
        _print_changes(found)
    elif show == "shares":
        _print_shares(found, top)
    else:
        _print_all(found, top)


def _print_all(found: Trends, top: int | None) -> None:
    _print_shares(found, top)
    if found.groups.is_time:
        console.print()
        _print_changes(found)
    console.print()
    _print_tags(found)


def _print_rows(rows: pa.Table) -> None:
    print_table(rows.column_names, ([_cell(*each) for each in row.items()] for row in rows.to_pylist()))


def _cell(column: str, value: object) -> object:
    if isinstance(value, float):
        return f"{value:.2f}"
    return short_name(value) if isinstance(value, str) and column != "uri" else value


def _print_shares(found: Trends, top: int | None) -> None:
    groups, shares, genres = found.groups, found.shares, found.genres
    n = len(groups.names)
    shown = range(n) if groups.is_time or top is not None else range(min(n, _PRINTED_GROUPS))
    rows = [_share_cells(groups.names[i], shares.tracks[i], shares.share[i]) for i in shown]
    rows.append(_share_cells("all", found.total.tracks[0], found.total.share[0]))
    of = count_text(found.n_tracks, "labeled track")
    title = f"expected shares of genres by {groups.unit}, in percent of {of}"
    print_table((groups.by, "tracks", *genres), rows, title=title)
    if len(shown) < n:
        console.print(
            f"and {n - len(shown):,} more: use --top N, or --format csv for all groups with intervals"
        )
    if found.n_smaller:
        console.print(f"{count_text(found.n_smaller, 'track')} in other groups")
    if found.n_ungrouped:
        console.print(f"{count_text(found.n_ungrouped, 'track')} without {groups.unit}", markup=False)
    if found.n_without_genre:
        unsure = count_text(found.n_without_genre, "track")
        console.print(f"{unsure} without a genre (low confidence), counted by probabilities")
    if found.n_silent:
        console.print(f"left out: {count_text(found.n_silent, 'silent track')}")
    if found.n_not_music:
        console.print(f"left out: {count_text(found.n_not_music, 'track')} (probably not music)")


def _share_cells(name: str, tracks: int, share: NDArray[np.float64]) -> list[str]:
    return [short_name(name), f"{tracks:,}", *(f"{100 * value:4.1f}" for value in share)]


def _print_changes(found: Trends) -> None:
    if not found.changes:
        console.print("fewer than three periods: too few to detect rising and falling genres")
        return
    print_table(
        ("genre", "trend", "from", "to", "change", "95 % interval", "q"),
        [
            (
                each.genre,
                each.direction,
                f"{100 * each.start:.1f}",
                f"{100 * each.end:.1f}",
                f"{100 * each.change:+.1f}",
                f"{100 * each.low:+.1f} to {100 * each.high:+.1f}",
                f"{each.q_value:.2g}",
            )
            for each in found.changes
        ],
        title="rising and falling genres, by a line fitted to the shares (percent)",
    )


def _print_tags(found: Trends) -> None:
    tags = found.tags
    if not tags.n_tagged:
        console.print("no labeled track has a genre tag to compare with")
        return
    if tags.n_comparable:
        console.print(
            f"{tags.n_agree:,} of {tags.n_comparable:,} labels agree with the file's genre tag "
            f"({100 * tags.n_agree / tags.n_comparable:.1f} %)"
        )
    other = tags.n_tagged - tags.n_comparable
    if other:
        console.print(f"{count_text(other, 'track')} with a genre tag that is not a genre of the model")
    if tags.disagreements.num_rows:
        print_table(
            ("tag", "label", "confidence", "track"),
            [
                (short_name(row["genre_tag"]), row["genre"], f"{row['confidence']:.2f}", row["uri"])
                for row in tags.disagreements.slice(0, 10).to_pylist()
            ],
            title="most confident disagreements",
        )
