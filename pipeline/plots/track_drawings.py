"""The plots of one track, each with its caption, and all of them in one figure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.models.label import track_probabilities
from pipeline.models.prediction import Prediction
from pipeline.plots import track_plots as plots
from pipeline.plots.figures import new_figure
from pipeline.plots.track_view import SegmentView, TrackView

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ISOLATE, _END = "\N{FIRST STRONG ISOLATE}", "\N{POP DIRECTIONAL ISOLATE}"
"""Around a name in a sentence: one in Arabic would otherwise turn around the numbers that follow it."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A plot that is not drawn yet.

    Attributes
    ----------
    draw : callable
        Draws into a given figure, or for None into a new one, and returns it.
    height_in : float
        Its height among others, in inches.
    caption : str
        What it shows.
    timed : bool
        Whether its time axis is that of the segment.
    heads : tuple of str
        The columns of its data, if they are few enough to be read.
    rows : tuple of tuple of str
        The data, one row for each genre.
    """

    draw: Callable[[Any], Any]
    height_in: float
    caption: str
    timed: bool = True
    heads: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def list_drawings(
    view: TrackView, segment: SegmentView, found: Prediction, genres: tuple[str, ...]
) -> list[Drawing]:
    """Return the plots of a track.

    Parameters
    ----------
    view : TrackView
        The track.
    segment : SegmentView
        The segment that all but the first plot show.
    found : Prediction
        The predictions for its segments.
    genres : tuple of str
        The genres, in the order of their probabilities.
    """
    proba = found.proba
    y, sr, start = segment.y, view.spec.sample_rate, segment.start_s
    spans = [(one.start_s, len(one.y) / sr) for one in view.segments]
    seconds = f"from {start:g} to {start + len(y) / sr:g} s"

    def on(function: Any, **options: Any) -> Any:
        return lambda into: function(y, sr, start_s=start, into=into, **options)

    def draw_genres(into: Any) -> Any:
        duration_s = max(view.info.duration_s, sum(spans[-1]))
        return plots.plot_genre_probabilities(proba, genres, spans, duration_s=duration_s, into=into)

    def draw_log_mel(into: Any) -> Any:
        return plots.plot_log_mel(segment.log_mel, segment.range_db, view.spec, start_s=start, into=into)

    of_track = track_probabilities(found, [one.is_silent for one in view.segments])
    named = ", ".join(f"{_ISOLATE}{genres[i]}{_END} {of_track[i]:.2f}" for i in np.argsort(-of_track)[:3])
    of_genres = f"Genre probabilities of each segment over the track; of the track: {named}."
    heads = ("genre", *(f"from {first:g} to {first + length:g} s" for first, length in spans))
    rows = tuple(
        (genre, *(f"{p:.2f}" for p in column)) for genre, column in zip(genres, proba.T, strict=True)
    )
    of_spectrogram = "Spectrogram in dB relative to the maximum, 0 to 10 kHz."
    of_log_mel = f"Log-mel spectrogram as the model sees it, {view.spec.n_mels} bands."
    of_crossings = "Zero crossings: their rate, and the waveform of the loudest 10 ms."
    on_log_axis = on(plots.plot_spectrogram, scale="log")
    return [
        Drawing(draw_genres, 2.8, of_genres, timed=False, heads=heads, rows=rows),
        Drawing(on(plots.plot_waveform), 2.0, f"Waveform {seconds}."),
        Drawing(on(plots.plot_spectrogram), 2.8, of_spectrogram),
        Drawing(on_log_axis, 2.8, "The same spectrogram on a logarithmic frequency axis."),
        Drawing(draw_log_mel, 2.8, of_log_mel),
        Drawing(
            on(plots.plot_spectral_shape), 2.4, "Spectral centroid and rolloff: the brightness of the sound."
        ),
        Drawing(on(plots.plot_chroma), 2.4, "Chroma: the strength of the twelve pitch classes."),
        Drawing(on(plots.plot_zero_crossings), 3.6, of_crossings, timed=False),
        Drawing(on(plots.plot_harmonic_percussive), 2.4, "Harmonic and percussive components."),
        Drawing(on(plots.plot_tempo), 2.0, "Onset strength and tempo."),
    ]


def draw_overview(drawings: Sequence[Drawing]) -> "Figure":
    """Draw all plots into one figure, one below the other."""
    heights_in = [each.height_in for each in drawings]
    figure = new_figure(sum(heights_in))
    parts: Any = figure.subfigures(len(drawings), 1, height_ratios=heights_in)
    for part, each in zip(parts, drawings, strict=True):
        each.draw(part)
    return figure
