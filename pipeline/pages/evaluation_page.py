"""The page of an evaluation: figures with their protocol, tables and plots in a single HTML file."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline.evaluation.protocols import describe_seen, protocol_label
from pipeline.pages import render
from schemas.evaluation import Evaluation, Scores

_SIZE = 1000
"""Plots are squares of this size, both axes from 0 to 1, stretched to what the page has room for."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A classifier in the comparison: its figures, and the interval as a stroke from 0 to `_SIZE`."""

    scores: Scores
    is_model: bool
    low: float
    middle: float
    high: float


def evaluation_page(evaluation: Evaluation) -> str:
    """Return an evaluation as a page that loads nothing from elsewhere.

    Parameters
    ----------
    evaluation : Evaluation

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
        rows=list(_rows(evaluation)),
        shares=[_shares(row) for row in evaluation.confusion],
        reliability_bars=_reliability_bars(evaluation),
        accuracy_line=_line((p.min_confidence, p.accuracy) for p in evaluation.coverage),
        coverage_line=_line((p.min_confidence, p.coverage) for p in evaluation.coverage),
        outside_line=_line((p.min_confidence, p.outside_accepted) for p in evaluation.coverage),
    )


def model_scores(evaluation: Evaluation) -> Scores:
    """Return the figures at the top of an evaluation as those of one classifier."""
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


def all_scores(evaluation: Evaluation) -> Iterator[Scores]:
    """Yield the figures of the model and of the baselines, and those by the other unit where they differ."""
    yield model_scores(evaluation)
    yield from evaluation.baselines
    if evaluation.other_unit:
        yield evaluation.other_unit
    yield from evaluation.baselines_other_unit


def _rows(evaluation: Evaluation) -> Iterator[_Row]:
    for scores in all_scores(evaluation):
        low, high = scores.accuracy_interval
        is_model = scores.name == evaluation.model
        yield _Row(scores, is_model, _SIZE * low, _SIZE * scores.accuracy, _SIZE * high)


def _shares(row: Iterable[int]) -> list[float]:
    """Each count's share of its row: how dark a cell is."""
    counts = list(row)
    total = max(1, sum(counts))
    return [count / total for count in counts]


def _reliability_bars(evaluation: Evaluation) -> str:
    """One path of all bars of the reliability diagram."""
    bars = []
    for one in evaluation.reliability:
        if one.accuracy:
            x, width = _SIZE * one.low, _SIZE * (one.high - one.low)
            bars.append(f"M{x + 4:.0f} {_SIZE}V{_SIZE * (1 - one.accuracy):.0f}H{x + width - 4:.0f}V{_SIZE}Z")
    return "".join(bars)


def _line(points: Iterable[tuple[float, float | None]]) -> str:
    """A path through the points that have a value."""
    known = [f"{_SIZE * x:.0f} {_SIZE * (1 - y):.0f}" for x, y in points if y is not None]
    return "M" + "L".join(known) if known else ""
