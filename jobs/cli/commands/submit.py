"""The command that submits a run to a cluster's job server."""

import os
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from jobs.console.messages import INTERRUPTED, printable, say
from pipeline.storage import storage
from schemas.errors import MisuseError

if TYPE_CHECKING:
    from jobs.submit import JobServer

_LOCATION = "As for 'earmark run'; a location that the cluster can reach."
_LOCAL = {
    "address": "the job runs on the cluster of its job server",
    "config": "the file is on this machine; give its settings as options",
    "cpus": "the cluster says how many it has",
}
"""Options of ``run`` that make no sense for a submitted one."""
_FOLDERS = {
    "model": "name a model, or give its folder as an absolute path or a URI that the cluster can reach",
    "publish": "give an absolute path or a URI that the cluster can reach",
}
"""Options of ``run`` whose value may be a folder; a relative one would be another on the cluster's head."""


def submit(
    context: typer.Context,
    catalog: Annotated[
        str | None,
        typer.Argument(
            metavar="CATALOG",
            help=_LOCATION,
            show_default=False,
        ),
    ] = None,
    tables: Annotated[
        str | None,
        typer.Argument(
            metavar="TABLES",
            help=_LOCATION,
            show_default=False,
        ),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN-OPTIONS",
            help="Options of run, such as --limit 100; after -- those that submit has too.",
            show_default=False,
        ),
    ] = None,
    address: Annotated[
        str, typer.Option("--address", envvar="RAY_API_SERVER_ADDRESS", help="URL of Ray's job server.")
    ] = "http://127.0.0.1:8265",
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Show the log until the run has ended.")
    ] = True,
    follow: Annotated[
        str | None, typer.Option("--follow", metavar="JOB", help="Only show the log of this job.")
    ] = None,
    stop: Annotated[str | None, typer.Option("--stop", metavar="JOB", help="Only stop this job.")] = None,
) -> None:
    """Run on a Ray cluster through its job server, show the log, and exit with the exit code of the run."""
    from jobs.submit import JobServer, new_job_name

    if (follow or stop) and catalog:
        raise MisuseError("--follow and --stop take the name of a job, and neither CATALOG nor TABLES")
    if follow or stop:
        server = JobServer(address)
        if stop and not server.stop(stop):
            say(f"the job {stop} has already ended")
        if follow:
            _follow(server, follow)
        return
    if catalog is None or tables is None:
        raise MisuseError("submit needs CATALOG and TABLES, or --follow JOB, or --stop JOB")
    _check_options(context, catalog, tables, options or [])
    server = JobServer(address)
    job = new_job_name()
    stopping = _command(server, "--stop", job)
    try:
        server.submit(job, catalog, tables, options or [])
    except KeyboardInterrupt:
        say(f"interrupted; if the job {job} has begun, it goes on: stop it with '{stopping}'")
        raise typer.Exit(INTERRUPTED) from None
    say(f"submitted {job}; stop it with '{stopping}'")
    if wait:
        _follow(server, job)
    else:
        typer.echo(job)


def _command(server: "JobServer", option: str, job: str) -> str:
    """Return the command that does something to a job."""
    from pipeline.formatting import command_text

    return command_text("submit", "--address", server.address, option, job)


def _follow(server: "JobServer", job: str) -> None:
    try:
        code = server.follow(job, lambda line: typer.echo(printable(line.expandtabs())))
    except KeyboardInterrupt:
        following = _command(server, "--follow", job)
        say(f"the job {job} goes on; follow it with '{following}', or stop it with --stop {job}")
        raise typer.Exit(INTERRUPTED) from None
    if code:
        raise typer.Exit(code)


def _check_options(context: typer.Context, catalog: str, tables: str, options: list[str]) -> None:
    """Check the options of the run here, where a mistake is found at once.

    Raises
    ------
    UsageError
        If ``earmark run`` would refuse them.
    MisuseError
        If they make no sense for a submitted run, or stand before the catalog.
    """
    from jobs.run.notification import VARIABLE

    app = context.find_root().command
    assert isinstance(app, TyperGroup)  # noqa: S101 - it has several commands
    given = app.commands["run"].make_context("earmark submit", [catalog, tables, *options])
    if [given.params["catalog"], given.params["tables"]] != [catalog, tables]:
        raise MisuseError("give CATALOG and TABLES first, and then the options of the run")
    if os.environ.get(VARIABLE) and not given.params["notify"]:
        say(
            f"the run notifies as {VARIABLE} says on the cluster's head, not on this machine; to pass on "
            f'this one, add -- --notify "${VARIABLE}", which Ray\'s dashboard shows'
        )
    for name, reason in _LOCAL.items():
        source = given.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise MisuseError(f"--{name} cannot be given to a submitted run: {reason}")
    for name, reason in _FOLDERS.items():
        value = given.params[name]
        if value is not None and storage.is_relative(value) and not (name == "model" and _is_name(value)):
            raise MisuseError(f"--{name} {value} cannot be given to a submitted run: {reason}")


def _is_name(model: str) -> bool:
    """Return whether this is the name of a model or of an ensemble, as opposed to a folder."""
    from pipeline.models.bundle import is_full_name, shipped_models, split_name
    from pipeline.models.model_cache import ADDABLE
    from pipeline.storage.local_kind import local_kind

    is_short = {*(split_name(model) or [model])} <= {*shipped_models(), *ADDABLE}
    # A full name may be that of a model which only the tables keep.
    return is_short or (is_full_name(model) and local_kind(model) is None)
