"""Figures as PNG, and as SVG that adapts to the light or dark theme of the page."""

import io
from typing import TYPE_CHECKING

from pipeline.log import get_logger
from pipeline.plots.fonts import boxes_allowed, choose_fonts

if TYPE_CHECKING:
    from matplotlib.figure import Figure, FigureBase

log = get_logger(__name__)

WIDTH_IN = 9.0
LEFT, RIGHT = 0.085, 0.985
"""Left and right edge of the axes in every figure, as fractions of its width, so that times line up."""
_TOP_IN, _BELOW_IN = 0.35, 0.45
"""Room for the labels above and below the axes, inches."""

BLUE, ORANGE, GREEN, GRAY = "#3d84d6", "#d9702b", "#2f9e5b", "#8a949e"
"""Colors that are readable on light and dark backgrounds."""

_LABELS = -0.075
"""Position of y axis labels, as a fraction of the axes' width."""

_INK = "#010203"
_SVG_STYLE = (
    "<style>:root{--ink:#1c2127}@media (prefers-color-scheme:dark){:root{--ink:#e7ebef}}"
    "text{font-family:system-ui,'DejaVu Sans',sans-serif}</style>"
)
_RASTER_DPI = 100


def new_figure(height_in: float) -> "Figure":
    """Create a figure of the common width and the given height in inches.

    It is not a pyplot figure, so it need not be closed and can be drawn in any thread.
    """
    from pipeline.plots.shown_figure import ShownFigure

    return ShownFigure(figsize=(WIDTH_IN, height_in))


def to_png(figure: "Figure", *, dpi: int = 110) -> bytes:
    """Render a figure as PNG on white; letters that no font has become boxes, and are logged."""
    from matplotlib.text import Text

    buffer = io.BytesIO()
    with boxes_allowed():
        figure.savefig(buffer, format="png", dpi=dpi, facecolor="white")
    texts = "".join(text.get_text() for text in figure.findobj(Text))
    if letters := choose_fonts(texts)[1]:
        log.warning("no font on this machine has these letters, install one to see them", letters=letters)
    return buffer.getvalue()


def to_svg(figure: "Figure") -> bytes:
    """Render a figure as SVG with a transparent background; text and axes follow the theme of the page.

    Images in it (spectrograms) are rasterized. The output is deterministic.
    """
    import matplotlib as mpl

    _set_ink(figure)
    buffer = io.BytesIO()
    # A browser has fonts of its own.
    with boxes_allowed(), mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "earmark"}):
        figure.savefig(
            buffer, format="svg", transparent=True, dpi=_RASTER_DPI, metadata={"Date": None, "Creator": None}
        )
    svg = buffer.getvalue().decode().replace(_INK, "var(--ink)")
    return svg.replace("<defs>", f"{_SVG_STYLE}<defs>", 1).encode()


def read_labels(figure: "Figure") -> str:
    """Return the titles in a figure and the labels of its y axes, for those who do not see it."""
    titled = [axes for axes in figure.axes if axes.get_title(loc="left")]
    return "; ".join(
        ", ".join(text for text in (axes.get_title(loc="left"), axes.get_ylabel()) if text) for axes in titled
    )


def place_axes(figure: "FigureBase", *, n_rows: int = 1) -> None:
    """Adjust margins to leave room for the labels."""
    from matplotlib.axes import Axes

    height = figure.get_window_extent().height / figure.get_figure(root=True).dpi
    gap = 0.5 if n_rows > 1 else 0.0
    figure.subplots_adjust(
        left=LEFT, right=RIGHT, top=1 - _TOP_IN / height, bottom=_BELOW_IN / height, hspace=gap
    )
    # Fixed positions: labels line up across figures, and wide tick labels cannot push them out of the
    # picture.
    for axes in figure.findobj(Axes):
        axes.yaxis.set_label_coords(_LABELS, 0.5)


def _set_ink(figure: "Figure") -> None:
    """Give all text and axes a placeholder color that no data uses, to be replaced by the page's color."""
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
