"""Draws how the efficiency of runs depends on the size of the cluster."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.plots.figures import BLUE, GRAY, GREEN, ORANGE, new_figure, to_png
from tests.benchmarks.simulation.results import Result

_COLORS = 64
_NAMES = ("before", "now")
_LOSSES = (
    (0.0, "", "-", "o"),
    (0.05, ", 5 % of spot nodes lost an hour", "--", "s"),
    (1.0, ", each spot node lost once an hour", ":", "^"),
)

_SHADES = {0.05: GREEN, 1.0: ORANGE}


def plot(out: Path, files: Sequence[Sequence[Result]]) -> None:
    """Draw efficiency against cores: the same catalog on more cores, and one that grows with them.

    Parameters
    ----------
    out : Path
        PNG to write.
    files : sequence of sequence of Result
        Results before a change and with it, or only one of these.
    """
    figure = new_figure(3.6)
    constant, growing = figure.subplots(1, 2, sharey=True)
    for axes, is_growing, title in (
        (constant, False, "the same catalog on every cluster"),
        (growing, True, "a catalog that grows with the cluster"),
    ):
        for results, name, color in zip(
            files, _NAMES[-len(files) :], (GRAY, BLUE)[-len(files) :], strict=True
        ):
            _draw(axes, [each for each in results if _grows(each, results) == is_growing], name, color)
        axes.set(xscale="log", xlabel="cores", title=title, ylim=(0, 1))
        cores = sorted({each.cores for results in files for each in results})
        axes.set_xticks(cores, [f"{n:,}" for n in cores])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
        axes.title.set_fontsize(10)
    constant.set_ylabel("share of the CPU time\nthat is work on tracks")
    growing.legend(fontsize=8, frameon=False, loc="lower left")
    figure.tight_layout()
    picture = Image.open(io.BytesIO(to_png(figure, dpi=100))).convert("RGB")
    picture.quantize(_COLORS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(out, optimize=True)


def _grows(result: Result, results: Sequence[Result]) -> bool:
    """Return whether a result belongs to the series in which the catalog grows with the cores."""
    return len({each.cores for each in results if each.n_tracks == result.n_tracks}) == 1


def _draw(axes: Any, results: Sequence[Result], name: str, color: str) -> None:
    for losses, note, line, marker in _LOSSES:
        chosen = [each for each in results if each.losses_per_hour == losses]
        if chosen:
            chosen.sort(key=lambda each: each.cores)
            axes.plot(
                [each.cores for each in chosen],
                [each.efficiency for each in chosen],
                line,
                marker=marker,
                markersize=4,
                color=_SHADES.get(losses, color),
                label=name + note,
            )
