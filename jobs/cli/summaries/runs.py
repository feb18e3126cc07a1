"""What each command prints when it is done."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.console.messages import printable
from jobs.console.output import console, print_table
from jobs.demo import DemoResult
from jobs.scan import FormatCount, Scan
from jobs.status import Status
from jobs.trials import Trial, summarize
from pipeline.catalogs.planning import Plan
from pipeline.models.bundle import ModelBundle
from pipeline.storage import storage
from pipeline.wording import left_out_text, size_text
from schemas.report import LeftOut, RunReport


def print_scan(scan: Scan) -> None:
    """Print what `scan` found."""
    counts = scan.formats
    rows = [
        (count.extension, f"{count.n_files:,}", f"{count.n_empty:,}", size_text(count.size), _hours(count))
        for count in counts
    ]
    known = [count.hours for count in counts if count.hours is not None]
    # A total that lacks some files is at least so much, however the rest was found.
    is_least = any(count.n_unknown and not (count.estimated and count.hours is not None) for count in counts)
    about = "≥ " if is_least else "≈ " if any(count.estimated for count in counts) else ""
    total = (
        "all",
        f"{sum(count.n_files for count in counts):,}",
        f"{sum(count.n_empty for count in counts):,}",
        size_text(sum(count.size for count in counts)),
        f"{about}{sum(known):,.2f}" if known else "?",
    )
    print_table(("format", "files", "empty", "size", "hours"), [*rows, total])
    if n_unknown := sum(count.n_unknown for count in counts):
        files = "file does not tell its" if n_unknown == 1 else "files do not tell their"
        console.print(f"{n_unknown:,} {files} length in a header: the hours are of the others")
    _print_left_out(scan.left_out)


def _hours(count: FormatCount) -> str:
    if count.hours is None:
        return "?"
    about = "≈ " if count.estimated else "≥ " if count.n_unknown else ""
    return f"{about}{count.hours:,.2f}"


def print_report(report: RunReport, tables: str) -> None:
    """Print what a run came to."""
    counts = report.counts
    before = []
    if counts.labeled_before:
        before.append(f"{counts.labeled_before:,} done before")
    if counts.failed_before:
        before.append(f"{counts.failed_before:,} failed before and not tried again")
    if not counts.labeled and not counts.failed and not counts.left:
        console.print(f"nothing to do: {_tracks(counts.listed)} listed, {', '.join(before)}")
        _print_left_out(report.left_out)
        _print_gone(report)
        return
    verb = "featurized" if report.command == "featurize" else "labeled"
    now = [f"{counts.labeled:,} {verb}", f"{counts.failed:,} failed"]
    console.print(f"{_tracks(counts.listed)} listed: {', '.join(now + before)}")
    if counts.left:
        are = "is" if counts.left == 1 else "are"
        console.print(f"{_tracks(counts.left)} {are} left; run the same command again to go on")
    _print_left_out(report.left_out)
    _print_gone(report)
    if report.tracks_per_hour:
        console.print(f"{report.wall_s:,.1f} s, {report.tracks_per_hour:,.0f} tracks an hour")
    if report.genres:
        console.print("genres: " + ", ".join(f"{genre} {n:,}" for genre, n in report.genres.items()))
    if report.rejected:
        console.print(f"without a genre, no music, below --min-confidence or silent: {report.rejected:,}")
    if report.failures:
        reasons = ", ".join(f"{kind} {n:,}" for kind, n in report.failures.items())
        console.print(f"failures: {reasons} (earmark failures {tables})")
    if report.command != "featurize":
        console.print(f"labels: {storage.join(tables, 'labels')} (earmark labels {tables})")


def _tracks(n: int) -> str:
    return "1 track" if n == 1 else f"{n:,} tracks"


def _print_gone(report: RunReport) -> None:
    if report.counts.gone:
        console.print(f"gone from the catalog, and from the current labels: {report.counts.gone:,}")


def _print_left_out(left_out: LeftOut) -> None:
    if left_out.total:
        console.print(left_out_text(left_out), markup=False)


def print_plan(plan: Plan, left_out: LeftOut) -> None:
    """Print what a run would do."""
    console.print(f"{_tracks(plan.listing.num_rows)} listed")
    _print_left_out(left_out)
    rows = (
        ("labeled before", plan.n_labeled),
        ("failed before, not tried again", plan.n_failed),
        ("to featurize", plan.to_featurize.num_rows),
        ("to label with features that are there", plan.to_label.num_rows),
        ("gone from the catalog", plan.gone.num_rows),
    )
    for name, count in rows:
        console.print(f"  {count:>12,} {name}")
    console.print("nothing was written (--dry-run)")


def print_labels(rows: pa.Table) -> None:
    """Print labels, a track a line."""
    print_table(
        ("genre", "confidence", "segments", "track"),
        (
            (_genre(row), f"{row['confidence']:.2f}", row["n_segments"], row["uri"])
            for row in rows.select(["genre", "style", "confidence", "n_segments", "uri"]).to_pylist()
        ),
    )


def _genre(row: dict[str, Any]) -> str:
    """A label's genre with its style, where it has them."""
    return " / ".join(part for part in (row["genre"], row["style"]) if part) or "–"


