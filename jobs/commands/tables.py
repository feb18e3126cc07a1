"""Commands that read and look after the tables: status, failures, labels, export-descriptors."""

from typing import Annotated

import typer

from jobs import options as opt


def status(
    tables: opt.TablesRoot,
    last: Annotated[int, typer.Option("--last", min=1, help="Show this many runs.")] = 5,
) -> None:
    """Say what the tables hold, and how the last runs ended."""
    from jobs.status import open_tables
    from jobs.status import status as read_status
    from jobs.summaries import print_status

    print_status(read_status(open_tables(tables), last=last))


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
