"""Building blocks of plots: a waveform, an image over time, the axes of a log-mel."""

import textwrap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.features.mel_bands import band_edges
from pipeline.audio.features.stft import HOP_LENGTH
from pipeline.plots.figures import LEFT
from pipeline.plots.fonts import boxes_allowed, choose_fonts
from schemas.features import FeatureSpec

N_COLUMNS = 1200
"""Maximum number of columns of a curve or an image over time."""
NAME_PT = 8
"""Size of the names of rows."""
_TICK_PT = 9
"""Room for a tick and around it."""
_CHARACTER = 0.0075
"""Width of a character of the smallest text, as a fraction of the axes' width."""


def draw_waveform(
    axes: Any,
    y: NDArray[np.float32],
    sr: float,
    start_s: float,
    color: str,
    *,
    alpha: float = 1.0,
    label: str | None = None,
) -> None:
    """Draw samples over time, with the range of the samples in each column."""
    n = max(1, len(y) // N_COLUMNS)
    blocks = np.pad(y, (0, -len(y) % n), mode="edge").reshape(-1, n)
    times = start_s + np.arange(len(blocks)) * n / sr
    low, high = blocks.min(axis=1), blocks.max(axis=1)
    axes.fill_between(times, low, high, color=color, linewidth=0.4, alpha=alpha, label=label)


def draw_image(
    axes: Any,
    values: NDArray[Any],
    extent: tuple[float, float, float, float],
    limits: tuple[float, float],
    *,
    cmap: str = "magma",
    alpha: float | NDArray[np.float64] = 1.0,
) -> None:
    """Draw a matrix as an image, first row at the bottom.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        The axes to draw into.
    values : ndarray, shape (rows, columns)
        The values.
    extent : tuple of float
        Left, right, bottom and top edge in the units of the axes.
    limits : tuple of float
        The numbers that are darkest and lightest.
    cmap : str
        The colors, as matplotlib names them.
    alpha : float or ndarray of the shape of `values`
        How opaque each number is.
    """
    low, high = limits
    axes.imshow(
        values, aspect="auto", origin="lower", extent=extent, vmin=low, vmax=high, cmap=cmap, alpha=alpha,
        interpolation="nearest",
    )  # fmt: skip


def draw_scale(axes: Any, cmap: str, low: str, high: str) -> None:
    """Draw a color scale from `low` to `high` at the right end of the title line."""
    end = 0.995 - _CHARACTER * len(high)
    scale = axes.inset_axes((end - 0.1, 1.05, 0.1, 0.07))
    scale.imshow(np.linspace(0, 1, 64)[np.newaxis], aspect="auto", cmap=cmap)
    scale.set_axis_off()
    for x, side, text in ((-0.06, "right", low), (1.06, "left", high)):
        scale.text(x, 0.5, text, ha=side, va="center", fontsize=8, transform=scale.transAxes)


def set_title(axes: Any, title: str) -> None:
    """Draw the title at the left, leaving the rest of the line to `draw_scale` and `draw_legend`."""
    families = choose_fonts(title)[0]
    axes.set_title(title, loc="left", fontsize=10, y=1.0, parse_math=False, family=families)


def draw_legend(axes: Any) -> None:
    """Draw the legend in the title line, where it does not cover any curve."""
    axes.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=8, frameon=False, borderaxespad=0.1
    )


def fit_name(axes: Any, name: str, n_lines: int) -> str:
    """Break the name of a row into lines that fit left of the axes, without the end if they do not."""
    families = choose_fonts(name)[0]
    room = LEFT * axes.figure.bbox.width - _TICK_PT * axes.figure.dpi / 72
    for n_letters in range(min(len(name), 50), 1, -1):
        lines = textwrap.wrap(name, n_letters)
        if len(lines) > n_lines:
            rest = " ".join(lines[n_lines - 1 :])
            lines = [*lines[: n_lines - 1], f"{rest[: n_letters - 1]}…"]
        text = axes.text(0, 0, "\n".join(lines), fontsize=NAME_PT, parse_math=False, family=families)
        with boxes_allowed():
            width = text.get_window_extent().width
        text.remove()
        if width <= room:
            return "\n".join(lines)
    return name


def thin_columns(values: NDArray[Any]) -> NDArray[Any]:
    """Reduce the number of columns to what can be seen by taking the maximum of neighboring ones."""
    n = -(-values.shape[1] // N_COLUMNS)
    padded = np.pad(values, ((0, 0), (0, -values.shape[1] % n)), mode="edge")
    return np.asarray(padded.reshape(len(values), -1, n).max(axis=2))


def frame_times(values: NDArray[Any], sr: float, start_s: float) -> NDArray[np.float64]:
    """Return the center time of each frame of the descriptors, seconds."""
    return np.asarray(start_s + np.arange(len(values)) * HOP_LENGTH / sr)


def draw_log_mel(
    axes: Any,
    values: NDArray[Any],
    spec: FeatureSpec,
    start_s: float,
    limits: tuple[float, float],
    *,
    cmap: str = "magma",
    alpha: float | NDArray[np.float64] = 1.0,
) -> None:
    """Draw values for the frames and bands of a log-mel, with axes in seconds and Hz."""
    n_mels, n_frames = values.shape
    end_s = start_s + n_frames * spec.mel_hop / spec.sample_rate
    draw_image(axes, values, (start_s, end_s, -0.5, n_mels - 0.5), limits, cmap=cmap, alpha=alpha)
    centers = band_frequencies(spec)
    wanted = (100, 300, 1000, 3000, 8000)
    ticks = [int(np.argmin(np.abs(centers - hz))) for hz in wanted if hz < spec.sample_rate / 2]
    axes.set_yticks(ticks, [f"{hz}" for hz in wanted[: len(ticks)]])
    axes.set_ylabel("Hz")
    axes.set_xlabel("s")


def band_frequencies(spec: FeatureSpec) -> NDArray[np.float64]:
    """Return the center frequency of each mel band, Hz, shape (n_mels,)."""
    return band_edges(spec)[1:-1]
