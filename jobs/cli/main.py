"""The command line. Commands import their jobs when they run, so that ``earmark --help`` is quick."""

import os
import sys
from typing import Annotated

import typer

from jobs.cli.commands import evaluation, labels, models, pages, published, runs, tables
from jobs.cli.hidden_modules import hidden_module
from jobs.cli.log_options import FormatOption, LevelOption, logged
from jobs.console.logs import configure
from jobs.console.messages import say
from schemas.errors import EarmarkError

app = typer.Typer(
    name="earmark",
    help="Label a music catalog by genre, exactly once, at any scale one Ray cluster holds.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"earmark {version('earmark')}")
        raise typer.Exit


@app.callback()
def _earmark(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    log_level: LevelOption = "warning",
    log_format: FormatOption = "text",
) -> None:
    configure(log_level, log_format)


for command in (
    runs.demo,
    runs.scan,
    runs.run,
    runs.featurize,
    runs.label,
    tables.status,
    tables.failures,
    labels.labels,
    labels.ddl,
    tables.export_descriptors,
    tables.verify,
    tables.compact,
    tables.vacuum,
    pages.trends,
    pages.report,
    pages.plot,
    pages.explain,
    models.train,
    evaluation.evaluate,
):
    app.command()(logged(command))
app.add_typer(published.app, name="models")


def main() -> None:
    """Run the command line: one sentence on stderr and an exit code for whatever goes wrong."""
    try:
        app()
    except EarmarkError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    except Exception as error:
        if os.environ.get("EARMARK_DEBUG"):
            raise
        if (hidden := hidden_module()) is not None:
            say(f"error: {hidden}")
            sys.exit(EarmarkError.exit_code)
        say(
            f"internal error: {type(error).__name__}: {error}; what is done stays done. Set EARMARK_DEBUG=1 "
            "to see where it happened, and please report it"
        )
        sys.exit(EarmarkError.exit_code)
