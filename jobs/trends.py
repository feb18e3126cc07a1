"""``earmark trends``: genre trends of the current labels."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.console.messages import printable
from jobs.console.output import console, print_table
from jobs.status import pick_model
from pipeline.models.bundle import ModelBundle
from pipeline.pages.trends_page import render_trends_page
from pipeline.storage import storage
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables
from pipeline.trends.grouping import TIME_GROUPINGS
from pipeline.trends.trends import (
    Trends,
    Weight,
    compute_trends,
    read_tracks_to_group,
    tabulate_changes,
    tabulate_shares,
    tabulate_tags,
)
from schemas.errors import EarmarkError, MisuseError
from schemas.model import Measurement

Show = Literal["shares", "changes", "tags", "disagreements"]

PRINTED_GROUPS = 20
"""Groups that are printed where they do not follow one another in time, unless ``--top`` says otherwise."""

ROWS: dict[Show, Callable[[Trends], pa.Table]] = {
    "shares": tabulate_shares,
    "changes": lambda found: tabulate_changes(found.changes),
    "tags": tabulate_tags,
    "disagreements": lambda found: found.tags.disagreements,
}
"""The tables of trends that can be printed or written."""


def find_trends(
    tables: Tables, model: str | None, *, by: str, weight: Weight = "count", top: int | None = None
) -> Trends:
    """The trends in the current labels of a model.

    Parameters
    ----------
    tables : Tables
        The tables.
    model : str or None
        See `jobs.status.pick_model`.
    by : str
        See `pipeline.trends.grouping.group_tracks`.
    weight : str
        ``count`` or ``confidence``.
    top : int, optional
        Only the groups with most tracks.

    Raises
    ------
    MisuseError
        If there are no labels of the model, or no track has what is grouped by.
    """
    labeled = read_tracks_to_group(tables, pick_model(tables, model), by)
    return compute_trends(labeled, by, read_reports(tables, last=1)[0].catalog, weight=weight, top=top)


def write_trends_page(
    tables: Tables, model: str | None, out: str, *, by: str, weight: Weight = "count", top: int | None = None
) -> Trends:
    """Write the page of trends; see `find_trends`."""
    full_model = pick_model(tables, model)
    catalog = read_reports(tables, last=1)[0].catalog
    labeled = read_tracks_to_group(tables, full_model, by, "year", "artist")
    found = compute_trends(labeled, by, catalog, weight=weight, top=top)
    time = found if by in TIME_GROUPINGS else compute_trends(labeled, "year", catalog, weight=weight)
    page = render_trends_page(
        found,
        time=time if time.groups.names else None,
        model=full_model,
        figures=_figures(tables, full_model),
        catalog=printable(catalog),
    )
    with storage.explain_errors(out, "write"):
        storage.write_bytes(out, page.encode())
    return found


def _figures(tables: Tables, model: str) -> tuple[Measurement, ...] | None:
    """What was measured of a model, from the copy that the run left with the tables; None without one."""
    try:
        return ModelBundle.load(storage.join(tables.root, "_models", model)).info.figures
    except EarmarkError:
        return None


def print_trends(found: Trends, *, top: int | None, show: Show | None = None) -> None:
    """Print shares by group, rising and falling genres, and how labels and tags agree; or one table of them.

    Raises
    ------
    MisuseError
        See `rows_to_write`.
    """
    if show in {"tags", "disagreements"}:
        _print_rows(rows_to_write(found, show))
    elif show == "changes":
        _check_over_time(found)
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
    print_table(
        rows.column_names,
        (
            [f"{cell:.2f}" if isinstance(cell, float) else cell for cell in row.values()]
            for row in rows.to_pylist()
        ),
    )


def _print_shares(found: Trends, top: int | None) -> None:
    groups, shares, genres = found.groups, found.shares, found.labeled.genres
    n = len(groups.names)
    shown = range(n) if groups.is_time or top is not None else range(min(n, PRINTED_GROUPS))
    rows = [_share_cells(groups.names[i], shares.tracks[i], shares.share[i]) for i in shown]
    rows.append(_share_cells("all", found.total.tracks[0], found.total.share[0]))
    of = _tracks(found.labeled.n_tracks, "labeled ")
    title = f"expected shares of genres by {groups.unit}, per cent of {of}"
    print_table((groups.by, "tracks", *genres), rows, title=title)
    if len(shown) < n:
        console.print(f"and {n - len(shown):,} more: --top N, or --format csv for all with their intervals")
    if found.n_ungrouped:
        elsewhere = "in other groups, or without" if top else "without"
        console.print(f"{_tracks(found.n_ungrouped)} {elsewhere} {groups.unit}", markup=False)
    if found.labeled.n_without_genre:
        unsure = _tracks(found.labeled.n_without_genre)
        console.print(f"{unsure} without a genre, silent or for want of confidence, counted by probabilities")


def _tracks(n: int, kind: str = "") -> str:
    return f"{n:,} {kind}{'track' if n == 1 else 'tracks'}"


def _share_cells(name: str, tracks: int, share: NDArray[np.float64]) -> list[str]:
    return [name, f"{tracks:,}", *(f"{100 * value:4.1f}" for value in share)]


def _print_changes(found: Trends) -> None:
    if not found.changes:
        console.print("fewer than three periods: too few to tell what rises and falls")
        return
    print_table(
        ("genre", "verdict", "from", "to", "change", "95 %", "q"),
        [
            (
                each.genre,
                "not clear" if each.direction == "unclear" else each.direction,
                f"{100 * each.start:.1f}",
                f"{100 * each.end:.1f}",
                f"{100 * each.change:+.1f}",
                f"{100 * each.low:+.1f} to {100 * each.high:+.1f}",
                f"{each.q_value:.2g}",
            )
            for each in found.changes
        ],
        title="rising and falling, on a line through the shares (per cent)",
    )


def _print_tags(found: Trends) -> None:
    tags = found.tags
    if not tags.n_tagged:
        console.print("no track with a genre has a genre tag to compare it with")
        return
    if tags.n_comparable:
        console.print(
            f"{tags.n_agree:,} of {tags.n_comparable:,} labels agree with the file's genre tag "
            f"({100 * tags.n_agree / tags.n_comparable:.1f} %)"
        )
    other = tags.n_tagged - tags.n_comparable
    if other:
        console.print(f"{_tracks(other)} with a genre tag that is none of the model's genres")
    if tags.disagreements.num_rows:
        print_table(
            ("tag", "label", "confidence", "track"),
            [
                (row["genre_tag"], row["genre"], f"{row['confidence']:.2f}", row["uri"])
                for row in tags.disagreements.slice(0, 10).to_pylist()
            ],
            title="the most confident disagreements",
        )


def rows_to_write(found: Trends, show: Show) -> pa.Table:
    """One of the tables of `ROWS`.

    Raises
    ------
    MisuseError
        If changes are asked for of groups that do not follow one another in time.
    """
    if show == "changes":
        _check_over_time(found)
    return ROWS[show](found)


def _check_over_time(found: Trends) -> None:
    if not found.groups.is_time:
        raise MisuseError(
            f"genres rise and fall over time, not by {found.groups.by}; use --by year, month or seen"
        )
