"""Commands that read and maintain the tables: status, failures, verify, compact, vacuum, …"""

from typing import Annotated, Literal

import typer

from jobs.cli.commands import options as opt
from jobs.console.messages import INTERRUPTED, UNCHECKED, say


def status(
    tables: opt.TablesRoot,
    last: Annotated[int, typer.Option("--last", min=1, max=10**6, help="Number of runs to show.")] = 5,
) -> None:
    """Summarize the tables and the last runs."""
    from jobs.cli.summaries.tables import print_status
    from jobs.read_tables import open_tables, read_status

    print_status(read_status(open_tables(tables), last=last))


def failures(
    tables: opt.TablesRoot,
    model: opt.Model = None,
    output_format: opt.OutputFormat = "table",
    out: opt.Out = None,
) -> None:
    """List the tracks that could not be labeled, and why."""
    from jobs.cli.summaries.tables import print_failures
    from jobs.console.output import write_rows
    from jobs.read_tables import open_tables, read_failures

    rows = read_failures(open_tables(tables), model)
    if output_format == "table" and out is None:
        print_failures(rows)
    else:
        write_rows(rows, output_format, out)


def export_descriptors(
    tables: opt.TablesRoot,
    csv: Annotated[str, typer.Option("--csv", help="File or URI to write.", show_default=False)],
) -> None:
    """Write the descriptors as a CSV like the published one: filename, length, 57 columns, label."""
    from jobs.console.output import check_out, console
    from jobs.export import export_descriptors as export
    from jobs.read_tables import open_tables
    from pipeline.formatting import count_text

    check_out(csv)
    n_rows = export(open_tables(tables), csv)
    console.print(f"{count_text(n_rows, 'row')} written to {csv}")


def verify(
    tables: opt.TablesRoot,
    catalog: Annotated[
        str | None,
        typer.Option(
            "--catalog", help="Also list this catalog and check that every track is labeled or failed."
        ),
    ] = None,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep", help="Read all data of all parts, including log-mels, not only footers and keys."
        ),
    ] = False,
    output_format: Annotated[
        Literal["table", "json"], typer.Option("--format", help="Output format.")
    ] = "table",
) -> None:
    """Check that every track has exactly one label or failure, and that the tables are intact.

    Read only. Exits with 1 if anything is lost, duplicated, damaged or remaining, with 5 if a run that is
    writing to the tables explains all of that, and with 4 if no fault was found but some data could not be
    read.
    """
    from jobs.cli.summaries.maintenance import print_verification
    from jobs.read_tables import open_tables
    from jobs.verify import is_explained, render_json, verify_job
    from schemas.errors import LeaseHeldError, StoreError

    try:
        opened = open_tables(tables)
        verification, busy = verify_job(opened, catalog, deep=deep)
    except StoreError as error:
        again = "; run verify again" if error.transient else ""  # or else the error says what to do first
        say(f"the tables could not be checked: {error}{again}")
        raise typer.Exit(UNCHECKED) from None
    if busy:
        say("a run is writing to the tables, or was killed: some findings may be temporary")
    if output_format == "json":
        typer.echo(render_json(opened, verification, busy=busy))
    else:
        print_verification(verification)
    if verification.faulty:
        if busy and is_explained(opened, verification):
            say("a run is writing to the tables, which explains these faults; verify again when it has ended")
            raise typer.Exit(LeaseHeldError.exit_code)
        raise typer.Exit(1)
    if verification.unchecked:
        raise typer.Exit(UNCHECKED)


def compact(
    tables: opt.TablesRoot,
    older_than: Annotated[
        float,
        typer.Option(
            "--older-than",
            min=0,
            help="Skip partitions that changed in the last DAYS.",
            metavar="DAYS",
        ),
    ] = 1.0,
    target_mb: Annotated[
        int, typer.Option("--target-mb", min=1, max=10**6, help="Approximate size of merged parts, in MiB.")
    ] = 128,
    dry_run: opt.DryRun = False,
) -> None:
    """Merge the small parts of each partition into large ones, with the same rows.

    On a local disk on Linux, a partition changes in one atomic swap: no reader sees a row twice or misses
    one, and a reader that had already listed the old parts fails with an error. On an object store, the
    merged part is written first and the old parts are deleted afterwards: in between, a raw reader may see
    rows twice, while Earmark and the documented SQL, which take the newest row, see each row once. If compact
    is killed, the next compact finishes or undoes the merge.
    """
    from jobs.cli.summaries.maintenance import print_compacted, print_compaction_plan
    from jobs.compact import compact_job, plan_compact_job
    from jobs.read_tables import open_tables

    opened = open_tables(tables)
    if dry_run:
        print_compaction_plan(plan_compact_job(opened, older_than_days=older_than, target_mb=target_mb))
        return
    try:
        done = compact_job(opened, older_than_days=older_than, target_mb=target_mb, say=say)
    except KeyboardInterrupt:
        say("interrupted; merged parts are kept: run the same command again to continue")
        raise typer.Exit(INTERRUPTED) from None
    print_compacted(done)


def vacuum(
    tables: opt.TablesRoot,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete the objects instead of only listing them.")
    ] = False,
    older_than: Annotated[
        float,
        typer.Option(
            "--older-than",
            min=0,
            metavar="DAYS",
            help="Keep everything that changed or was current in the last DAYS.",
        ),
    ] = 7.0,
    unused_feature_sets: Annotated[
        bool, typer.Option("--unused-feature-sets", help="Include features that no model in _models/ takes.")
    ] = False,
    rewrite: Annotated[
        bool,
        typer.Option(
            "--rewrite", help="Include rows of replaced content in parts that also hold current rows."
        ),
    ] = False,
) -> None:
    """List data that no run refers to anymore; with --delete, delete it.

    This covers leftovers of killed writers, features of content that has changed or is gone, models without
    labels, plans and logs of finished runs, and old leases. Labels, failures and the log of tracks are
    always kept.
    """
    from jobs.cli.summaries.maintenance import print_removals
    from jobs.read_tables import open_tables
    from jobs.vacuum import vacuum_job
    from pipeline.tables.maintenance.vacuum import VacuumOptions

    options = VacuumOptions(older_than, unused_feature_sets, rewrite)
    try:
        removals = vacuum_job(open_tables(tables), options, delete=delete, say=say)
    except KeyboardInterrupt:
        say("interrupted; run the same command again to continue")
        raise typer.Exit(INTERRUPTED) from None
    print_removals(removals, deleted=delete)
