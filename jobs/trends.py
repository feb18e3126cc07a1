"""``earmark trends``: trends of genres in the current labels."""

from collections.abc import Callable
from typing import Literal

import pyarrow as pa

from jobs.console.messages import printable
from jobs.read_tables import pick_model
from pipeline.pages.trends_page import MAX_ARTISTS, render_trends_page
from pipeline.storage import storage
from pipeline.tables.kept_models import read_kept_info
from pipeline.tables.runs import last_catalog
from pipeline.tables.tables import Tables, read_again_if_replaced
from pipeline.trends.artists import count_artists, summarize_artists
from pipeline.trends.grouping import TIME_GROUPINGS
from pipeline.trends.labeled_tracks import open_labeled_tracks
from pipeline.trends.shares import Weight
from pipeline.trends.trends import (
    GroupTrends,
    Trends,
    compute_group_trends,
    compute_trends,
    tabulate_changes,
    tabulate_shares,
    tabulate_tags,
)
from schemas.errors import EarmarkError, MisuseError
from schemas.model import Measurement

Show = Literal["shares", "changes", "tags", "disagreements"]

ROWS: dict[Show, Callable[[Trends], pa.Table]] = {
    "shares": tabulate_shares,
    "changes": lambda found: tabulate_changes(found.changes),
    "tags": tabulate_tags,
    "disagreements": lambda found: found.tags.disagreements,
}
"""Tables of trends that can be printed or written."""


@read_again_if_replaced
def find_trends(tables: Tables, model: str | None, *, by: str, weight: Weight, top: int | None) -> Trends:
    """Compute the trends in the current labels of a model.

    Parameters
    ----------
    tables : Tables
        The tables.
    model : str or None
        See `jobs.read_tables.pick_model`.
    by : str
        See `pipeline.trends.grouping.read_values`.
    weight : str
        ``count`` or ``confidence``.
    top : int or None
        Only this many groups, those with the most tracks.

    Raises
    ------
    MisuseError
        If there are no labels of the model, or no track has the column `by`.
    """
    full_model = pick_model(tables, model)
    catalog = last_catalog(tables)
    with open_labeled_tracks(tables, full_model, [by], catalog) as labeled:
        return compute_trends(labeled, by, weight=weight, top=top)


def write_trends_page(
    tables: Tables, model: str | None, out: str, *, by: str, weight: Weight = "count", top: int | None = None
) -> Trends:
    """Write the trends page and return its trends; see `find_trends`."""
    full_model = pick_model(tables, model)
    catalog = last_catalog(tables)
    found, time, artists, n_artists = _find_trends_of_page(tables, full_model, catalog, by, weight, top)
    page = render_trends_page(
        found,
        time=time if time.groups.names else None,
        artists=artists,
        n_artists=n_artists,
        model=full_model,
        figures=_read_figures(tables, full_model),
        catalog=printable(catalog),
    )
    storage.write_or_explain(out, page.encode())
    return found


@read_again_if_replaced
def _find_trends_of_page(
    tables: Tables, model: str, catalog: str, by: str, weight: Weight, top: int | None
) -> tuple[Trends, GroupTrends, pa.Table, int]:
    with open_labeled_tracks(tables, model, [by, "year", "artist"], catalog) as labeled:
        found = compute_trends(labeled, by, weight=weight, top=top)
        time = found if by in TIME_GROUPINGS else compute_group_trends(labeled, "year", weight=weight)
        return found, time, summarize_artists(labeled, top=MAX_ARTISTS), count_artists(labeled)


def _read_figures(tables: Tables, model: str) -> tuple[Measurement, ...] | None:
    """Return the measurements of a model from its copy in the tables; None if there is no copy."""
    try:
        return read_kept_info(tables.model_folder(model)).figures
    except EarmarkError:
        return None


def select_rows(found: Trends, show: Show) -> pa.Table:
    """Return one of the tables of `ROWS`.

    Raises
    ------
    MisuseError
        If `show` is ``changes`` and the groups are not periods of time.
    """
    if show == "changes":
        check_over_time(found)
    return ROWS[show](found)


def check_over_time(found: Trends) -> None:
    """Check that the groups are periods of time.

    Raises
    ------
    MisuseError
        If they are not.
    """
    if not found.groups.is_time:
        raise MisuseError(f"changes need groups in time, not {found.groups.by}; group by year, month or seen")