def print_failures(rows: pa.Table) -> None:
    """Print failures, a track a line."""
    if not rows.num_rows:
        console.print("no failures")
        return
    print_table(
        ("stage", "error", "attempts", "message"),
        (
            (row["stage"], row["error_type"], row["attempts"], row["message"])
            for row in rows.select(["stage", "error_type", "attempts", "message"]).to_pylist()
        ),
    )


def print_status(status: Status) -> None:
    """Print the state of the tables."""
    console.print(f"catalog: {printable(status.catalog)}")
    console.print(f"tracks: {status.n_tracks:,}")
    if status.models:
        console.print()
        print_table(
            ("model", "labeled", "failed", "left"),
            (
                (state.model, f"{state.labeled:,}", f"{state.failed:,}", f"{state.left:,}")
                for state in status.models
            ),
        )
    if status.failures:
        console.print()
        print_table(("failure", "tracks"), ((kind, f"{n:,}") for kind, n in status.failures.items()))
    console.print()
    print_runs(status.runs)


def print_runs(runs: Sequence[RunReport]) -> None:
    """Print how runs ended, a run a line."""
    print_table(
        ("run", "command", "outcome", "labeled", "failed", "s"),
        (
            (
                run.run,
                run.command,
                run.outcome if run.outcome != "running" else "running or killed",
                f"{run.counts.labeled:,}",
                f"{run.counts.failed:,}",
                f"{run.wall_s:,.1f}",
            )
            for run in runs
        ),
    )


def print_demo(demo: DemoResult) -> None:
    """Print what the demo made, how many labels are right, and what to try next."""
    console.print()
    root = f"{demo.catalog.absolute()}/"
    columns = ["genre", "confidence", "genre_tag", "uri"]
    print_table(
        ("genre", "confidence", "made as", "track"),
        (
            (row["genre"], f"{row['confidence']:.2f}", row["genre_tag"], row["uri"].removeprefix(root))
            for row in demo.labels.select(columns).to_pylist()
        ),
        title=f"{demo.labels.num_rows} labels",
    )
    console.print()
    print_table(
        ("error", "message"),
        (
            (row["error_type"], row["message"].replace(root, ""))
            for row in demo.failures.select(["error_type", "message"]).to_pylist()
        ),
        title=f"{demo.failures.num_rows} failures: the catalog has three broken files on purpose",
    )
    shipped = demo.shipped
    for line in (
        "",
        f"{demo.n_right} of {demo.labels.num_rows} labels are right, on artists that the training did not "
        "hear.",
        "Synthesized audio is easy: expect less of recordings. The model that ships with Earmark was trained",
        f"on ten genres of music from before 2002; {shipped.accuracy:.2f} of {shipped.n} clips are right on "
        "GTZAN's fault-filtered,",
        "artist-aware split, and it takes speech for music. For genres of your own, train as the demo did.",
        "",
        *_next_commands(demo),
    ):
        console.print(line)


def _next_commands(demo: DemoResult) -> list[str]:
    # Under `make demo` the environment is not activated: name the programs so that they can be copied.
    earmark = "earmark" if shutil.which("earmark") else str(Path(sys.argv[0]).parent / "earmark")
    commands = (
        (f"labels {demo.tables}", "the labels again; --format csv, json or parquet"),
        ("run MUSIC TABLES", "your music, with the model that ships"),
        ("train SHELVES --out MODEL", "your genres: SHELVES has a folder of audio for each"),
        ("run MUSIC TABLES --model MODEL", "your music, in your genres"),
    )
    width = max(len(command) for command, _ in commands)
    lines = [f"    {earmark} {command:<{width}}  # {what}" for command, what in commands]
    page = demo.tables / "_runs" / "index.html"
    return [f"The pages of the run start at {page}. Next:", "", *lines]


def print_trials(trials: Sequence[Trial]) -> None:
    """Print the accuracy of each trial, and mean and standard deviation by setting, the best one first."""
    if not trials:
        return
    rows = [
        (
            summary.varied or "as given",
            f"{summary.mean:.3f}" + ("" if summary.std is None else f" ± {summary.std:.3f}"),
            ", ".join(f"{seed}: {right:.3f}" for seed, right in summary.accuracies.items()),
        )
        for summary in summarize(trials)
    ]
    print_table(("setting", "valid accuracy", "by seed"), rows)
    kept = "the best seed of the first; its own figure flatters, the mean is the honest one"
    if len(trials) == len(rows):
        kept = "the first; the best of several flatters, and a single seed does not say how much"
    console.print(f"kept: {kept}")
    console.print()


def print_model(bundle: ModelBundle, folder: Path) -> None:
    """Print what was trained."""
    console.print(f"{bundle.model}: {size_text(len(bundle.weights))} in {folder}")
    for figure in bundle.info.figures:
        console.print(
            f"accuracy {figure.accuracy:.3f} of {figure.n} ({figure.dataset}; protocol {figure.protocol})",
        )
