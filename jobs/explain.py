"""``earmark explain``: the seconds and frequency bands of a track that the model's decision rests on."""

import json
from typing import Any

import numpy as np

from jobs.plot import check_output
from pipeline.models.bundle import ModelBundle
from pipeline.models.classifier import Classifier
from pipeline.models.explanation import (
    Explanation,
    MaskingTest,
    Method,
    explain,
    find_strongest_patches,
    run_masking_test,
)
from pipeline.models.label import MIN_IS_MUSIC, label_prediction
from pipeline.pages.track_page import Picture, render_track_page
from pipeline.plots import track_plots as plots
from pipeline.plots.explanation_plot import draw_explanation
from pipeline.plots.figures import to_png
from pipeline.plots.plot_elements import band_frequencies
from pipeline.plots.track_view import SegmentView, TrackView, predict_segments, view_track
from pipeline.redaction import redact
from pipeline.storage import storage

_NOTHING = "There is nothing to label in this segment: it is silent or steady noise."
_METHODS = {"occlusion": "occlusion", "grad-cam": "Grad-CAM"}


def explain_track(
    track: str, out: str, model: str, segment: int | None, method: Method, genre: str | None
) -> str:
    """Explain the label of a segment, write the page, image or numbers, and return a one-sentence summary.

    Parameters
    ----------
    track : str
        A path or the URI of an object.
    out : str
        File or URI, ``.html``, ``.png`` or ``.json``.
    model : str
        Name or folder of the model.
    segment : int or None
        Number of the segment; if None, the middle one.
    method : str
        ``occlusion`` or ``grad-cam``.
    genre : str or None
        The genre to explain; if None, the most probable one of the segment.

    Raises
    ------
    MisuseError
        If `out` has another extension, the model reads no log-mels, or there is no such genre or segment.
    TrackError
        If the track cannot be read.
    """
    suffix = check_output(out, (".html", ".png", ".json"))
    bundle = ModelBundle.load(model)
    view = view_track(storage.local_uri(track), bundle.info.features)
    chosen = view.segment(segment)
    classifier = Classifier(bundle, threads=2)
    found = explain(chosen.log_mel, classifier, method=method, genre=genre)
    tested = run_masking_test(chosen.log_mel, classifier, found)
    is_music = _predict_is_music(chosen, classifier)
    is_not_music = is_music is not None and is_music < MIN_IS_MUSIC
    heading, title = f"Why {found.genre}", f"Evidence for {found.genre} (red) and against it (blue)"
    summary = _summarize(found, tested, bundle)
    if chosen.is_silent:
        heading = title = "Nothing to label"
        summary = _NOTHING
    elif is_not_music:
        heading, title = "Probably not music", f"Probably not music. {title}"
        summary = (
            f"{bundle.model} gives a probability of {is_music:.2f} that this segment is music, so it has "
            f"no genre. If it were music: {summary}"
        )
    elif genre is None:
        summary = f"{_describe_other_label(view, found, classifier)}{summary}"
    if suffix == ".json":
        numbers = _as_json(view, chosen, found, tested, bundle, is_music)
        data = json.dumps(numbers, indent=2, ensure_ascii=False).encode()
    elif suffix == ".png":
        data = to_png(draw_explanation(view, chosen, found, title))
    else:
        data = render_track_page(
            view,
            chosen,
            _pictures(view, chosen, found, title),
            heading=heading,
            summary=summary,
            lines=_strongest_lines(view, chosen, found),
            out=out,
        ).encode()
    storage.write_or_explain(out, data)
    return summary


def _describe_other_label(view: TrackView, found: Explanation, classifier: Classifier) -> str:
    """Return a sentence about the label of the whole track; "" if it is the genre that is explained."""
    silent = [segment.is_silent for segment in view.segments]
    label = label_prediction(view.uri, predict_segments(view, classifier), silent, classifier.info)
    if label.genre == found.genre:
        return ""
    if label.genre is None:
        return "The track, over all its segments, is probably not music, so it has no genre. "
    return f"The label of the track, over all its segments, is {label.genre}. "


def _predict_is_music(segment: SegmentView, classifier: Classifier) -> float | None:
    """Return the probability that a segment is music; None for silence, and if the model does not tell."""
    is_music = None if segment.is_silent else classifier.predict([segment.log_mel]).is_music
    return None if is_music is None else float(is_music[0])


def _summarize(found: Explanation, tested: MaskingTest, bundle: ModelBundle) -> str:
    return (
        f"{bundle.model} gives {found.genre} a probability of {tested.whole:.2f} for this segment. With the "
        f"most important tenth of the log-mel (by {_METHODS[found.method]}) masked, it is "
        f"{tested.without_top:.2f}; with a random tenth masked, {tested.without_random:.2f}."
    )


def _strongest_lines(view: TrackView, segment: SegmentView, found: Explanation) -> list[str]:
    return [
        f"{first:.1f} to {last:.1f} s, {low:,.0f} to {high:,.0f} Hz"
        for first, last, low, high in _find_strongest(view, segment, found)
    ]


def _find_strongest(
    view: TrackView, segment: SegmentView, found: Explanation
) -> list[tuple[float, float, float, float]]:
    """Return the strongest patches; none for silence, in which nothing is evidence."""
    return [] if segment.is_silent else find_strongest_patches(found, view.spec, segment.start_s)


def _pictures(view: TrackView, segment: SegmentView, found: Explanation, title: str) -> list[Picture]:
    strong = "; ".join(_strongest_lines(view, segment, found)) or "none"
    words = f"Importance by {_METHODS[found.method]} over the log-mel. Strongest evidence: {strong}."
    start, sr = segment.start_s, view.spec.sample_rate
    return [
        Picture(draw_explanation(view, segment, found, title), words),
        Picture(
            plots.plot_log_mel(segment.log_mel, segment.range_db, view.spec, start_s=start),
            "The log-mel alone.",
        ),
        Picture(plots.plot_waveform(segment.y, sr, start_s=start), "Waveform of the segment."),
    ]


def _as_json(
    view: TrackView,
    segment: SegmentView,
    found: Explanation,
    tested: MaskingTest,
    bundle: ModelBundle,
    is_music: float | None,
) -> dict[str, Any]:
    start_s = segment.start_s + found.first_frame * view.spec.frame_s
    return {
        "track": redact(view.uri),
        "model": bundle.model,
        "method": found.method,
        "is_silent": segment.is_silent,
        "is_music": is_music,
        "genre": found.genre,
        "probability": found.probability,
        "segment_start_s": segment.start_s,
        "masking_test": {
            "whole": tested.whole,
            "without_top_tenth": tested.without_top,
            "without_random_tenth": tested.without_random,
        },
        "strongest": [
            dict(zip(("from_s", "to_s", "from_hz", "to_hz"), place, strict=True))
            for place in _find_strongest(view, segment, found)
        ],
        "frequencies_hz": band_frequencies(view.spec).round(1).tolist(),
        "times_s": (start_s + np.arange(found.importance.shape[1]) * view.spec.frame_s).round(3).tolist(),
        "importance": found.importance.round(5).tolist(),
    }
