"""The evaluation page: metrics with their protocol, tables and plots in a single HTML file."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline.evaluation.protocols import describe_seen, protocol_label
from pipeline.pages import render
from schemas.evaluation import Evaluation, Scores

_SIZE = 1000
"""Plots are squares of this size, with both axes from 0 to 1, that the page stretches to fit."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A classifier in the comparison: its metrics, and its interval scaled to 0 … `_SIZE`."""

    scores: Scores
    is_model: bool
    low: float
    middle: float
    high: float


def render_evaluation_page(evaluation: Evaluation) -> str:
    """Render an evaluation as a self-contained page.

    Parameters
    ----------
    evaluation : Evaluation
        The results to show.

    Returns
    -------
    str
        HTML. Names of tracks, genres and files are escaped.
    """
    return render(
        "evaluation.html",
        title=f"{evaluation.model} on {evaluation.data}",
        evaluation=evaluation,
        protocol=protocol_label(evaluation.protocol),
        seen=describe_seen(evaluation),
        rows=list(_iter_rows(evaluation)),
        shares=[_compute_shares(row) for row in evaluation.confusion],
        reliability_bars=_draw_reliability_bars(evaluation),
        accuracy_line=_draw_line((p.min_confidence, p.accuracy) for p in evaluation.coverage),
        coverage_line=_draw_line((p.min_confidence, p.coverage) for p in evaluation.coverage),
        outside_line=_draw_line((p.min_confidence, p.outside_accepted) for p in evaluation.coverage),
    )


def model_scores(evaluation: Evaluation) -> Scores:
    """Return the top-level metrics of an evaluation as the scores of one classifier."""
    return Scores(
        name=evaluation.model,
        unit=evaluation.unit,
        n=evaluation.n_segments if evaluation.unit == "piece" else evaluation.n_tracks,
        accuracy=evaluation.accuracy,
        accuracy_interval=evaluation.accuracy_interval,
        macro_f1=evaluation.macro_f1,
        top3_accuracy=evaluation.top3_accuracy,
        ece=evaluation.ece,
    )


def iter_scores(evaluation: Evaluation) -> Iterator[Scores]:
    """Yield the scores of the model and the baselines, then those by the other unit if they differ."""
    yield model_scores(evaluation)
    yield from evaluation.baselines
    if evaluation.other_unit:
        yield evaluation.other_unit
    yield from evaluation.baselines_other_unit


def _iter_rows(evaluation: Evaluation) -> Iterator[_Row]:
    for scores in iter_scores(evaluation):
        low, high = scores.accuracy_interval
        is_model = scores.name == evaluation.model
        yield _Row(scores, is_model, _SIZE * low, _SIZE * scores.accuracy, _SIZE * high)


def _compute_shares(row: Iterable[int]) -> list[float]:
    """Return each count as a share of its row, which sets the shade of the cell."""
    counts = list(row)
    total = max(1, sum(counts))
    return [count / total for count in counts]


def _draw_reliability_bars(evaluation: Evaluation) -> str:
    """Draw all bars of the reliability diagram as one path."""
    bars = []
    for one in evaluation.reliability:
        if one.accuracy:
            x, width = _SIZE * one.low, _SIZE * (one.high - one.low)
            bars.append(f"M{x + 4:.0f} {_SIZE}V{_SIZE * (1 - one.accuracy):.0f}H{x + width - 4:.0f}V{_SIZE}Z")
    return "".join(bars)


def _draw_line(points: Iterable[tuple[float, float | None]]) -> str:
    """Draw a path through the points that have a value."""
    known = [f"{_SIZE * x:.0f} {_SIZE * (1 - y):.0f}" for x, y in points if y is not None]
    return "M" + "L".join(known) if known else ""
