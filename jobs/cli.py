"""The command line. Commands import their jobs when they run, so that ``earmark --help`` is quick."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs import options as opt
from schemas.config import RunConfig
from schemas.errors import EarmarkError

INTERRUPTED = 130
TOO_MANY_FAILURES = 3

app = typer.Typer(
    name="earmark",
    help="Label a music catalog by genre, exactly once, at any scale one Ray cluster holds.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"earmark {version('earmark')}")
        raise typer.Exit


@app.callback()
def _earmark(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the catalog and the tables.")] = Path(
        "earmark-demo"
    ),
) -> None:
    """Make a small catalog, label it, and print labels and failures."""
    from jobs.demo import run_demo
    from jobs.show import console
    from jobs.summaries import print_demo

    result = run_demo(out, lambda sentence: console.print(sentence, markup=False))
    if result.report.outcome == "interrupted":
        raise typer.Exit(INTERRUPTED)
    print_demo(result)


@app.command()
def scan(
    catalog: opt.Catalog,
    out: Annotated[
        str | None, typer.Option("--out", help="Write the listing there (.csv or .parquet): a manifest.")
    ] = None,
    limit: opt.Limit = None,
) -> None:
    """Say what is there: counts, formats, bytes, hours."""
    from jobs.scan import scan as scan_catalog
    from jobs.summaries import print_formats

    print_formats(scan_catalog(catalog, limit=limit, out=out))


@app.command()
def run(
    catalog: opt.Catalog,
    tables: opt.TablesRoot,
    config: opt.Config = None,
    model: opt.Model = None,
    address: opt.Address = None,
    limit: opt.Limit = None,
    dry_run: opt.DryRun = False,
    retry_failed: opt.RetryFailed = None,
    descriptors: opt.Descriptors = None,
    segment_labels: opt.SegmentLabels = None,
    actors: opt.Actors = None,
    gpus_per_actor: opt.GpusPerActor = None,
    batch_size: opt.BatchSize = None,
    cpus: opt.Cpus = None,
    track_timeout: opt.TrackTimeout = None,
    max_failure_rate: opt.MaxFailureRate = None,
    catalog_moved: opt.Moved = False,
) -> None:
    """Featurize and label what is new or changed in a catalog: the nightly command."""
    settings = RunConfig.load(
        config, model=model, address=address, limit=limit, retry_failed=retry_failed, descriptors=descriptors,
        segment_labels=segment_labels, actors=actors, gpus_per_actor=gpus_per_actor, batch_size=batch_size,
        cpus=cpus, track_timeout_s=track_timeout, max_failure_rate=max_failure_rate,
    )  # fmt: skip
    _run("run", catalog, tables, settings, dry_run=dry_run, moved=catalog_moved)


@app.command()
def featurize(
    catalog: opt.Catalog,
    tables: opt.TablesRoot,
    config: opt.Config = None,
    model: opt.Model = None,
    address: opt.Address = None,
    limit: opt.Limit = None,
    dry_run: opt.DryRun = False,
    retry_failed: opt.RetryFailed = None,
    descriptors: opt.Descriptors = None,
    only: opt.Only = None,
    cpus: opt.Cpus = None,
    track_timeout: opt.TrackTimeout = None,
    max_failure_rate: opt.MaxFailureRate = None,
    catalog_moved: opt.Moved = False,
) -> None:
    """Only decode and featurize what is new or changed, for the features that a model takes."""
    settings = RunConfig.load(
        config, model=model, address=address, limit=limit, retry_failed=retry_failed, descriptors=descriptors,
        cpus=cpus, track_timeout_s=track_timeout, max_failure_rate=max_failure_rate,
    )  # fmt: skip
    _run("featurize", catalog, tables, settings, dry_run=dry_run, moved=catalog_moved, only=only)


@app.command()
def label(
    tables: opt.TablesRoot,
    config: opt.Config = None,
    model: opt.Model = None,
    address: opt.Address = None,
    dry_run: opt.DryRun = False,
    retry_failed: opt.RetryFailed = None,
    segment_labels: opt.SegmentLabels = None,
    actors: opt.Actors = None,
    gpus_per_actor: opt.GpusPerActor = None,
    batch_size: opt.BatchSize = None,
    cpus: opt.Cpus = None,
    max_failure_rate: opt.MaxFailureRate = None,
) -> None:
    """Only label what is featurized already; nothing is decoded."""
    settings = RunConfig.load(
        config, model=model, address=address, retry_failed=retry_failed, segment_labels=segment_labels,
        actors=actors, gpus_per_actor=gpus_per_actor, batch_size=batch_size, cpus=cpus,
        max_failure_rate=max_failure_rate,
    )  # fmt: skip
    _run("label", None, tables, settings, dry_run=dry_run, moved=False)


def _run(
    command: Any,
    catalog: str | None,
    tables: str,
    settings: RunConfig,
    *,
    dry_run: bool,
    moved: bool,
    only: Any = None,
) -> None:
    from jobs.job import list_job, make_job, plan_job
    from jobs.run import run_job
    from jobs.summaries import print_plan, print_report

    job = make_job(command, catalog, tables, settings, moved=moved, only=only)
    if dry_run:
        print_plan(plan_job(job, list_job(job)))
        return
    try:
        report = run_job(job, _say)
    except KeyboardInterrupt:
        _say("interrupted; what is done stays done, run the same command again to go on")
        raise typer.Exit(INTERRUPTED) from None
    print_report(report, tables)
    if (
        command == "run"
        and report.counts.labelled_before
        and (settings.descriptors or settings.segment_labels)
    ):
        _say(
            "descriptors and segment labels were made of what this run labelled; for what was labelled "
            f"before, 'earmark featurize {catalog} {tables} --only descriptors' makes the descriptors"
        )
    if report.outcome == "interrupted":
        raise typer.Exit(INTERRUPTED)
    failed = report.counts.failed + report.counts.failed_before
    if failed > settings.max_failure_rate * report.counts.listed:
        _say(
            f"{failed} of {report.counts.listed} tracks have failed, more than --max-failure-rate "
            f"{settings.max_failure_rate:g} allows"
        )
        raise typer.Exit(TOO_MANY_FAILURES)


@app.command()
def status(
    tables: opt.TablesRoot,
    last: Annotated[int, typer.Option("--last", min=1, help="Show this many runs.")] = 5,
) -> None:
    """Say what the tables hold, and how the last runs ended."""
    from jobs.status import open_tables
    from jobs.status import status as read_status
    from jobs.summaries import print_status

    print_status(read_status(open_tables(tables), last=last))


@app.command()
def failures(
    tables: opt.TablesRoot,
    model: opt.Model = None,
    output_format: opt.OutputFormat = "table",
    out: opt.Out = None,
) -> None:
    """List the tracks that could not be labelled, and why."""
    from jobs.show import write_rows
    from jobs.status import failures as read_failures
    from jobs.status import open_tables
    from jobs.summaries import print_failures

    rows = read_failures(open_tables(tables), model)
    if output_format == "table" and out is None:
        print_failures(rows)
    else:
        write_rows(rows, output_format, out)


@app.command()
def labels(
    tables: opt.TablesRoot,
    model: opt.Model = None,
    genre: Annotated[str | None, typer.Option("--genre", help="Only tracks of this genre.")] = None,
    min_confidence: Annotated[
        float, typer.Option("--min-confidence", min=0, max=1, help="Only labels at least this sure.")
    ] = 0.0,
    output_format: opt.OutputFormat = "table",
    out: opt.Out = None,
) -> None:
    """Print the current labels: of each track in the catalog the newest one of its present content."""
    from jobs.show import write_rows
    from jobs.status import labels as read_labels
    from jobs.status import open_tables
    from jobs.summaries import print_labels

    rows = read_labels(open_tables(tables), model, genre=genre, min_confidence=min_confidence)
    if output_format == "table" and out is None:
        print_labels(rows)
    else:
        write_rows(rows, output_format, out)


@app.command()
def export_descriptors(
    tables: opt.TablesRoot,
    csv: Annotated[str, typer.Option("--csv", help="File or URI to write.", show_default=False)],
) -> None:
    """Write the descriptors as the published CSV: filename, length, 57 columns, label."""
    from jobs.export import export_descriptors as export
    from jobs.show import console
    from jobs.status import open_tables

    n_rows = export(open_tables(tables), csv)
    console.print(f"{n_rows:,} rows in {csv}", markup=False)


@app.command()
def train(
    data: Annotated[str, typer.Argument(help="Labelled log-mels (.npz).", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder of the model to make.", show_default=False)],
    arch: Annotated[str, typer.Option("--arch", help="Architecture: cnn.")] = "cnn",
    split: Annotated[
        str, typer.Option("--split", help="segment (leaks), track, or file:TRAIN.txt,VALID.txt.")
    ] = "track",
    epochs: Annotated[int | None, typer.Option("--epochs", help="Passes over the training tracks.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything random.")] = 0,
    name: Annotated[str | None, typer.Option("--name", help="Name of the model; else the folder's.")] = None,
    threads: Annotated[int, typer.Option("--threads", help="CPU threads of TensorFlow.")] = 2,
) -> None:
    """Train a model on labelled data."""
    from jobs.summaries import print_model
    from jobs.train import train_job

    options = {} if epochs is None else {"epochs": epochs}
    bundle = train_job(
        data,
        str(out),
        arch=arch,
        split=split,
        seed=seed,
        name=name,
        threads=threads,
        on_epoch=_show_epoch,
        **options,
    )
    print_model(bundle, out)


def _show_epoch(epoch: Any) -> None:
    print(epoch, file=sys.stderr, flush=True)


def _say(sentence: str) -> None:
    print(f"earmark: {sentence}", file=sys.stderr, flush=True)


def main() -> None:
    """Run the command line: one sentence on stderr and an exit code for whatever goes wrong."""
    try:
        app()
    except EarmarkError as error:
        _say(f"error: {error}")
        sys.exit(error.exit_code)
    except Exception as error:
        if os.environ.get("EARMARK_DEBUG"):
            raise
        _say(
            f"internal error: {type(error).__name__}: {error}; what is done stays done. Set EARMARK_DEBUG=1 "
            "to see where it happened, and please report it"
        )
        sys.exit(EarmarkError.exit_code)
