"""The content of the pages in ``_runs/``: one page per run, and a list of the latest runs."""

from collections.abc import Sequence
from typing import Any

from pipeline.formatting import directions_text, duration_text, left_out_text, publication_text, size_text
from pipeline.pages import render
from pipeline.pages.charts import Series, StepChart, lay_out_step_chart
from pipeline.redaction import redact
from pipeline.trends.drift import Drift, measure_drift
from schemas.report import RunReport, Timeline

INDEX = "index.html"
_DRIFT_WORDS = {
    "stable": ("good", "no drift"),
    "unclear": ("soft", "too few tracks to tell drift from chance"),
    "moderate": ("warn", "moderate drift"),
    "large": ("bad", "large drift"),
}
_OUTCOME_CLASSES = {"done": "good", "running": "warn", "interrupted": "warn", "failed": "bad"}


def render_run_page(report: RunReport, earlier: Sequence[RunReport], *, linked: Sequence[str] = ()) -> str:
    """Render the page of a run as HTML.

    Parameters
    ----------
    report : RunReport
        The run.
    earlier : sequence of RunReport
        Earlier runs, oldest first. Genres are compared with the latest one that has the same model.
    linked : sequence of str
        Files in the same folder that the page may link to.
    """
    before = next((o for o in reversed(earlier) if o.model == report.model and o.genres), None)
    previous = earlier[-1].run if earlier and f"{earlier[-1].run}.html" in linked else None
    return render(
        "run_report.html",
        title=f"Run {report.run}",
        report=report,
        outcome_class=_OUTCOME_CLASSES[report.outcome],
        catalog=redact(report.catalog),
        error=redact(report.error or ""),
        publication=redact(publication_text(report.publication)) if report.publication else "",
        facts=_summarize(report),
        sums=_list_counts(report),
        stages=_list_stages(report),
        left_out=left_out_text(report.left_out),
        charts=_lay_out_charts(report.timeline) if report.timeline else [],
        genres=_compare_genres(report, before),
        before=before,
        drift=_describe_drift(report, before),
        failures=_list_failures(report),
        slowest=[(_shorten(slow.uri, report), duration_text(slow.seconds)) for slow in report.slowest],
        settings={name: _format_setting(name, value) for name, value in report.config.items()},
        previous=previous,
        index=INDEX if linked else None,
    )


def render_run_list(reports: Sequence[RunReport], linked: Sequence[str]) -> str:
    """Render the list of runs as HTML, latest first."""
    return render(
        "run_list.html",
        title="Runs",
        catalog=redact(reports[-1].catalog) if reports else "",
        runs=[
            {
                "report": report,
                "page": f"{report.run}.html" if f"{report.run}.html" in linked else None,
                "outcome_class": _OUTCOME_CLASSES[report.outcome],
                "wall": duration_text(report.wall_s),
            }
            for report in reversed(reports)
        ],
    )


def _summarize(report: RunReport) -> dict[str, str]:
    counts = report.counts
    facts = {
        "tracks listed": f"{counts.listed:,}",
        "featurized" if report.command == "featurize" else "labeled": f"{counts.labeled:,}",
        **({"labeled before and embedded": f"{counts.embedded:,}"} if counts.embedded else {}),
        "failed": f"{counts.failed:,}",
        "remaining": f"{counts.left:,}",
        "wall time": duration_text(report.wall_s),
    }
    if report.tracks_per_hour:
        facts["tracks per hour"] = f"{report.tracks_per_hour:,.0f}"
    if report.audio_s and report.wall_s:
        facts["hours of audio decoded"] = f"{report.audio_s / 3600:,.2f}"
        facts["speed, × real time"] = f"{report.audio_s / report.wall_s:,.0f}"
    if report.requests:
        facts["requests to the store"] = ", ".join(f"{kind} {n:,}" for kind, n in report.requests.items())
    if report.store_bytes:
        facts["data from and to the store"] = directions_text(report.store_bytes)
    if report.removed_features_bytes:
        facts["features removed"] = size_text(report.removed_features_bytes)
    return facts


