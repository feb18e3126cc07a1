"""Figures as pictures: PNG, and SVG that follows the light or dark of the page around it."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure, FigureBase

WIDTH_IN = 9.0
LEFT, RIGHT = 0.085, 0.985
"""Where the axes of every figure begin and end, as shares of its width: times line up."""

BLUE, ORANGE, GREEN, GRAY = "#3d84d6", "#d9702b", "#2f9e5b", "#8a949e"
"""Readable on a light and on a dark ground."""

_LABELS = -0.075
"""Where the labels of vertical axes stand, as a share of the axes' width."""

_INK = "#010203"
_SVG_STYLE = (
    "<style>:root{--ink:#1c2127}@media (prefers-color-scheme:dark){:root{--ink:#e7ebef}}"
    "text{font-family:system-ui,'DejaVu Sans',sans-serif}</style>"
)
_RASTER_DPI = 100


def new_figure(height_in: float) -> "Figure":
    """A figure of the common width, inches, whose axes line up with those of the others.

    It is no pyplot figure: nothing has to be closed, and it can be drawn in any thread.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH_IN, height_in))


def to_png(figure: "Figure", *, dpi: int = 110) -> bytes:
    """The figure as PNG, on white."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white")
    return buffer.getvalue()


def to_svg(figure: "Figure") -> bytes:
    """The figure as SVG without a ground; its text and axes are dark on light pages and light on dark ones.

    Pictures in it (spectrograms) are pixels. The same figure gives the same bytes.
    """
    import matplotlib as mpl

    _set_ink(figure)
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "earmark"}):
        figure.savefig(
            buffer, format="svg", transparent=True, dpi=_RASTER_DPI, metadata={"Date": None, "Creator": None}
        )
    svg = buffer.getvalue().decode().replace(_INK, "var(--ink)")
    return svg.replace("<defs>", f"{_SVG_STYLE}<defs>", 1).encode()


def place_axes(
    figure: "FigureBase", *, n_rows: int = 1, top_in: float = 0.35, below_in: float = 0.45
) -> None:
    """Leave room for the labels around the axes of a figure, in inches."""
    from matplotlib.axes import Axes

    height = figure.get_window_extent().height / figure.get_figure(root=True).dpi
    gap = 0.5 if n_rows > 1 else 0.0
    figure.subplots_adjust(
        left=LEFT, right=RIGHT, top=1 - top_in / height, bottom=below_in / height, hspace=gap
    )
    # Labels line up too, and long numbers beside them push none out of the picture.
    for axes in figure.findobj(Axes):
        axes.yaxis.set_label_coords(_LABELS, 0.5)


def _set_ink(figure: "Figure") -> None:
    """Give all text and axes a color that no data has, which the page then chooses."""
    from matplotlib.axes import Axes
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if text.get_color() == "black":
            text.set_color(_INK)
    for axes in figure.findobj(Axes):
        axes.tick_params(colors=_INK, which="both")
        for spine in axes.spines.values():
            spine.set_edgecolor(_INK)
        if legend := axes.get_legend():
            legend.set_frame_on(False)
