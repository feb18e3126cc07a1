"""Parts that plots share: a waveform, a picture over time, the axes of a log-mel."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.features.mel_bands import band_edges
from pipeline.audio.features.stft import HOP_LENGTH
from schemas.features import FeatureSpec

N_COLUMNS = 1200
"""Columns that a curve or a picture over time has at most."""
_CHARACTER = 0.0075
"""Width of a character of the smallest text, as a share of the axes' width."""


def draw_waveform(
    axes: Any, y: NDArray[np.float32], sr: int, start_s: float, color: str, **style: Any
) -> None:
    """Draw samples over time, each column as the range of its samples."""
    n = max(1, len(y) // N_COLUMNS)
    blocks = np.pad(y, (0, -len(y) % n), mode="edge").reshape(-1, n)
    times = start_s + np.arange(len(blocks)) * n / sr
    axes.fill_between(times, blocks.min(axis=1), blocks.max(axis=1), color=color, linewidth=0.4, **style)


def draw_image(
    axes: Any,
    values: NDArray[Any],
    extent: tuple[float, float, float, float],
    limits: tuple[float, float],
    **style: Any,
) -> None:
    """Draw rows of numbers as a picture, the first row below.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to.
    values : ndarray, shape (rows, columns)
        The numbers.
    extent : tuple of float
        Left, right, lower and upper edge in the units of the axes.
    limits : tuple of float
        The numbers that are darkest and lightest.
    **style
        Passed on to ``imshow``.
    """
    style = {"cmap": "magma", "interpolation": "nearest"} | style
    axes.imshow(values, aspect="auto", origin="lower", extent=extent, vmin=limits[0], vmax=limits[1], **style)


def draw_scale(axes: Any, cmap: str, low: str, high: str) -> None:
    """Draw what the colors of a picture mean into the line of its title, on the right: `low` to `high`."""
    end = 0.995 - _CHARACTER * len(high)
    scale = axes.inset_axes((end - 0.1, 1.05, 0.1, 0.07))
    scale.imshow(np.linspace(0, 1, 64)[np.newaxis], aspect="auto", cmap=cmap)
    scale.set_axis_off()
    for x, side, text in ((-0.06, "right", low), (1.06, "left", high)):
        scale.text(x, 0.5, text, ha=side, va="center", fontsize=8, transform=scale.transAxes)


def set_title(axes: Any, title: str) -> None:
    """Write the title, in a place that leaves the rest of its line to `draw_scale` and `draw_legend`."""
    axes.set_title(title, loc="left", fontsize=10, y=1.0)


def draw_legend(axes: Any) -> None:
    """Name the curves in the line of the title, where they cross no curve."""
    axes.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=8, frameon=False, borderaxespad=0.1
    )


def thinned(values: NDArray[Any]) -> NDArray[Any]:
    """The largest of neighboring columns, so that there are not many more than can be seen."""
    n = -(-values.shape[1] // N_COLUMNS)
    padded = np.pad(values, ((0, 0), (0, -values.shape[1] % n)), mode="edge")
    return np.asarray(padded.reshape(len(values), -1, n).max(axis=2))


def frame_times(values: NDArray[Any], sr: int, start_s: float) -> NDArray[np.float64]:
    """Return the middle of each frame of the descriptors, seconds."""
    return np.asarray(start_s + np.arange(len(values)) * HOP_LENGTH / sr)


def draw_log_mel(
    axes: Any,
    values: NDArray[Any],
    spec: FeatureSpec,
    start_s: float,
    limits: tuple[float, float],
    **style: Any,
) -> None:
    """Draw numbers over the frames and bands of a log-mel, with axes in seconds and Hz."""
    n_mels, n_frames = values.shape
    end_s = start_s + n_frames * spec.mel_hop / spec.sample_rate
    draw_image(axes, values, (start_s, end_s, -0.5, n_mels - 0.5), limits, **style)
    centers = band_frequencies(spec)
    wanted = (100, 300, 1000, 3000, 8000)
    ticks = [int(np.argmin(np.abs(centers - hz))) for hz in wanted if hz < spec.sample_rate / 2]
    axes.set_yticks(ticks, [f"{hz}" for hz in wanted[: len(ticks)]])
    axes.set_ylabel("Hz")
    axes.set_xlabel("s")


def band_frequencies(spec: FeatureSpec) -> NDArray[np.float64]:
    """Return the frequency that each mel band weighs most, Hz, shape (n_mels,)."""
    return band_edges(spec)[1:-1]
