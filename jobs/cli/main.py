"""The command line. Commands import their jobs when they run, which keeps ``earmark --help`` fast."""

import contextlib
import functools
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Annotated, Any

import typer

from jobs.cli.bad_values import Command, Group
from jobs.cli.commands import (
    estimate,
    evaluation,
    labels,
    models,
    pages,
    publish,
    purge,
    runs,
    similar,
    submit,
    tables,
    training,
)
from jobs.cli.log_options import FormatOption, LevelOption, with_log_options
from jobs.cli.shadowed_modules import describe_hidden_module
from jobs.console.logs import configure
from jobs.console.messages import INTERRUPTED, say
from jobs.console.streams import flush_output, prepare_streams
from pipeline.models.tensorflow_setup import use_only_our_keras
from schemas.errors import EarmarkError

app = typer.Typer(
    name="earmark",
    cls=Group,
    help="Label every track of a music catalog by genre, exactly once, on one machine or a Ray cluster.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        from pipeline.package_versions import package_version

        typer.echo(f"earmark {package_version('earmark')}")
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
    use_only_our_keras()


def _say_interrupted(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command that says nothing of its own about an interruption end as the others do."""

    @functools.wraps(command)
    def ending(**arguments: Any) -> None:
        try:
            command(**arguments)
        except KeyboardInterrupt:
            say("interrupted")
            raise typer.Exit(INTERRUPTED) from None

    return ending


for command in (
    runs.demo,
    runs.scan,
    estimate.estimate,
    runs.run,
    runs.featurize,
    runs.label,
    submit.submit,
    tables.status,
    tables.failures,
    labels.labels,
    labels.ddl,
    publish.publish,
    similar.similar,
    tables.export_descriptors,
    tables.verify,
    tables.compact,
    tables.vacuum,
    purge.purge,
    pages.trends,
    pages.report,
    pages.plot,
    pages.explain,
    training.train,
    evaluation.evaluate,
):
    # What `submit` does not know are options of the run.
    passes_on = {"ignore_unknown_options": command is submit.submit}
    app.command(cls=Command, context_settings=passes_on)(_say_interrupted(with_log_options(command)))

models_app = typer.Typer(cls=Group, help="List the models, or add a published one.", rich_markup_mode=None)
models_app.callback(invoke_without_command=True)(_say_interrupted(with_log_options(models.models)))
models_app.command(cls=Command)(_say_interrupted(with_log_options(models.add)))
app.add_typer(models_app, name="models")


def main() -> None:
    """Run the command line; on an error, print one sentence to stderr and exit with its code."""
    prepare_streams()
    with _interrupts() as interrupts:
        try:
            try:
                app()
            finally:
                flush_output()
        except EarmarkError as error:
            say(f"error: {error}")
            sys.exit(error.exit_code)
        except Exception as error:
            if os.environ.get("EARMARK_DEBUG"):
                raise
            if interrupts:
                say("interrupted")
                sys.exit(INTERRUPTED)
            if isinstance(error, UnicodeEncodeError) and _SURROGATE.search(error.object[error.start :]):
                say(f"error: {_describe_not_utf8(error)}")
                sys.exit(EarmarkError.exit_code)
            if (hidden := describe_hidden_module()) is not None:
                say(f"error: {hidden}")
                sys.exit(EarmarkError.exit_code)
            say(
                f"internal error: {type(error).__name__}: {error}; finished work is kept. Set "
                "EARMARK_DEBUG=1 to see the traceback, and please report it"
            )
            sys.exit(EarmarkError.exit_code)


_SURROGATE = re.compile("[\ud800-\udfff]")
"""What a byte becomes that is not valid UTF-8 in a name."""


def _describe_not_utf8(error: UnicodeEncodeError) -> str:
    """Return a sentence about a name that a library, such as DuckDB or Ray, cannot take."""
    around = error.object[max(0, error.start - _SHOWN_CHARACTERS) : error.end + _SHOWN_CHARACTERS]
    return f"a name is not valid UTF-8, which a library cannot take: {around}; rename the file or folder"


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Let SIGTERM and SIGHUP interrupt a command as Ctrl-C does, so that it removes its temporary files.

    What is yielded notes each signal: native code that is interrupted, such as TensorFlow's, may raise
    another error. Signals that are ignored, as by nohup, remain so.
    """
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        first = not noted
        noted.append(number)
        if first or number == signal.SIGINT:  # a second SIGTERM must not disturb the cleanup
            raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    ours = [number for number, handler in before.items() if handler in _DEFAULTS]
    for number in ours:
        signal.signal(number, note)
    try:
        yield noted
    finally:
        for number in ours:
            signal.signal(number, before[number])


_SHOWN_CHARACTERS = 100
_DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)
