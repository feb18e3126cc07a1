"""What ``earmark evaluate`` prints."""

from collections.abc import Callable

from jobs.console.messages import say
from jobs.console.output import console, print_table
from pipeline.evaluation.protocols import describe_seen, protocol_label
from pipeline.formatting import count_text
from pipeline.pages.evaluation_page import iter_scores, render_evaluation_page
from pipeline.storage import storage
from schemas.evaluation import Evaluation, Scores

_SHOWN_MISTAKES = 10
_SHOWN_THRESHOLDS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def print_evaluation(evaluation: Evaluation) -> None:
    """Print an evaluation as tables, with the protocol next to each metric."""
    console.print(f"{evaluation.model} on {evaluation.data}")
    console.print(f"protocol {protocol_label(evaluation.protocol)}: {evaluation.leak}")
    seen = describe_seen(evaluation)
    if seen:
        console.print(seen)
    console.print(_describe_test_set(evaluation))
    console.print()
    _print_scores(evaluation)
    _print_genres(evaluation)
    _print_confusion(evaluation)
    _print_coverage(evaluation)
    _print_mistakes(evaluation)


def _describe_test_set(evaluation: Evaluation) -> str:
    tracks, segments = count_text(evaluation.n_tracks, "track"), count_text(evaluation.n_segments, "segment")
    tested = f"tested: {tracks} in {segments}"
    if evaluation.split:
        tested += f", split {evaluation.split}"
    if evaluation.folds > 1:
        tested += f", {evaluation.folds} folds"
    if evaluation.n_train_tracks:
        tested += f", trained on {count_text(evaluation.n_train_tracks, 'track')}"
    return f"{tested}, seed {evaluation.seed}"


def _print_scores(evaluation: Evaluation) -> None:
    label = protocol_label(evaluation.protocol)
    columns = ("classifier", "accuracy", "95 % interval", "macro F1", "top 3", "ECE", "of", "protocol")
    print_table(columns, ((*_cells(scores), label) for scores in iter_scores(evaluation)))
    if evaluation.fold_accuracies:
        folds = ", ".join(f"{accuracy:.3f}" for accuracy in evaluation.fold_accuracies)
        console.print(f"accuracy by fold: {folds}")
    if evaluation.baseline_features:
        console.print(f"the baselines use {evaluation.baseline_features}")
    elif evaluation.protocol == "as given":
        console.print("no baselines: they need training data (--split)")


def _cells(scores: Scores) -> tuple[str, ...]:
    low, high = scores.accuracy_interval
    return (
        scores.name,
        f"{scores.accuracy:.3f}",
        f"{low:.3f} – {high:.3f}",
        f"{scores.macro_f1:.3f}",
        _or_dash(scores.top3_accuracy),
        _or_dash(scores.ece),
        f"{scores.n:,} {scores.unit}s",
    )


def _print_genres(evaluation: Evaluation) -> None:
    seen = evaluation.seen_genres
    rows = (
        (score.genre, _or_dash(score.precision), _or_dash(score.recall), _or_dash(score.f1), score.support)
        for score in (evaluation.per_genre[place] for place in seen)
    )
    _print_title(f"By genre ({evaluation.unit}s, protocol {protocol_label(evaluation.protocol)})")
    print_table(("genre", "precision", "recall", "F1", "support"), rows)
    if n_unseen := len(evaluation.genres) - len(seen):
        console.print(f"genres of the model that are neither in the data nor predicted: {n_unseen}")


def _print_confusion(evaluation: Evaluation) -> None:
    _print_title(
        f"Confusion ({evaluation.unit}s, protocol {protocol_label(evaluation.protocol)}); row: true genre"
    )
    # Short headings fit ten genres on a terminal of 80 columns.
    seen = evaluation.seen_genres
    heads = [evaluation.genres[place][:5] for place in seen]
    width = max(len(str(count)) for row in evaluation.confusion for count in row)
    rows = (
        (
            evaluation.genres[place],
            *(str(evaluation.confusion[place][other] or "·").rjust(width) for other in seen),
        )
        for place in seen
    )
    print_table(("", *heads), rows)


def _print_coverage(evaluation: Evaluation) -> None:
    _print_title(f"Effect of a confidence threshold (protocol {protocol_label(evaluation.protocol)})")
    points = [point for point in evaluation.coverage if point.min_confidence in _SHOWN_THRESHOLDS]
    columns = ["--min-confidence", f"{evaluation.unit}s kept", "their accuracy"]
    rows = [
        [f"{point.min_confidence:.1f}", f"{point.coverage:.3f}", _or_dash(point.accuracy)] for point in points
    ]
    if evaluation.outside:
        columns.append("out of distribution, kept")
        for row, point in zip(rows, points, strict=True):
            row.append(_or_dash(point.outside_accepted))
    print_table(columns, rows)
    if evaluation.outside:
        taken = ", ".join(f"{genre} {n:,}" for genre, n in evaluation.outside.taken_for.items()) or "nothing"
        recognized = evaluation.outside.not_music
        console.print(
            f"{count_text(evaluation.outside.n, 'track')} out of distribution ({evaluation.outside.source}): "
            f"mean confidence {evaluation.outside.mean_confidence:.2f}, labeled as {taken}"
            + (f"; {recognized:,} recognized as no music" if recognized else ""),
        )


def _print_mistakes(evaluation: Evaluation) -> None:
    if not evaluation.mistakes:
        return
    _print_title(f"Most confident errors, of {evaluation.n_mistakes:,}")
    shown = evaluation.mistakes[:_SHOWN_MISTAKES]
    print_table(
        ("confidence", "true genre", "label", "track"),
        ((f"{m.confidence:.2f}", m.genre, m.predicted, m.track) for m in shown),
    )


def _print_title(title: str) -> None:
    console.print()
    console.print(title, style="italic")


def _or_dash(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def write_evaluation(evaluation: Evaluation, json: str | None, html: str | None) -> None:
    """Write the metrics as JSON, as a page, or both, to the files that are not None.

    Raises
    ------
    EarmarkError
        If a file cannot be written.
    """
    files: tuple[tuple[str | None, Callable[[], str]], ...] = (
        (json, lambda: evaluation.model_dump_json(indent=2) + "\n"),
        (html, lambda: render_evaluation_page(evaluation)),
    )
    for out, text in files:
        if out is None:
            continue
        storage.write_or_explain(out, text().encode())
        say(f"written to {out}")
