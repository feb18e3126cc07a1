"""The plot of an explanation: where in a segment the evidence for its genre is."""

from typing import TYPE_CHECKING

import numpy as np

from pipeline.models.explanation import Explanation
from pipeline.plots.figures import new_figure, place_axes
from pipeline.plots.plot_elements import draw_log_mel, draw_scale, set_title
from pipeline.plots.track_view import SegmentView, TrackView

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_explanation(view: TrackView, segment: SegmentView, found: Explanation, title: str) -> "Figure":
    """Draw the log-mel under the importance, and the mean importance over time.

    Parameters
    ----------
    view : TrackView
        The track.
    segment : SegmentView
        The segment that was explained.
    found : Explanation
        The evidence in it.
    title : str
        Title of the figure.
    """
    frame_s = view.spec.frame_s
    figure = new_figure(4.6)
    grid = figure.add_gridspec(2, 1, height_ratios=(3, 1))
    over = figure.add_subplot(grid[0])
    S_db = (segment.log_mel.astype(np.float32) / 255 - 1) * segment.range_db
    draw_log_mel(over, S_db, view.spec, segment.start_s, (-max(segment.range_db, 1.0), 0.0), cmap="gray")
    most = max(float(np.abs(found.importance).max()), 1e-9)
    start_s = segment.start_s + found.first_frame * frame_s
    # Where the importance is small, the spectrogram shows through.
    draw_log_mel(
        over,
        found.importance,
        view.spec,
        start_s,
        (-most, most),
        cmap="RdYlBu_r",
        alpha=np.clip(np.abs(found.importance) / most, 0, 1) * 0.75,
    )
    end_s = segment.start_s + len(segment.y) / view.spec.sample_rate
    over.set_xlim(segment.start_s, end_s)
    over.set_xlabel("")
    set_title(over, title)
    unit = " of probability" if found.method == "occlusion" else ", relative"
    if found.importance.any():
        draw_scale(over, "RdYlBu_r", f"−{most:.2g}", f"+{most:.2g}{unit}")
    below = figure.add_subplot(grid[1])
    times = start_s + (np.arange(found.importance.shape[1]) + 0.5) * frame_s
    below.plot(times, found.importance.mean(axis=0), color="#d9702b", linewidth=1.2)
    below.axhline(0, color="#8a949e", linewidth=0.5)
    below.set_xlim(segment.start_s, end_s)
    below.set_xlabel("s")
    set_title(below, "Mean over all bands")
    place_axes(figure, n_rows=2)
    return figure
