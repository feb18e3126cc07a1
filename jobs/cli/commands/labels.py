"""Commands that export labels: labels, ddl."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from jobs.cli.commands import options as opt
from jobs.console.formats import Format
from jobs.console.messages import say

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.tables.tables import Tables


def labels(
    tables: opt.TablesRoot,
    model: opt.Model = None,
    genre: Annotated[str | None, typer.Option("--genre", help="Only tracks of this genre.")] = None,
    style: Annotated[
        str | None, typer.Option("--style", help="Only tracks of this style, such as techno.")
    ] = None,
    among: Annotated[
        list[str] | None,
        typer.Option(
            "--among",
            metavar="GENRE",
            help="Choose the genre of each track among those named so, not among all of the model's genres. "
            "Can be repeated.",
        ),
    ] = None,
    min_confidence: Annotated[
        float,
        typer.Option("--min-confidence", min=0, max=1, help="Only labels with at least this confidence."),
    ] = 0.0,
    output_format: Annotated[
        Literal[Format, "m3u"],
        typer.Option(
            "--format", help="Output format; m3u writes a playlist for each genre to the folder --out."
        ),
    ] = "table",
    out: opt.Out = None,
    write_tags: Annotated[
        str | None,
        typer.Option(
            "--write-tags",
            metavar="DIR",
            help="Write copies of the tracks, with the genre in their tags, to this folder. Without --yes, "
            "only print what would be written.",
        ),
    ] = None,
    in_place: Annotated[
        bool,
        typer.Option(
            "--in-place",
            help="Write the genre into the tracks themselves (with --yes). They then count as changed, so "
            "the next run labels them again.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Write the tags.")] = False,
) -> None:
    """Print the current labels: for each track in the catalog, the newest label of its present content."""
    from jobs.cli.summaries.labels import print_labels
    from jobs.console.output import write_rows
    from jobs.read_tables import open_tables, read_labels

    _check_output(output_format, out, write_tags, in_place=in_place, yes=yes)
    opened = open_tables(tables)
    rows = read_labels(
        opened, model, genre=genre, style=style, among=among or (), min_confidence=min_confidence
    )
    if write_tags is not None or in_place:
        _write_tags(opened, rows, write_tags, yes=yes)
    elif output_format == "m3u":
        _write_playlists(opened, rows, str(out))
    elif output_format == "table" and out is None:
        print_labels(rows)
    else:
        write_rows(rows, output_format, out)


def _check_output(
    output_format: str, out: str | None, folder: str | None, *, in_place: bool, yes: bool
) -> None:
    """Refuse options that contradict each other, and folders that are none."""
    from jobs.console.output import check_place
    from jobs.playlists import is_playlist
    from schemas.errors import MisuseError

    if folder is not None:
        check_place(folder)
        if in_place:
            raise MisuseError(
                "--write-tags DIR writes copies and --in-place changes the tracks themselves; choose one"
            )
    tags = folder is not None or in_place
    if yes and not tags:
        raise MisuseError("--yes writes tags; add --write-tags DIR or --in-place to choose where")
    if tags and (output_format != "table" or out is not None):
        raise MisuseError("--format and --out cannot be combined with --write-tags or --in-place")
    if output_format == "m3u" and out is None:
        raise MisuseError("--format m3u writes several files; name a folder for them with --out")
    if output_format == "table" and is_playlist(out):
        raise MisuseError(
            f"{out} is one playlist, but there is one for each genre: add --format m3u and name a folder"
        )


def _write_playlists(tables: "Tables", rows: "pa.Table", folder: str) -> None:
    from jobs.cli.summaries.labels import print_playlists
    from jobs.playlists import add_track_columns, write_playlists
    from pipeline.tables.runs import last_catalog

    written = write_playlists(add_track_columns(tables, rows), folder, last_catalog(tables))
    if not written:
        say("no track has such a label, so no playlist was written")
        return
    print_playlists(written)


def _write_tags(tables: "Tables", rows: "pa.Table", folder: str | None, *, yes: bool) -> None:
    from jobs.cli.summaries.labels import print_taggings
    from jobs.playlists import add_track_columns
    from jobs.write_tags import check_all, plan_copies, plan_in_place, write_all
    from pipeline.tables.runs import last_catalog
    from schemas.errors import EarmarkError

    facts = add_track_columns(tables, rows)
    plan = plan_in_place(facts) if folder is None else plan_copies(facts, last_catalog(tables), Path(folder))
    plan = (write_all if yes else check_all)(plan, lambda done: say(f"{done:,} of {len(plan):,} files"))
    print_taggings(plan)
    if not yes:
        say("nothing was written; add --yes to write the tags")
        return
    if folder is None and any(each.outcome == "written" for each in plan):
        say("the written files count as changed: the next run decodes and labels them again")
    if failed := sum(each.outcome == "failed" for each in plan):
        others = "; all others are done" if failed < len(plan) else ""
        raise EarmarkError(f"{failed:,} of {len(plan):,} files could not be written{others}")


def ddl(
    tables: opt.TablesRoot,
    dialect: Annotated[
        Literal["duckdb", "spark", "athena"], typer.Option("--dialect", help="SQL dialect.")
    ] = "duckdb",
) -> None:
    """Print SQL with which DuckDB, Spark or Athena can read the tables and the current labels."""
    from jobs.read_tables import open_tables
    from pipeline.tables.ddl import generate_ddl

    sql = generate_ddl(open_tables(tables), dialect)
    if not sql:
        say(f"the tables {tables} have no rows yet, so there is no SQL to read them with")
    sys.stdout.write(sql)
