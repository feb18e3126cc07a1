"""The command that finds similar tracks: similar."""

import contextlib
from pathlib import PurePosixPath
from typing import Annotated, Literal

import typer

from jobs.cli.commands import options as opt
from jobs.console.formats import Format


def similar(
    track: Annotated[
        str,
        typer.Argument(
            metavar="TRACK",
            help="A track of the catalog (its id, uri, or path below the catalog), or any other audio file.",
            show_default=False,
        ),
    ],
    tables: opt.TablesRoot,
    n: Annotated[int, typer.Option("--n", min=1, max=10**9, help="Number of tracks to list.")] = 10,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Name or folder of the model whose embeddings are compared. Default: the one of the latest "
            "embeddings.",
        ),
    ] = None,
    output_format: Annotated[
        Literal[Format, "m3u"],
        typer.Option("--format", help="Output format; m3u is a playlist."),
    ] = "table",
    out: opt.Out = None,
) -> None:
    """List the tracks of the catalog that sound most like a track, by their embeddings."""
    from jobs.cli.summaries.similar import print_similar
    from jobs.console.messages import say
    from jobs.console.output import write_rows
    from jobs.console.progress import Meter, show_progress
    from jobs.playlists import is_playlist, write_playlist
    from jobs.read_tables import open_tables
    from jobs.similar import find_similar
    from pipeline.formatting import command_text
    from pipeline.tables.runs import last_catalog

    opened = open_tables(tables)
    meters: list[Meter] = []
    with contextlib.ExitStack() as stack:

        def watch(done: int, total: int) -> None:
            if not meters:
                meters.append(stack.enter_context(show_progress("reading embeddings", total, unit="parts")))
            meters[0].show(done)

        found = find_similar(opened, track, n, model, watch, say)
    rows = found.rows
    say(f"compared by the embeddings of {found.model}")
    if rows.num_rows < n:
        command = command_text("run", "CATALOG", tables, "--embeddings")
        say(
            "other tracks of the catalog with sound and an embedding of their present version: "
            f"{rows.num_rows:,}; '{command}' embeds those that lack it"
        )
    if output_format == "m3u" or (output_format == "table" and is_playlist(out)):
        write_playlist(f"Similar to {PurePosixPath(track).stem}", rows, out, last_catalog(opened))
    elif output_format == "table" and out is None:
        print_similar(rows, opened)
    else:
        write_rows(rows, output_format, out)
