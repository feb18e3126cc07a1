"""SVG charts that adapt to the width and colors of the page. Only lines are stretched, never text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_SIZE = 1000
"""The drawing is a square of this size that the page stretches to fit."""
_MOST_INTERVALS = 5


@dataclass(frozen=True, slots=True)
class Series:
    """A data series of a chart.

    Attributes
    ----------
    name : str
        Name in the legend.
    values : sequence of float
        One value per step.
    filled : bool
        Whether to draw an area down to zero instead of a line.
    """

    name: str
    values: Sequence[float]
    filled: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick on an axis: its position in percent of the axis, and its label."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class StepChart:
    """A chart for the macro ``step_chart`` of ``charts.html``, with its data; see `lay_out_step_chart`."""

    caption: str
    alternative: str
    series: tuple[Series, ...]
    paths: tuple[str, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def lay_out_step_chart(
    caption: str, alternative: str, series: Sequence[Series], *, step_s: float
) -> StepChart:
    """Lay out a chart of values over time that are constant within each step.

    Parameters
    ----------
    caption : str
        Caption of the chart.
    alternative : str
        Text alternative for screen readers.
    series : sequence of Series
        At least one series, all with the same number of values.
    step_s : float
        Length of a step, seconds.
    """
    n_steps = len(series[0].values)
    y_ticks = nice_ticks(max(max(one.values, default=0.0) for one in series))
    top = y_ticks[-1]
    unit_s, unit = _choose_time_unit(n_steps * step_s)
    x_ticks = [x for x in nice_ticks(n_steps * step_s / unit_s) if x * unit_s <= n_steps * step_s]
    return StepChart(
        caption=caption,
        alternative=alternative,
        series=tuple(series),
        paths=tuple(_draw_steps(one, top) for one in series),
        x_ticks=tuple(
            Tick(100 * x * unit_s / (n_steps * step_s), f"{x:g} {unit}" if x else "0") for x in x_ticks
        ),
        y_ticks=tuple(Tick(100 * y / top, _number_text(y)) for y in y_ticks),
        heads=("from", *(one.name for one in series)),
        rows=tuple(
            (f"{i * step_s / unit_s:.4g} {unit}", *(_number_text(one.values[i]) for one in series))
            for i in range(n_steps)
        ),
    )


def _number_text(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def nice_ticks(top: float, *, whole: bool = False) -> list[float]:
    """Return evenly spaced round numbers from 0 to at least `top`, with at most five intervals.

    For counts, set `whole` to get integers.
    """
    if top <= 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(top / _MOST_INTERVALS))
    steps = (power * factor for factor in (1, 2, 2.5, 5, 10, 20) if power * factor * _MOST_INTERVALS >= top)
    step = next(step for step in steps if not whole or step % 1 == 0)
    return [i * step for i in range(math.ceil(top / step - 1e-9) + 1)]


def _draw_steps(series: Series, top: float) -> str:
    """Return the commands of an SVG path; a filled one starts in the lower left corner."""
    width = _SIZE / len(series.values)
    points = [f"{_SIZE * (1 - value / top):.1f}" for value in series.values]
    steps = "".join(f"V{y}H{width * (i + 1):.1f}" for i, y in enumerate(points))
    return f"M0 {_SIZE}{steps}V{_SIZE}Z" if series.filled else f"M0 {points[0]}{steps}"


def _choose_time_unit(duration_s: float) -> tuple[float, str]:
    if duration_s < 180:
        return 1.0, "s"
    return (60.0, "min") if duration_s < 3 * 3600 else (3600.0, "h")
