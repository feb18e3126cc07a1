"""Commands that make pages and plots: trends, report, plot, explain."""

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
            help="How to group tracks: year, month (of release), seen (day first listed, in UTC), artist, "
            "album, folder (the first below the catalog), or a column of the manifest. The manifest's "
            "columns year, release_date, artist and album count where a file has no such tag. A track by "
            "several artists ('A; B') counts for each of them, and 'A feat. B' is one.",
        ),
    ] = "year",
    weight: Annotated[
        Literal["count", "confidence"],
        typer.Option("--weight", help="Weight of a track: 1, or its confidence."),
    ] = "count",
    top: Annotated[
        int | None, typer.Option("--top", min=1, max=10**9, help="Only the N groups with the most tracks.")
    ] = None,
    show: Annotated[
        Literal["shares", "changes", "tags", "disagreements"] | None,
        typer.Option(
            "--show",
            help="Only this table: shares by group, rising and falling genres, genre tags versus labels, or "
            "the most confident disagreements with tags. Default: print all; write shares to a file.",
        ),
    ] = None,
    output_format: opt.OutputFormat = "table",
    out: opt.Out = None,
    html: Annotated[str | None, typer.Option("--html", help="Write a page with charts to this file.")] = None,
) -> None:
    """Show the shares of genres by year or other groups, and which genres are rising or falling."""
    from jobs.cli.summaries.trends import print_trends
    from jobs.console.output import check_out, write_rows
    from jobs.read_tables import open_tables
    from jobs.trends import find_trends, select_rows, write_trends_page
    from schemas.errors import MisuseError

    if html is not None and html == out:
        raise MisuseError(f"--html and --out both name {out}; choose two different files")
    if html is not None:
        check_out(html)
    opened = open_tables(tables)
    if html is None:
        found = find_trends(opened, model, by=by, weight=weight, top=top)
    else:
        found = write_trends_page(opened, model, html, by=by, weight=weight, top=top)
        say(f"page written to {html}")
    if output_format != "table" or out is not None:
        write_rows(select_rows(found, show or "shares"), output_format, out)
    elif html is None or show is not None:
        print_trends(found, top=top, show=show)


def report(
    tables: opt.TablesRoot,
    run: Annotated[str | None, typer.Option("--run", help="Name of the run. Default: the last one.")] = None,
    out: Annotated[
        str | None, typer.Option("--out", help="Write the page to this file or URI instead of the tables.")
    ] = None,
    list_runs: Annotated[bool, typer.Option("--list", help="List the runs, newest first.")] = False,
    browse: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Render the page of a run again from its report: counts, timing, utilization, failures, drift."""
    from jobs.cli.summaries.tables import print_runs
    from jobs.console.output import check_out, console
    from jobs.read_tables import open_tables
    from pipeline.pages.run_page_writer import rewrite_page
    from pipeline.tables.runs import read_reports
    from schemas.errors import MisuseError

    if list_runs and (run is not None or out is not None or browse):
        raise MisuseError("--list prints the runs; it cannot be combined with --run, --out or --open")
    if out is not None:
        check_out(out)
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
    typer.Option(
        "--segment", min=0, max=10**6, help="Number of the segment, from 0. Default: the middle one."
    ),
]


@with_settings("model")
def plot(
    track: _Track,
    out: Annotated[
        str | None,
        typer.Option("--out", help="Page (.html) or image (.png) to write. Default: TRACK.html."),
    ] = None,
    *,
    settings: RunConfig,
    segment: _Segment = None,
) -> None:
    """Plot a track: waveform, spectrograms, chroma, tempo and more, and its genres over time."""
    from jobs.console.output import console
    from jobs.plot import choose_output, plot_track

    out = out or choose_output(track, ".html")
    console.print(plot_track(track, out, settings.model, segment))
    say(f"plots written to {out}")


@with_settings("model")
def explain(
    track: _Track,
    method: Annotated[
        Literal["occlusion", "grad-cam"],
        typer.Option("--method", help="occlusion: the reference; grad-cam: faster and coarser."),
    ] = "occlusion",
    genre: Annotated[
        str | None, typer.Option("--genre", help="Genre to explain. Default: the most probable one.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            help="Page (.html), image (.png) or numbers (.json) to write. Default: TRACK.explained.html.",
        ),
    ] = None,
    *,
    settings: RunConfig,
    segment: _Segment = None,
) -> None:
    """Show which seconds and frequency bands of a track the model's decision rests on."""
    from jobs.console.output import console
    from jobs.explain import explain_track
    from jobs.plot import choose_output

    out = out or choose_output(track, ".explained.html")
    console.print(explain_track(track, out, settings.model, segment, method, genre))
    say(f"explanation written to {out}")
