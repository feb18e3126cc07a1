"""What ``earmark trends`` prints."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from jobs.console.output import console, print_table
from jobs.trends import Show, check_over_time, select_rows
from pipeline.formatting import count_text, short_name
from pipeline.trends.trends import Trends

_PRINTED_GROUPS = 20
"""Maximum number of groups to print if they are not periods of time; ``--top`` overrides it."""
_NAME_WIDTH, _TRACKS_WIDTH, _SHARE_WIDTH = 16, 11, 5
"""Columns of a terminal for the name of a group, to which it is folded, its tracks and a share."""


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
    groups, shares, total = found.groups, found.shares, found.total
    n = len(groups.names)
    shown = range(n) if groups.is_time or top is not None else range(min(n, _PRINTED_GROUPS))
    names = [*(short_name(groups.names[i]) for i in shown), "all"]
    tracks = [*(f"{shares.tracks[i]:,}" for i in shown), f"{total.tracks[0]:,}"]
    of_genre = np.vstack([shares.share[list(shown)], total.share])
    fitting = _genres_that_fit(found, names)
    heads = [found.genres[k] for k in fitting]
    cells = of_genre[:, fitting]
    n_others = len(found.genres) - len(fitting)
    if n_others:
        heads.append("other")
        cells = np.column_stack([cells, np.delete(of_genre, fitting, axis=1).sum(axis=1)])
    rows = [
        (name, number, *(f"{100 * value:4.1f}" for value in row))
        for name, number, row in zip(names, tracks, cells, strict=True)
    ]
    of = count_text(found.n_tracks, "labeled track")
    weighted = ", weighted by confidence" if found.weight == "confidence" else ""
    title = f"expected shares of genres by {groups.unit}, in percent of {of}{weighted}"
    print_table((groups.by, "tracks", *heads), rows, title=title)
    if n_others:
        console.print(
            f"other: {count_text(n_others, 'genre')} with smaller shares; a wider terminal shows more, "
            "and --format csv all"
        )
    if len(shown) < n:
        console.print(
            f"and {n - len(shown):,} more: use --top N, or --format csv for all groups with intervals"
        )
    if groups.by == "artist" and shares.tracks.sum() > found.n_tracks - found.n_ungrouped - found.n_smaller:
        console.print("a track by several artists counts for each of them")
    if found.n_smaller:
        console.print(f"{count_text(found.n_smaller, 'track')} in other groups")
    if found.n_ungrouped:
        console.print(f"{count_text(found.n_ungrouped, 'track')} without {groups.unit}")
    if found.n_without_genre:
        unsure = count_text(found.n_without_genre, "track")
        console.print(f"{unsure} without a genre (low confidence), counted by probabilities")
    if found.n_silent:
        console.print(f"left out: {count_text(found.n_silent, 'silent track')}")
    if found.n_not_music:
        console.print(f"left out: {count_text(found.n_not_music, 'track')} (probably not music)")


def _genres_that_fit(found: Trends, names: Sequence[str]) -> list[int]:
    """Return the genres with the largest shares, as many as a terminal has room for beside the names."""
    genres = found.genres
    widths = [2 + max(len(genre), _SHARE_WIDTH) for genre in genres]
    room = console.width - min(max(map(len, (*names, found.groups.by))), _NAME_WIDTH) - _TRACKS_WIDTH
    if not console.is_terminal or sum(widths) <= room:
        return list(range(len(genres)))
    room -= 2 + len("other")
    largest = np.argsort(-found.total.share[0], kind="stable").tolist()
    n_fitting = int((np.cumsum([widths[k] for k in largest]) <= room).sum())
    return sorted(largest[: max(1, n_fitting)])


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
                f"{100 * each.change:+z.1f}",
                f"{100 * each.low:+z.1f} to {100 * each.high:+z.1f}",
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
