"""What the pages of ``_runs/`` say: one a run, and one that lists the last runs."""

from collections.abc import Sequence
from typing import Any

from pipeline.pages import render
from pipeline.pages.charts import Series, StepChart, step_chart
from pipeline.redaction import without_secrets
from pipeline.trends.drift import Drift, population_stability
from pipeline.wording import duration_text, left_out_text
from schemas.report import RunReport, Timeline

INDEX = "index.html"
_DRIFT_WORDS = {
    "stable": ("good", "no drift"),
    "unclear": ("soft", "too few tracks to tell drift from chance"),
    "moderate": ("warn", "moderate drift"),
    "large": ("bad", "large drift"),
}
_OUTCOME_CLASSES = {"done": "good", "running": "warn", "interrupted": "warn", "failed": "bad"}


def run_page(report: RunReport, earlier: Sequence[RunReport], *, linked: Sequence[str] = ()) -> str:
    """The page of a run as HTML.

    Parameters
    ----------
    report : RunReport
        The run.
    earlier : sequence of RunReport
        Runs before it, oldest first: the last with the same model is what genres are compared to.
    linked : sequence of str
        Files beside the page that it may link to.
    """
    before = next((o for o in reversed(earlier) if o.model == report.model and o.genres), None)
    previous = earlier[-1].run if earlier and f"{earlier[-1].run}.html" in linked else None
    return render(
        "run_report.html",
        title=f"Run {report.run}",
        report=report,
        outcome_class=_OUTCOME_CLASSES[report.outcome],
        catalog=without_secrets(report.catalog),
        error=without_secrets(report.error or ""),
        facts=_facts(report),
        sums=_sums(report),
        stages=_stages(report),
        left_out=left_out_text(report.left_out),
        charts=_charts(report.timeline) if report.timeline else [],
        genres=_genres(report, before),
        before=before,
        drift=_drift(report, before),
        failures=_failures(report),
        slowest=[(_shown(slow.uri, report), duration_text(slow.seconds)) for slow in report.slowest],
        settings={name: _setting(name, value) for name, value in report.config.items()},
        previous=previous,
        index=INDEX if linked else None,
    )


def index_page(reports: Sequence[RunReport], linked: Sequence[str]) -> str:
    """The list of runs as HTML, the last one first."""
    return render(
        "run_list.html",
        title="Runs",
        catalog=without_secrets(reports[-1].catalog) if reports else "",
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


def _facts(report: RunReport) -> dict[str, str]:
    counts = report.counts
    facts = {
        "tracks listed": f"{counts.listed:,}",
        "featurized" if report.command == "featurize" else "labeled": f"{counts.labeled:,}",
        "failed": f"{counts.failed:,}",
        "left": f"{counts.left:,}",
        "wall time": duration_text(report.wall_s),
    }
    if report.tracks_per_hour:
        facts["tracks an hour"] = f"{report.tracks_per_hour:,.0f}"
    if report.audio_s and report.wall_s:
        facts["hours of audio decoded"] = f"{report.audio_s / 3600:,.2f}"
        facts["times real time"] = f"{report.audio_s / report.wall_s:,.0f}"
    return facts


def _sums(report: RunReport) -> list[tuple[str, int]]:
    counts = report.counts
    verb = "featurized" if report.command == "featurize" else "labeled"
    return [
        (f"{verb} before", counts.labeled_before),
        ("failed before, not tried again", counts.failed_before),
        (f"{verb} by this run", counts.labeled),
        ("failed in this run", counts.failed),
        ("left", counts.left),
    ]


def _stages(report: RunReport) -> list[dict[str, Any]]:
    total = sum(report.seconds.values()) or 1.0
    done = max(1, report.counts.featurized or report.counts.labeled)
    return [
        {"name": name, "seconds": seconds, "share": seconds / total, "ms": 1000 * seconds / done}
        for name, seconds in sorted(report.seconds.items(), key=lambda item: -item[1])
    ]


def _charts(timeline: Timeline) -> list[StepChart]:
    cpus, actors = max(timeline.cpus, default=0), max(timeline.actors, default=0)
    workers = _mean_while(timeline.featurizing, timeline.shards_left)
    charts = [
        step_chart(
            f"Featurize workers: {workers:.2f} of {cpus} CPUs at work while there were shards to featurize.",
            f"Featurize workers at work over the run, {workers:.2f} of {cpus} CPUs while there were shards",
            [Series("at work", timeline.featurizing, filled=True), Series("CPUs", timeline.cpus)],
            step_s=timeline.step_s,
        )
    ]
    if actors:
        busy = _mean_while(timeline.labeling, timeline.parts_left)
        charts.append(
            step_chart(
                f"Actors: {busy:.2f} of {actors} at work while there were parts to label.",
                f"Actors at work over the run, {busy:.2f} of {actors} while there were parts to label",
                [Series("at work", timeline.labeling, filled=True), Series("actors", timeline.actors)],
                step_s=timeline.step_s,
            )
        )
    charts.append(
        step_chart(
            "Work left: parts that pile up wait for actors; where there are none, actors wait for features.",
            f"Work left over the run: at most {max(timeline.shards_left)} shards to featurize and "
            f"{max(timeline.parts_left)} parts to label",
            [
                Series("shards to featurize", timeline.shards_left),
                Series("parts to label", timeline.parts_left),
            ],
            step_s=timeline.step_s,
        )
    )
    return charts


def _genres(report: RunReport, before: RunReport | None) -> list[dict[str, Any]]:
    """A row for each genre of this run or the one before; none where this run labeled nothing."""
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
        for genre in sorted({*report.genres, *earlier}, key=lambda genre: -report.genres.get(genre, 0))
    ]


def _drift(report: RunReport, before: RunReport | None) -> dict[str, Any] | None:
    drift: Drift | None = population_stability(before.genres, report.genres) if before else None
    if drift is None:
        return None
    style, words = _DRIFT_WORDS[drift.verdict]
    return {"psi": drift.psi, "by_chance": drift.by_chance, "style": style, "words": words}


def _failures(report: RunReport) -> list[dict[str, Any]]:
    return [
        {
            "kind": kind,
            "n": n,
            "examples": [
                (_shown(example.uri, report), _shown(example.message, report))
                for example in report.failure_examples.get(kind, ())
            ],
        }
        for kind, n in sorted(report.failures.items(), key=lambda item: (-item[1], item[0]))
    ]


def _shown(text: str, report: RunReport) -> str:
    """Text with tracks named by their place below the catalog, which the page says once."""
    return without_secrets(text.replace(f"{report.catalog.rstrip('/')}/", ""))


def _setting(name: str, value: Any) -> str:
    return "–" if value is None else without_secrets(str(value), name=name)


def _mean_while(values: Sequence[float], left: Sequence[int]) -> float:
    """Mean over the steps in which anything was left to do."""
    chosen = [value for value, n in zip(values, left, strict=True) if n]
    return sum(chosen) / len(chosen) if chosen else 0.0
