"""``--log-level`` and ``--log-format``, accepted before and after the name of a command."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from jobs.console.logs import LogFormat, LogLevel, configure

_LEVEL = "Lowest level to log to stderr. The log file of a run always includes info."
_FORMAT = "Log as text or as JSON, one object per line."

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


def with_log_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the two options to a command; they override those given before its name."""
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
            before = context.find_root().params
            configure(log_level or before["log_level"], log_format or before["log_format"])
        command(**arguments, **({"context": context} if takes_context else {}))

    with_log.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *ours])  # type: ignore[attr-defined]
    return with_log
