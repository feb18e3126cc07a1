"""Commands that draw pages out of the tables: trends."""

from typing import Annotated, Literal

import typer

from jobs import options as opt
from jobs.messages import say


def trends(
    tables: opt.TablesRoot,
    model: opt.Model = None,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            help="year, month (of release), seen (day first listed), artist, album, folder (the first below "
            "the catalog), or a column of the manifest.",
        ),
    ] = "year",
    weight: Annotated[
        Literal["count", "confidence"],
        typer.Option("--weight", help="What a track counts: one, or its confidence."),
    ] = "count",
    top: Annotated[
        int | None, typer.Option("--top", min=1, help="Only the N groups with most tracks.")
    ] = None,
    show: Annotated[
        Literal["shares", "changes", "tags", "disagreements"],
        typer.Option(
            "--show",
            help="Which table to write: shares by group, rising and falling genres, genre tags against "
            "labels, or the most confident contradictions of tags.",
        ),
    ] = "shares",
    output_format: opt.OutputFormat = "table",
    out: opt.Out = None,
    html: Annotated[str | None, typer.Option("--html", help="Write a page with charts to this file.")] = None,
) -> None:
    """Say which genres the catalog holds, by year or other groups, and which rise and fall."""
    from jobs.show import write_rows
    from jobs.status import open_tables
    from jobs.trends import find_trends, print_trends, rows_to_write, write_trends_page

    opened = open_tables(tables)
    if html is None:
        found = find_trends(opened, model, by=by, weight=weight, top=top)
    else:
        found = write_trends_page(opened, model, html, by=by, weight=weight, top=top)
        say(f"the page is in {html}")
    if output_format != "table" or out is not None:
        write_rows(rows_to_write(found, show), output_format, out)
    elif html is None:
        print_trends(found, top=top)
