"""``--log-level`` and ``--log-format``: options of the whole command line, before a command or after it."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from jobs.console.logs import LogFormat, LogLevel, configure

_LEVEL = "Log to stderr from this level on. The log file beside a run's report holds info in any case."
_FORMAT = "Log as lines of text, or as JSON, an object a line."

LevelOption = Annotated[
    LogLevel,
    typer.Option("--log-level", envvar="EARMARK_LOG_LEVEL", case_sensitive=False, help=_LEVEL),
]
FormatOption = Annotated[
    LogFormat,
    typer.Option("--log-format", envvar="EARMARK_LOG_FORMAT", case_sensitive=False, help=_FORMAT),
]
_OPTIONS = {
    "log_level": Annotated[
        LogLevel | None, typer.Option("--log-level", case_sensitive=False, help=_LEVEL, show_default=False)
    ],
    "log_format": Annotated[
        LogFormat | None, typer.Option("--log-format", case_sensitive=False, help=_FORMAT, show_default=False)
    ],
    "context": typer.Context,
}


def logged(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that has the two options too; they win over those before the command."""
    signature = inspect.signature(command)
    takes_context = "context" in signature.parameters
    ours = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _OPTIONS.items()
        if name not in signature.parameters
    ]

    @functools.wraps(command)
    def with_log(
        *, log_level: LogLevel | None, log_format: LogFormat | None, context: typer.Context, **arguments: Any
    ) -> None:
        if log_level or log_format:
            before = context.find_root().params if context.parent is not None else {}
            configure(log_level or before["log_level"], log_format or before["log_format"])
        command(**arguments, **({"context": context} if takes_context else {}))

    with_log.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *ours])  # type: ignore[attr-defined]
    return with_log
