"""Commands that read and look after the tables: status, failures, verify, compact, vacuum, …"""

from typing import Annotated, Literal

import typer

from jobs.cli.commands import options as opt
from jobs.console.messages import INTERRUPTED, UNCHECKED, say


def status(
    tables: opt.TablesRoot,
    last: Annotated[int, typer.Option("--last", min=1, help="Show this many runs.")] = 5,
) -> None:
    """Say what the tables hold, and how the last runs ended."""
    from jobs.cli.summaries.runs import print_status
    from jobs.status import open_tables
    from jobs.status import status as read_status

    print_status(read_status(open_tables(tables), last=last))


def failures(
    tables: opt.TablesRoot,
    model: opt.Model = None,
    output_format: opt.OutputFormat = "table",
    out: opt.Out = None,
) -> None:
    """List the tracks that could not be labeled, and why."""
    from jobs.cli.summaries.runs import print_failures
    from jobs.console.output import write_rows
    from jobs.status import failures as read_failures
    from jobs.status import open_tables

    rows = read_failures(open_tables(tables), model)
    if output_format == "table" and out is None:
        print_failures(rows)
    else:
        write_rows(rows, output_format, out)


def export_descriptors(
    tables: opt.TablesRoot,
    csv: Annotated[str, typer.Option("--csv", help="File or URI to write.", show_default=False)],
) -> None:
    """Write the descriptors as the published CSV: filename, length, 57 columns, label."""
    from jobs.console.output import console
    from jobs.export import export_descriptors as export
    from jobs.status import open_tables

    n_rows = export(open_tables(tables), csv)
    console.print(f"{n_rows:,} rows in {csv}")


def verify(
    tables: opt.TablesRoot,
    catalog: Annotated[
        str | None,
        typer.Option("--catalog", help="Also list this catalog: each of its tracks must be done."),
    ] = None,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Read all data of all parts, log-mels too, not only footers and keys."),
    ] = False,
    output_format: Annotated[
        Literal["table", "json"], typer.Option("--format", help="How to print.")
    ] = "table",
) -> None:
    """Check that every track ended once, as a label or a failure, and that the tables are sound.

    Only reads. Exits with 1 where something is lost, doubled, damaged, or still to be done, and with 4 where
    none of that was found, but something could not be read.
    """
    from jobs.cli.summaries.maintenance import print_verification
    from jobs.status import open_tables
    from jobs.verify import verification_json, verify_job
    from schemas.errors import StoreError

    try:
        opened = open_tables(tables)
        verification, busy = verify_job(opened, catalog, deep=deep)
    except StoreError as error:
        say(f"the tables could not be checked: {error}; run again")
        raise typer.Exit(UNCHECKED) from None
    if busy:
        say("a run is at work on the tables, or was killed: what is found here may be of a moment")
    if output_format == "json":
        typer.echo(verification_json(opened, verification, busy=busy))
    else:
        print_verification(verification)
    if verification.faulty:
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
            help="Leave partitions alone that changed in the last DAYS.",
            metavar="DAYS",
        ),
    ] = 1.0,
    target_mb: Annotated[
        int, typer.Option("--target-mb", min=1, help="About how large parts are to become.")
    ] = 128,
    dry_run: opt.DryRun = False,
) -> None:
    """Merge the small parts of each partition into large ones, with the same rows.

    On a local disk on Linux a partition changes in one step: no reader sees a row twice or not at all, and
    one that had listed the old parts fails loudly. On object stores the merged part is written first and the
    old ones are removed after: for that moment a raw reader may see rows twice, while Earmark and the
    documented SQL, which take the newest row, see each once. The next compact finishes or undoes what was
    killed.
    """
    from jobs.cli.summaries.maintenance import print_compacted, print_compaction_plan
    from jobs.compact import compact_job, plan_compact_job
    from jobs.status import open_tables

    opened = open_tables(tables)
    if dry_run:
        print_compaction_plan(plan_compact_job(opened, older_than_days=older_than, target_mb=target_mb))
        return
    try:
        done = compact_job(opened, older_than_days=older_than, target_mb=target_mb, say=say)
    except KeyboardInterrupt:
        say("interrupted; what is merged stays merged, run the same command again to go on")
        raise typer.Exit(INTERRUPTED) from None
    print_compacted(done)


def vacuum(
    tables: opt.TablesRoot,
    delete: Annotated[bool, typer.Option("--delete", help="Remove it; else it is only listed.")] = False,
    older_than: Annotated[
        float,
        typer.Option(
            "--older-than", min=0, metavar="DAYS", help="Keep what changed or was current in the last DAYS."
        ),
    ] = 7.0,
    unused_feature_sets: Annotated[
        bool, typer.Option("--unused-feature-sets", help="Also features that no model in _models/ takes.")
    ] = False,
    rewrite: Annotated[
        bool,
        typer.Option("--rewrite", help="Also rows of replaced content in parts that hold current rows too."),
    ] = False,
) -> None:
    """List what no run refers to any more, and remove it with --delete.

    That is what killed writers left, features of content that has changed or gone, models without labels,
    plans of finished runs and old leases. Labels, failures and the log of tracks always stay.
    """
    from jobs.cli.summaries.maintenance import print_removals
    from jobs.status import open_tables
    from jobs.vacuum import vacuum_job
    from pipeline.tables.maintenance.vacuum import VacuumOptions

    options = VacuumOptions(older_than, unused_feature_sets, rewrite)
    try:
        removals = vacuum_job(open_tables(tables), options, delete=delete, say=say)
    except KeyboardInterrupt:
        say("interrupted; run the same command again to go on")
        raise typer.Exit(INTERRUPTED) from None
    print_removals(removals, deleted=delete)
