"""``earmark plot``: the plots of one track, as a page or as one PNG."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.bundle import ModelBundle
from pipeline.models.classifier import Classifier
from pipeline.models.label import MIN_IS_MUSIC, label_prediction, track_probabilities
from pipeline.models.prediction import Prediction
from pipeline.pages.track_page import Picture, render_track_page
from pipeline.plots import track_plots as plots
from pipeline.plots.figures import to_png
from pipeline.plots.track_view import SegmentView, TrackView, predict_segments, view_track
from pipeline.storage import storage
from pipeline.storage.output_checks import check_writable_file
from schemas.errors import MisuseError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEIGHTS_IN = (2.8, 2.0, 2.8, 2.8, 2.8, 2.4, 2.4, 3.6, 2.4, 2.0)
"""Height of each plot in the PNG, in the order of `_drawings`."""


def choose_output(track: str, suffix: str) -> str:
    """Return the default file name for the page of a track, in the working directory."""
    return Path(storage.split(track)[1]).stem + suffix


def plot_track(track: str, out: str, model: str, segment: int | None) -> str:
    """Plot a track, write the page or image, and return a sentence with its label.

    Parameters
    ----------
    track : str
        A path or the URI of an object.
    out : str
        File or URI, ``.html`` or ``.png``.
    model : str
        The model whose probabilities and log-mels are drawn.
    segment : int or None
        Number of the segment to draw; if None, the middle one.

    Raises
    ------
    MisuseError
        If `out` has another extension, or there is no such model or segment.
    TrackError
        If the track cannot be read.
    """
    suffix = check_output(out, (".html", ".png"))
    bundle = ModelBundle.load(model)
    view = view_track(storage.local_uri(track), bundle.info.features)
    chosen = view.segment(segment)
    found = predict_segments(view, Classifier(bundle, batch_size=4, threads=2))
    proba = found.proba
    sentence = describe_label(view, found, bundle)
    if suffix == ".png":
        data = to_png(_overview(view, chosen, proba, bundle.info.genres))
    else:
        data = render_track_page(
            view,
            chosen,
            _pictures(view, chosen, proba, bundle.info.genres),
            heading="What it sounds like",
            summary=sentence,
            out=out,
        ).encode()
    storage.write_or_explain(out, data)
    return sentence


def check_output(out: str, known: tuple[str, ...]) -> str:
    """Return the suffix of a file to write, in lower case.

    Raises
    ------
    MisuseError
        If the suffix is not a known one, or the file cannot be written.
    """
    suffix = Path(out).suffix.lower()
    if suffix not in known:
        raise MisuseError(f"--out {out} must end in {' or '.join(known)}")
    check_writable_file(out, "the picture")
    return suffix


def describe_label(view: TrackView, found: Prediction, bundle: ModelBundle) -> str:
    """Return a sentence with the label of a track, the next genres, and the number of silent segments."""
    silent = [segment.is_silent for segment in view.segments]
    if all(silent):
        return "There is nothing to label in the track: it is silent or steady noise, so it has no genre."
    label = label_prediction(view.uri, found, silent, bundle.info)
    n_silent = sum(silent)
    ignored = f" {n_silent} of its {len(silent)} segments are silent and are ignored." if n_silent else ""
    if label.is_music is not None and label.is_music < MIN_IS_MUSIC:
        return (
            f"{bundle.model} gives a probability of {label.is_music:.2f} that it is music, so it has no "
            f"genre.{ignored}"
        )
    named = [f"{bundle.info.genres[i]} ({label.probabilities[i]:.2f})" for i in label.order[:3]]
    if label.style is not None:
        named[0] = f"{label.genre} / {label.style} ({label.confidence:.2f})"
    return f"{bundle.model} labels it {named[0]}, followed by {' and '.join(named[1:])}.{ignored}"


def _average(view: TrackView, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    return track_probabilities(probabilities, [segment.is_silent for segment in view.segments])


def _drawings(
    view: TrackView, segment: SegmentView, proba: NDArray[np.float64], genres: tuple[str, ...]
) -> list[tuple[Any, str]]:
    """Return functions that draw into a figure, each with a caption."""
    y, sr, start = segment.y, view.spec.sample_rate, segment.start_s
    spans = [(one.start_s, len(one.y) / sr) for one in view.segments]
    seconds = f"from {start:g} to {start + len(y) / sr:g} s"

    def on(function: Any, **options: Any) -> Any:
        return lambda into: function(y, sr, start_s=start, into=into, **options)

    mean = _average(view, proba)
    named = ", ".join(f"{genres[i]} {mean[i]:.2f}" for i in np.argsort(-mean)[:3])
    return [
        (
            lambda into: plots.plot_genre_probabilities(
                proba, genres, spans, duration_s=max(view.info.duration_s, sum(spans[-1])), into=into
            ),
            f"Genre probabilities of each segment over the track; mean: {named}.",
        ),
        (on(plots.plot_waveform), f"Waveform {seconds}."),
        (on(plots.plot_spectrogram), "Spectrogram in dB relative to the maximum, 0 to 10 kHz."),
        (on(plots.plot_spectrogram, scale="log"), "The same spectrogram on a logarithmic frequency axis."),
        (
            lambda into: plots.plot_log_mel(
                segment.log_mel, segment.range_db, view.spec, start_s=start, into=into
            ),
            f"Log-mel spectrogram as the model sees it, {view.spec.n_mels} bands.",
        ),
        (on(plots.plot_spectral_shape), "Spectral centroid and rolloff: the brightness of the sound."),
        (on(plots.plot_chroma), "Chroma: the strength of the twelve pitch classes."),
        (on(plots.plot_zero_crossings), "Zero crossings: their rate, and the waveform of the loudest 10 ms."),
        (on(plots.plot_harmonic_percussive), "Harmonic and percussive components."),
        (on(plots.plot_tempo), "Onset strength and tempo."),
    ]


_UNTIMED = (0, 7)
"""Plots whose time axis is not that of the segment."""


def _pictures(
    view: TrackView, segment: SegmentView, proba: NDArray[np.float64], genres: tuple[str, ...]
) -> list[Picture]:
    return [
        Picture(draw(None), words, words, timed=number not in _UNTIMED)
        for number, (draw, words) in enumerate(_drawings(view, segment, proba, genres))
    ]


def _overview(
    view: TrackView, segment: SegmentView, proba: NDArray[np.float64], genres: tuple[str, ...]
) -> "Figure":
    """Draw all plots into one figure, one below the other."""
    from pipeline.plots.figures import new_figure

    figure = new_figure(sum(_HEIGHTS_IN))
    parts: Any = figure.subfigures(len(_HEIGHTS_IN), 1, height_ratios=_HEIGHTS_IN)
    for part, (draw, _) in zip(parts, _drawings(view, segment, proba, genres), strict=True):
        draw(part)
    return figure
