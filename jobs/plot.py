"""``earmark plot``: one track in pictures, as a page or as one PNG."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.bundle import Classifier, ModelBundle
from pipeline.models.label import track_probabilities
from pipeline.pages.track_page import Picture, render_track_page
from pipeline.plots import track_plots as plots
from pipeline.plots.figures import to_png
from pipeline.plots.track_view import SegmentView, TrackView, segment_probabilities, view_track
from pipeline.storage import storage
from pipeline.storage.outputs import check_writable_file
from schemas.errors import MisuseError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEIGHTS_IN = (2.8, 2.0, 2.8, 2.8, 2.8, 2.4, 2.4, 3.6, 2.4, 2.0)
"""Of the pictures of the PNG, in the order of `_drawings`."""


def default_out(track: str, suffix: str) -> str:
    """A name for the picture or page of a track, in the folder where the command runs."""
    return Path(storage.split(track)[1]).stem + suffix


def plot_track(track: str, out: str, model: str, segment: int | None) -> str:
    """Draw a track and write the pictures; give the label in a sentence.

    Parameters
    ----------
    track : str
        A path or the URI of an object.
    out : str
        File or URI, ``.html`` or ``.png``.
    model : str
        The model whose probabilities and log-mels are drawn.
    segment : int or None
        Number of the segment to draw; None: the middle one.

    Raises
    ------
    MisuseError
        If `out` is of another kind, or there is no such model or segment.
    TrackError
        If the track cannot be read.
    """
    suffix = kind_of(out, (".html", ".png"))
    bundle = ModelBundle.load(model)
    view = view_track(track, bundle.info.features)
    chosen = view.segment(segment)
    proba = segment_probabilities(view, Classifier(bundle, batch_size=4, threads=2))
    sentence = in_words(view, proba, bundle)
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
    with storage.explain_errors(out, "write"):
        storage.write_bytes(out, data)
    return sentence


def kind_of(out: str, known: tuple[str, ...]) -> str:
    """The suffix of a file to write.

    Raises
    ------
    MisuseError
        If it is not one of the known ones, or the file cannot be written.
    """
    suffix = Path(out).suffix.lower()
    if suffix not in known:
        raise MisuseError(f"--out {out} must end in {' or '.join(known)}")
    check_writable_file(out, "the picture")
    return suffix


def in_words(view: TrackView, probabilities: NDArray[np.float64], bundle: ModelBundle) -> str:
    """The label of a track and its next genres, and which of it is silence, in sentences."""
    n, n_silent = len(view.segments), sum(segment.is_silent for segment in view.segments)
    if n_silent == n:
        return (
            "There is nothing to label in the track: it is silent or holds steady noise, so it has no genre."
        )
    mean = _of_track(view, probabilities)
    best = np.argsort(-mean, kind="stable")[:3]
    first, *others = (f"{bundle.info.genres[i]} ({mean[i]:.2f})" for i in best)
    silence = f" {n_silent} of its {n} segments are silent and have no say." if n_silent else ""
    return f"{bundle.model} says {first}, then {' and '.join(others)}.{silence}"


def _of_track(view: TrackView, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    return track_probabilities(probabilities, [segment.is_silent for segment in view.segments])


def _drawings(
    view: TrackView, segment: SegmentView, proba: NDArray[np.float64], genres: tuple[str, ...]
) -> list[tuple[Any, str]]:
    """Functions that draw into a figure, and what each picture shows in words."""
    y, sr, start = segment.y, view.spec.sample_rate, segment.start_s
    spans = [(one.start_s, len(one.y) / sr) for one in view.segments]
    seconds = f"from {start:g} to {start + len(y) / sr:g} s"

    def on(function: Any, **options: Any) -> Any:
        return lambda into: function(y, sr, start_s=start, into=into, **options)

    mean = _of_track(view, proba)
    named = ", ".join(f"{genres[i]} {mean[i]:.2f}" for i in np.argsort(-mean)[:3])
    return [
        (
            lambda into: plots.plot_genre_probabilities(
                proba, genres, spans, duration_s=max(view.info.duration_s, sum(spans[-1])), into=into
            ),
            f"Genre probabilities of each segment along the track; in the mean {named}.",
        ),
        (on(plots.plot_waveform), f"Waveform {seconds}."),
        (on(plots.plot_spectrogram), "Spectrogram in dB below the loudest, 0 to 10 kHz."),
        (on(plots.plot_spectrogram, scale="log"), "The same with octaves of equal height."),
        (
            lambda into: plots.plot_log_mel(
                segment.log_mel, segment.range_db, view.spec, start_s=start, into=into
            ),
            f"Log-mel spectrogram as the model sees it, {view.spec.n_mels} bands.",
        ),
        (on(plots.plot_spectral_shape), "Centroid and rolloff: how bright the sound is."),
        (on(plots.plot_chroma), "Chroma: how strong each of the twelve pitch classes is."),
        (on(plots.plot_zero_crossings), "Zero crossings: the rate, and a zoom into the loudest 10 ms."),
        (on(plots.plot_harmonic_percussive), "What lasts and what strikes."),
        (on(plots.plot_tempo), "Onsets and the tempo that they repeat with."),
    ]


_UNTIMED = (0, 7)
"""Pictures whose axis is not the segment's time alone."""


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
    """All pictures in one figure, one below the other."""
    from pipeline.plots.figures import new_figure

    figure = new_figure(sum(_HEIGHTS_IN))
    parts: Any = figure.subfigures(len(_HEIGHTS_IN), 1, height_ratios=_HEIGHTS_IN)
    for part, (draw, _) in zip(parts, _drawings(view, segment, proba, genres), strict=True):
        draw(part)
    return figure
