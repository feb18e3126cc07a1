"""``earmark plot``: the plots of one track, as a page or as one PNG."""

from pathlib import Path

from jobs.console.output import check_place
from pipeline.models.bundle import ModelBundle
from pipeline.models.classifier import Classifier
from pipeline.models.label import MIN_IS_MUSIC, label_prediction
from pipeline.models.prediction import Prediction
from pipeline.pages.track_page import Picture, render_track_page
from pipeline.plots.figures import to_png
from pipeline.plots.track_drawings import draw_overview, list_drawings
from pipeline.plots.track_view import TrackView, predict_segments, view_track
from pipeline.storage import storage
from pipeline.storage.output_checks import check_writable_file
from schemas.errors import MisuseError


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
    sentence = describe_label(view, found, bundle)
    drawings = list_drawings(view, chosen, found, bundle.info.genres)
    if suffix == ".png":
        data = to_png(draw_overview(drawings))
    else:
        data = render_track_page(
            view,
            chosen,
            [Picture(each.draw(None), each.caption, each.timed, each.heads, each.rows) for each in drawings],
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
        If the suffix is not a known one, or the file is in the folder of a table or cannot be written.
    """
    suffix = Path(out).suffix.lower()
    if suffix not in known:
        raise MisuseError(f"--out {out} must end in {' or '.join(known)}")
    check_place(out)
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
