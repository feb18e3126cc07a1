"""Commands that make pages and pictures: trends, report, plot, explain."""

from typing import Annotated, Literal

import typer

from jobs.cli.commands import options as opt
from jobs.cli.commands.settings import with_settings
from jobs.console.messages import say
from schemas.config import RunConfig


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
        Literal["shares", "changes", "tags", "disagreements"] | None,
        typer.Option(
            "--show",
            help="Only this table: shares by group, rising and falling genres, genre tags against labels, "
            "or the most confident contradictions of tags. Without it all are printed; to a file go the "
            "shares.",
        ),
    ] = None,
    output_format: opt.OutputFormat = "table",
    out: opt.Out = None,
    html: Annotated[str | None, typer.Option("--html", help="Write a page with charts to this file.")] = None,
) -> None:
    """Say which genres the catalog holds, by year or other groups, and which rise and fall."""
    from jobs.console.output import write_rows
    from jobs.status import open_tables
    from jobs.trends import find_trends, print_trends, rows_to_write, write_trends_page
    from schemas.errors import MisuseError

    if html is not None and html == out:
        raise MisuseError(f"--html and --out both name {out}; the second would replace the first")
    opened = open_tables(tables)
    if html is None:
        found = find_trends(opened, model, by=by, weight=weight, top=top)
    else:
        found = write_trends_page(opened, model, html, by=by, weight=weight, top=top)
        say(f"the page is in {html}")
    if output_format != "table" or out is not None:
        write_rows(rows_to_write(found, show or "shares"), output_format, out)
    elif html is None or show is not None:
        print_trends(found, top=top, show=show)


def report(
    tables: opt.TablesRoot,
    run: Annotated[str | None, typer.Option("--run", help="The run; else the last one.")] = None,
    out: Annotated[
        str | None, typer.Option("--out", help="Write the page to this file or URI, not beside the tables.")
    ] = None,
    list_runs: Annotated[bool, typer.Option("--list", help="List the runs, the last one first.")] = False,
    browse: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Make the page of a run again from its report: counts, time, busy workers, failures, drift."""
    from jobs.cli.summaries.runs import print_runs
    from jobs.console.output import console
    from jobs.status import open_tables
    from pipeline.pages.run_pages import rewrite_page
    from pipeline.tables.runs import read_reports
    from schemas.errors import MisuseError

    if list_runs and (run is not None or out is not None or browse):
        raise MisuseError("--list prints the runs; --run, --out and --open are for the page of one")
    opened = open_tables(tables)
    if list_runs:
        print_runs(list(reversed(read_reports(opened))))
        return
    page = rewrite_page(opened, run, out)
    console.print(page)
    if browse:
        typer.launch(page)


_Track = Annotated[
    str,
    typer.Argument(metavar="TRACK", help="An audio file: a path or a URI (s3://…).", show_default=False),
]
_Segment = Annotated[
    int | None,
    typer.Option("--segment", min=0, help="Number of the segment; else the middle one."),
]


@with_settings("model")
def plot(
    track: _Track,
    out: Annotated[
        str | None,
        typer.Option("--out", help="Page (.html) or picture (.png); else TRACK.html."),
    ] = None,
    *,
    settings: RunConfig,
    segment: _Segment = None,
) -> None:
    """Draw a track: waveform, spectrograms, chroma, tempo and more, and its genres along time."""
    from jobs.console.output import console, printable
    from jobs.plot import default_out, plot_track

    out = out or default_out(track, ".html")
    console.print(plot_track(track, out, settings.model, segment))
    say(f"the pictures are in {printable(out)}")


@with_settings("model")
def explain(
    track: _Track,
    method: Annotated[
        Literal["occlusion", "grad-cam"],
        typer.Option("--method", help="occlusion: the reference; grad-cam: quicker and coarser."),
    ] = "occlusion",
    genre: Annotated[
        str | None, typer.Option("--genre", help="The genre to explain; else the most probable one.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", help="Page (.html), picture (.png) or numbers (.json); else TRACK.explained.html."
        ),
    ] = None,
    *,
    settings: RunConfig,
    segment: _Segment = None,
) -> None:
    """Show which seconds and bands of a track carried the model's decision."""
    from jobs.console.output import console, printable
    from jobs.explain import explain_track
    from jobs.plot import default_out

    out = out or default_out(track, ".explained.html")
    console.print(explain_track(track, out, settings.model, segment, method, genre))
    say(f"the explanation is in {printable(out)}")
