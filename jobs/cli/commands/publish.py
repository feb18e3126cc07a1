"""The command that publishes the current labels for other tools: publish."""

from typing import Annotated, Literal

import typer

from jobs.cli.commands import options as opt
from jobs.console.messages import INTERRUPTED, say


def publish(
    tables: opt.TablesRoot,
    destination: Annotated[
        str,
        typer.Argument(
            metavar="DEST",
            help="Folder to publish to, or a prefix such as s3://bucket/labels.",
            show_default=False,
        ),
    ],
    output_format: Annotated[
        Literal["delta", "parquet"],
        typer.Option("--format", help="A Delta Lake table, or a folder with one Parquet file."),
    ] = "delta",
    model: opt.Model = None,
    embeddings: Annotated[
        bool | None,
        typer.Option(
            "--embeddings/--no-embeddings",
            help="Whether to publish the mean embedding of each track. Default: as published before.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Publish the current labels as one table: a row for each labeled track, with its tags and properties.

    The first time writes the table; later, only rows that changed since are inserted, updated or deleted, in
    one version, and nothing is written if nothing changed. A publication that was killed left no version
    behind: run the same command again.
    """
    from jobs.cli.summaries.publish import print_publication
    from jobs.publish import publish_job

    try:
        done = publish_job(tables, destination, output_format, model, embeddings=embeddings)
    except KeyboardInterrupt:
        say("interrupted; what is published is complete, of before or of now: run the same command again")
        raise typer.Exit(INTERRUPTED) from None
    print_publication(done)
