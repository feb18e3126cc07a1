"""The command that removes every trace of some tracks."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.commands import options as opt
from jobs.console.messages import INTERRUPTED, say
from pipeline.storage import storage
from schemas.errors import MisuseError


def purge(
    tables: opt.TablesRoot,
    track_id: Annotated[
        list[str] | None, typer.Option("--track-id", metavar="ID", help="A track. Can be repeated.")
    ] = None,
    uri: Annotated[
        list[str] | None,
        typer.Option(
            "--uri", help="The track at this URI, or at this path below the catalog. Can be repeated."
        ),
    ] = None,
    artist: Annotated[
        list[str] | None,
        typer.Option(
            "--artist",
            metavar="NAME",
            help="All tracks with this artist, alone or one of several, in their tags. Can be repeated.",
        ),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="A text file: one track id, URI or path per line."),
    ] = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove the traces instead of only counting them.")
    ] = False,
) -> None:
    """Count every trace of some tracks in the tables; with --delete, remove it for good.

    This covers their rows in all tables, the index, and what reports, pages, plans and logs of runs say about
    them. Remove the files from the catalog first: the next run labels what it still finds there. Out of reach
    are copies elsewhere: published tables (delete a Delta table, whose log names tracks, and publish again),
    exports, playlists, tags in files, backups, and old versions in a bucket that keeps them.
    """
    from jobs.cli.summaries.maintenance import print_purge
    from jobs.purge import purge_job
    from jobs.read_tables import open_tables
    from pipeline.tables.maintenance.purge.selection import PurgeRequest

    lines = _read_lines(names)
    request = PurgeRequest(
        track_ids=frozenset([*(track_id or []), *lines]),
        uris=frozenset([*(uri or []), *lines]),
        artists=frozenset(artist or []),
    )
    if not (request.track_ids or request.uris or request.artists):
        raise MisuseError("purge needs tracks: give --track-id, --uri, --artist or --from")
    try:
        result = purge_job(open_tables(tables), request, delete=delete, say=say)
    except KeyboardInterrupt:
        say(
            "interrupted; some traces may be left: run the same command again"
            if delete
            else "interrupted; nothing was removed"
        )
        raise typer.Exit(INTERRUPTED) from None
    print_purge(result, deleted=delete)


def _read_lines(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise MisuseError(f"cannot read {path}: {storage.reason(error)}") from error
    except UnicodeDecodeError as error:
        raise MisuseError(f"cannot read {path}: it is not text in UTF-8") from error
    # Names may begin or end with a space, and hold other line ends than these, which reading makes one.
    return [line for line in text.split("\n") if line.strip()]
