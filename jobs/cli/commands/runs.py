"""Commands that run a job over a catalog: demo, scan, run, featurize, label."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.commands import options as opt
from jobs.cli.commands.settings import with_settings
from jobs.console.messages import INTERRUPTED, NOT_PUBLISHED, TOO_MANY_FAILURES, say
from schemas.config import RunConfig
from schemas.errors import EarmarkError

if TYPE_CHECKING:
    from jobs.run.request import Command, Only
    from schemas.report import RunReport


def demo(
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the music, the model and the tables.")
    ] = Path("earmark-demo"),
) -> None:
    """Train a small model on synthesized music, label other pieces with it, and count the correct labels."""
    from jobs.cli.summaries.demo import print_demo
    from jobs.console.output import console
    from jobs.demo import run_demo

    try:
        result = run_demo(out, console.print)
    except KeyboardInterrupt:
        result = None
    if result is None or result.report.outcome == "interrupted":
        say("interrupted; run the same command again to continue")
        raise typer.Exit(INTERRUPTED)
    print_demo(result)


@with_settings("limit")
def scan(
    catalog: opt.Catalog,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", help="Write the listing to this file (.csv, .tsv or .parquet), usable as a manifest."
        ),
    ] = None,
    *,
    settings: RunConfig,
) -> None:
    """Summarize a catalog: files, formats, bytes, hours."""
    from jobs.cli.summaries.runs import print_scan
    from jobs.scan import scan as scan_catalog

    print_scan(scan_catalog(catalog, limit=settings.limit, out=out))


@with_settings(
    "model", "address", "limit", "retry_failed", "descriptors", "segment_labels", "embeddings",
    "min_confidence", "actors", "gpus_per_actor", "batch_size", "cpus", "track_timeout_s", "track_memory_mb",
    "max_failure_rate", "keep_features", "publish", "publish_format", "notify",
    file=True,
)  # fmt: skip
def run(
    catalog: opt.Catalog,
    tables: opt.TablesRoot,
    settings: RunConfig,
    dry_run: opt.DryRun = False,
    catalog_moved: opt.Moved = False,
) -> None:
    """Featurize and label the tracks of a catalog that are new or changed: the nightly command."""
    _run("run", catalog, tables, settings, dry_run=dry_run, moved=catalog_moved)


@with_settings(
    "model", "address", "limit", "retry_failed", "descriptors", "cpus", "track_timeout_s", "track_memory_mb",
    "max_failure_rate", "notify",
    file=True,
)  # fmt: skip
def featurize(
    catalog: opt.Catalog,
    tables: opt.TablesRoot,
    settings: RunConfig,
    only: opt.Only = None,
    dry_run: opt.DryRun = False,
    catalog_moved: opt.Moved = False,
) -> None:
    """Only decode and featurize the tracks that are new or changed, with the features that a model takes."""
    _run("featurize", catalog, tables, settings, dry_run=dry_run, moved=catalog_moved, only=only)


@with_settings(
    "model", "address", "retry_failed", "segment_labels", "embeddings", "min_confidence", "actors",
    "gpus_per_actor", "batch_size", "cpus", "max_failure_rate", "publish",
    "publish_format", "notify",
    file=True,
)  # fmt: skip
def label(tables: opt.TablesRoot, settings: RunConfig, dry_run: opt.DryRun = False) -> None:
    """Only label the tracks that are already featurized; decode nothing."""
    _run("label", None, tables, settings, dry_run=dry_run, moved=False)


def _run(
    command: "Command",
    catalog: str | None,
    tables: str,
    settings: RunConfig,
    *,
    dry_run: bool,
    moved: bool,
    only: "Only | None" = None,
) -> None:
    from jobs.cli.summaries.runs import print_plan, print_report
    from jobs.run.notification import notify_misuse
    from jobs.run.request import list_job, make_job, plan_job
    from jobs.run.run import run_job

    try:
        job = make_job(command, catalog, tables, settings, moved=moved, only=only)
    except EarmarkError as error:
        if not dry_run:
            notify_misuse(command, catalog, tables, settings.notify, error)
        raise
    if job.config.model != settings.model:
        say(
            f"these tables were labeled by '{job.config.model}', the default of 0.1.0, so this run uses it "
            f"too; to label the catalog with the new default, add --model {settings.model}"
        )
    if dry_run:
        listing = list_job(job)
        print_plan(command, plan_job(job, listing), listing.left_out)
        return
    try:
        report = run_job(job, say)
    except KeyboardInterrupt:
        say("interrupted; finished work is kept: run the same command again to continue")
        raise typer.Exit(INTERRUPTED) from None
    print_report(report, tables)
    _end(report, catalog, tables, settings)


def _end(report: "RunReport", catalog: str | None, tables: str, settings: RunConfig) -> None:
    """Say what a run leaves to be done, and end with the exit code of its outcome."""
    from pipeline.formatting import command_text

    if report.command == "run" and report.counts.labeled_before:
        if settings.descriptors:
            command = command_text("featurize", str(catalog), tables, "--only", "descriptors")
            say(
                "tracks labeled before got no descriptors from this run; to compute those that are missing, "
                f"run '{command}'"
            )
        if settings.segment_labels:
            say("tracks labeled before got no segment labels from this run; they keep those they have")
    if report.outcome == "interrupted":
        raise typer.Exit(INTERRUPTED)
    if report.publication_error is not None:
        say(
            f"the labels could not be published to {settings.publish}: {report.publication_error}; the run "
            "itself is complete: run the same command again, or 'earmark publish'"
        )
    if report.counts.too_many_failed(settings.max_failure_rate):
        say(
            f"{report.counts.all_failed:,} of {report.counts.listed:,} tracks have failed, more than "
            f"--max-failure-rate {settings.max_failure_rate:g} allows"
        )
        raise typer.Exit(TOO_MANY_FAILURES)
    if report.publication_error is not None:
        raise typer.Exit(NOT_PUBLISHED)