def _list_counts(report: RunReport) -> list[tuple[str, int]]:
    counts = report.counts
    verb = "featurized" if report.command == "featurize" else "labeled"
    return [
        (f"{verb} by earlier runs", counts.labeled_before),
        *([("labeled before, embedded now", counts.embedded)] if counts.embedded else []),
        ("failed in earlier runs, not retried", counts.failed_before),
        (f"{verb} by this run", counts.labeled),
        ("failed in this run", counts.failed),
        ("remaining", counts.left),
    ]


def _list_stages(report: RunReport) -> list[dict[str, Any]]:
    total = sum(report.seconds.values()) or 1.0
    done = max(1, report.counts.featurized or report.counts.labeled + report.counts.embedded)
    return [
        {"name": name, "seconds": seconds, "share": seconds / total, "ms": 1000 * seconds / done}
        for name, seconds in sorted(report.seconds.items(), key=lambda item: -item[1])
    ]


def _lay_out_charts(timeline: Timeline) -> list[StepChart]:
    cpus, actors = max(timeline.cpus, default=0), max(timeline.actors, default=0)
    workers = _mean_while_busy(timeline.featurizing, timeline.shards_left)
    charts = [
        lay_out_step_chart(
            f"Featurize workers: {workers:,.2f} of {cpus:,} CPUs busy while shards were left to featurize",
            f"Busy featurize workers over the run: {workers:,.2f} of {cpus:,} CPUs while shards were left",
            [Series("busy", timeline.featurizing, filled=True), Series("CPUs", timeline.cpus)],
            step_s=timeline.step_s,
        )
    ]
    if actors:
        busy = _mean_while_busy(timeline.labeling, timeline.parts_left)
        charts.append(
            lay_out_step_chart(
                f"Actors: {busy:,.2f} of {actors:,} busy while parts were left to label",
                f"Busy actors over the run: {busy:,.2f} of {actors:,} while parts were left to label",
                [Series("busy", timeline.labeling, filled=True), Series("actors", timeline.actors)],
                step_s=timeline.step_s,
            )
        )
    charts.append(
        lay_out_step_chart(
            "Backlog: if parts pile up, actors are the bottleneck; if there are none, featurizing is",
            f"Backlog over the run: at most {max(timeline.shards_left):,} shards to featurize and "
            f"{max(timeline.parts_left):,} parts to label",
            [
                Series("shards to featurize", timeline.shards_left),
                Series("parts to label", timeline.parts_left),
            ],
            step_s=timeline.step_s,
        )
    )
    return charts


def _compare_genres(report: RunReport, before: RunReport | None) -> list[dict[str, Any]]:
    """Return a row for each genre in this run or the previous one; empty if this run labeled nothing."""
    if not report.genres:
        return []
    earlier = before.genres if before else {}
    total, total_before = sum(report.genres.values()), sum(earlier.values()) or 1
    return [
        {
            "name": genre,
            "n": report.genres.get(genre, 0),
            "share": report.genres.get(genre, 0) / total,
            "before": earlier.get(genre, 0) / total_before,
        }
        for genre in sorted({*report.genres, *earlier}, key=lambda name: (-report.genres.get(name, 0), name))
    ]


def _describe_drift(report: RunReport, before: RunReport | None) -> dict[str, Any] | None:
    drift: Drift | None = measure_drift(before.genres, report.genres) if before else None
    if drift is None:
        return None
    style, words = _DRIFT_WORDS[drift.verdict]
    return {"psi": drift.psi, "by_chance": drift.by_chance, "style": style, "words": words}


def _list_failures(report: RunReport) -> list[dict[str, Any]]:
    return [
        {
            "kind": kind,
            "n": n,
            "examples": [
                (_shorten(example.uri, report), _shorten(example.message, report))
                for example in report.failure_examples.get(kind, ())
            ],
        }
        for kind, n in sorted(report.failures.items(), key=lambda item: (-item[1], item[0]))
    ]


def _shorten(text: str, report: RunReport) -> str:
    """Shorten locations in a text to paths below the catalog, and redact secrets."""
    return redact(text.replace(f"{report.catalog.rstrip('/')}/", ""))


def _format_setting(name: str, value: Any) -> str:
    return "–" if value is None else redact(str(value), name=name)


def _mean_while_busy(values: Sequence[float], left: Sequence[int]) -> float:
    """Average the steps in which work was left."""
    chosen = [value for value, n in zip(values, left, strict=True) if n]
    return sum(chosen) / len(chosen) if chosen else 0.0
