"""The page of genre trends: a single HTML file of bounded size, with charts and data embedded."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.formatting import short_name
from pipeline.pages import render
from pipeline.pages.charts import Tick, nice_ticks
from pipeline.trends.grouping import Groups
from pipeline.trends.rising_falling import trim_strays
from pipeline.trends.shares import GenreShares
from pipeline.trends.trends import CONFIDENCE_BINS, GroupTrends, Trends
from schemas.model import Measurement

SIZE = 1000
"""Charts are squares of this size that the page stretches to fit."""
_TICK_WIDTHS = {4: 0.15, 7: 0.25, 10: 0.33}
"""Width of a year, a month and a day on a phone, as a fraction of the time axis."""
MAX_ARTISTS = 5_000
MAX_PERIODS = 1_500
MAX_GROUPS = 60
MAX_TAGS = 30


@dataclass(frozen=True, slots=True)
class TimeChart:
    """Shares over time as stacked steps, on a uniform time axis with gaps where there are no tracks.

    Attributes
    ----------
    paths : list of str
        SVG path of each genre's area, the first genre at the bottom.
    counts : str
        SVG path of the number of tracks in each period, scaled to the largest.
    most : int
        The largest number of tracks in a period.
    x_ticks : list of Tick
        Ticks of the time axis.
    cells : list of int
        Position of each period on the axis.
    n_cells : int
        Number of positions on the axis.
    first : int
        Index of the first period shown.
    hidden : int
        Number of periods omitted at both ends because they hold hardly any tracks.
    """

    paths: list[str]
    counts: str
    most: int
    x_ticks: list[Tick]
    cells: list[int]
    n_cells: int
    first: int
    hidden: int


def render_trends_page(
    trends: Trends,
    *,
    time: GroupTrends | None,
    artists: pa.Table,
    n_artists: int,
    model: str,
    figures: Sequence[Measurement] | None,
    catalog: str,
) -> str:
    """Render the page.

    Parameters
    ----------
    trends : Trends
        The requested trends.
    time : GroupTrends or None
        Trends of the same tracks by time; None if no track has a date.
    artists : pyarrow.Table
        The artists with the most tracks, at most `MAX_ARTISTS`; see `pipeline.trends.artists`.
    n_artists : int
        Number of all artists.
    model : str
        The model's full name.
    figures : sequence of Measurement or None
        Measured accuracies of the model; None if its bundle is not available.
    catalog : str
        Location of the catalog.

    Returns
    -------
    str
        Self-contained HTML. Names are escaped.
    """
    genres = trends.genres
    chart = None if time is None or not time.groups.names else lay_out_time_chart(time.groups, time.shares)
    return render(
        "trends.html",
        title=f"Genres of {catalog}",
        script="trends.js",
        trends=trends,
        model=model,
        figures=figures,
        genres=genres,
        total=trends.total,
        time=time,
        chart=chart,
        periods=[] if time is None else list(range(len(time.groups.names)))[-MAX_PERIODS:],
        groups=None if trends.groups.is_time else _list_groups(trends),
        changes=[] if time is None else _list_changes(time),
        tags=_list_tags(trends),
        disagreements=_list_disagreements(trends),
        histogram=trends.confidences,
        histogram_paths=_draw_bars(trends.confidences),
        histogram_ticks=nice_ticks(float(trends.confidences.max(initial=1)), whole=True),
        n_artists=n_artists,
        max_artists=MAX_ARTISTS,
        bins=CONFIDENCE_BINS,
        data={
            "genres": list(genres),
            "time": None if time is None or chart is None else _collect_time_data(time, chart),
            "artists": _collect_artist_data(artists, len(genres)),
        },
    )


def lay_out_time_chart(groups: Groups, shares: GenreShares) -> TimeChart:
    """Lay out shares over time without the stray periods at either end; see `trim_strays`."""
    cells = np.array([_to_cell(name) for name in groups.names])
    shown = trim_strays(shares.tracks, groups.midpoints())
    cells = cells[shown] - cells[shown.start]
    n_cells = int(cells[-1]) + 1
    tops = np.cumsum(shares.share[shown], axis=1)
    bottoms = np.hstack([np.zeros((len(tops), 1)), tops[:, :-1]])
    most = int(shares.tracks[shown].max())
    return TimeChart(
        paths=[_draw_steps(cells, n_cells, bottoms[:, k], tops[:, k]) for k in range(tops.shape[1])],
        counts=_draw_steps(cells, n_cells, np.zeros(len(cells)), shares.tracks[shown] / most),
        most=most,
        x_ticks=_place_ticks(groups.names[shown], cells, n_cells),
        cells=cells.tolist(),
        n_cells=n_cells,
        first=shown.start,
        hidden=len(groups.names) - len(cells),
    )


def _to_cell(name: str) -> int:
    """Return the index of a period on a continuous scale of years, months or days."""
    if len(name) == 4:
        return int(name)
    if len(name) == 7:
        return int(name[:4]) * 12 + int(name[5:]) - 1
    return date.fromisoformat(name).toordinal()


def _draw_steps(
    cells: NDArray[np.int64], n_cells: int, low: NDArray[np.float64], high: NDArray[np.float64]
) -> str:
    """Draw one closed path per run of consecutive periods: forward along the tops, back along the bottoms."""
    width = SIZE / n_cells
    runs = np.split(np.arange(len(cells)), np.flatnonzero(np.diff(cells) > 1) + 1)
    path = []
    for run in runs:
        left = cells[run] * width
        top, bottom = SIZE * (1 - high[run]), SIZE * (1 - low[run])
        there = "".join(f"V{y:.0f}H{x + width:.1f}" for x, y in zip(left, top, strict=True))
        back = "".join(f"V{y:.0f}H{x:.1f}" for x, y in zip(left[::-1], bottom[::-1], strict=True))
        path.append(f"M{left[0]:.1f} {bottom[0]:.0f}{there}{back}Z")
    return "".join(path)


def _place_ticks(names: Sequence[str], cells: NDArray[np.int64], n_cells: int) -> list[Tick]:
    """Place a few ticks on the axis: round years if there are many, else periods that are far apart."""
    if len(names[0]) == 4 and n_cells > 12:
        first = int(names[0])
        step = next(step for step in (5, 10, 20, 25, 50, 100, 200, 500, 1000, 2000) if n_cells / step <= 6)
        years = range(-(-first // step) * step, first + n_cells, step)
        return [Tick(100 * (year - first + 0.5) / n_cells, str(year)) for year in years]
    apart = n_cells * _TICK_WIDTHS[len(names[0])]
    for n_ticks in range(5, 1, -1):
        wanted = np.linspace(0, cells[-1], n_ticks)
        picked = np.unique(np.abs(cells[:, np.newaxis] - wanted).argmin(axis=0))
        if np.diff(cells[picked]).min(initial=n_cells) >= apart:
            break
    else:
        picked = np.zeros(1, np.intp)
    return [Tick(100 * (int(cells[i]) + 0.5) / n_cells, names[i]) for i in picked.tolist()]


def _draw_bars(histogram: NDArray[np.int64]) -> list[str]:
    top = nice_ticks(float(histogram.max(initial=1)), whole=True)[-1]
    width = SIZE / len(histogram)
    return [
        f"M{i * width + 2:.1f} {SIZE}V{SIZE * (1 - n / top):.1f}H{(i + 1) * width - 2:.1f}V{SIZE}Z"
        for i, n in enumerate(histogram.tolist())
    ]


def _list_groups(trends: Trends) -> list[dict[str, Any]]:
    """Return the largest groups with their shares."""
    order = np.argsort(-trends.shares.tracks, kind="stable")[:MAX_GROUPS]
    return [
        {
            "name": short_name(trends.groups.names[i]),
            "tracks": int(trends.shares.tracks[i]),
            "shares": trends.shares.share[i].tolist(),
        }
        for i in order.tolist()
    ]


def _list_changes(time: GroupTrends) -> list[dict[str, Any]]:
    """Return the changes with their intervals as positions on a line with 0 in the middle."""
    widest = max((max(abs(each.low), abs(each.high)) for each in time.changes), default=0.0) or 1.0
    return [
        {
            "change": each,
            "color": time.genres.index(each.genre) % 20,
            "low": _place(widest, each.low),
            "middle": _place(widest, each.change),
            "high": _place(widest, each.high),
        }
        for each in time.changes
    ]


def _place(widest: float, change: float) -> float:
    return 50 + 48 * change / widest


def _list_tags(trends: Trends) -> list[dict[str, Any]]:
    """Return tags with their counts by genre: genres first, then the most frequent other tags."""
    rows: list[dict[str, Any]] = []
    genres = trends.genres
    for tag, counts in zip(trends.tags.tags, trends.tags.counts, strict=True):
        if tag not in genres and len(rows) >= MAX_TAGS:
            break
        total = int(counts.sum())
        cells = [
            {"count": int(n), "share": n / total, "contradicts": tag in genres and tag != genre}
            for n, genre in zip(counts.tolist(), genres, strict=True)
        ]
        rows.append({"tag": short_name(tag), "total": total, "cells": cells})
    return rows


def _list_disagreements(trends: Trends) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = trends.tags.disagreements.to_pylist()
    return [
        {
            key: short_name(value) if isinstance(value, str) and key != "uri" else value
            for key, value in row.items()
        }
        for row in rows
    ]


def _collect_time_data(time: GroupTrends, chart: TimeChart) -> dict[str, Any]:
    """Collect the data that the chart shows for the selected period; shares are in thousandths."""
    shown = slice(chart.first, chart.first + len(chart.cells))
    return {
        "names": time.groups.names[shown],
        "cells": chart.cells,
        "nCells": chart.n_cells,
        "tracks": time.shares.tracks[shown].tolist(),
        "share": _to_thousandths(time.shares.share[shown]),
        "low": _to_thousandths(time.shares.low[shown]),
        "high": _to_thousandths(time.shares.high[shown]),
    }


def _collect_artist_data(artists: pa.Table, n_genres: int) -> dict[str, Any]:
    """Collect the artists as columns; shares are in percent."""
    shares = np.asarray(artists["shares"].combine_chunks().flatten()).reshape(artists.num_rows, n_genres)
    return {
        "name": [short_name(name) for name in artists["artist"].to_pylist()],
        "tracks": artists["tracks"].to_pylist(),
        "confidence": np.round(100 * np.asarray(artists["confidence"])).astype(int).tolist(),
        "from": artists["first_year"].to_pylist(),
        "to": artists["last_year"].to_pylist(),
        "main": shares.argmax(axis=1).tolist(),
        "shares": np.round(100 * shares).astype(int).tolist(),
    }


def _to_thousandths(shares: NDArray[np.float64]) -> list[list[int]]:
    rounded: list[list[int]] = np.round(1000 * shares).astype(int).tolist()
    return rounded
