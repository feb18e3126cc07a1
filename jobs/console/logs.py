"""The log on stderr, as lines of text or of JSON."""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Literal

from jobs.console.json_text import json_text
from jobs.console.messages import printable
from pipeline.log import ROOT

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]

_BARE = re.compile(r"[^\s\"=\\]+")
"""Values that need no quotes."""


class TextFormatter(logging.Formatter):
    """One line per record: time (UTC), level, message, and fields as ``name=value``, safe for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record, without a line end."""
        fields = getattr(record, "fields", {})
        pairs = (f"{name}={_quote(value)}" for name, value in fields.items() if value is not None)
        head = f"{_format_time(record.created)} {record.levelname.lower()} {record.getMessage()}"
        return printable(" ".join((head, *pairs)))


class JsonFormatter(logging.Formatter):
    """One JSON object per record: ``time`` (UTC), ``level``, ``logger``, ``message``, and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record, without a line end."""
        head = {
            "time": _format_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        return json_text({**head, **getattr(record, "fields", {}), **head})


FORMATTERS: dict[LogFormat, type[logging.Formatter]] = {"text": TextFormatter, "json": JsonFormatter}


class _StderrHandler(logging.Handler):
    """Writes to the current `sys.stderr`, which a progress bar replaces while it is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; ignore a stderr that is closed or full."""
        try:
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            return


def configure(level: LogLevel, form: LogFormat) -> None:
    """Log to stderr from a level on, replacing any earlier configuration."""
    root = logging.getLogger(ROOT)
    for handler in [each for each in root.handlers if isinstance(each, _StderrHandler)]:
        root.removeHandler(handler)
    handler = _StderrHandler(level.upper())
    handler.setFormatter(FORMATTERS[form]())
    root.addHandler(handler)
    root.setLevel(handler.level)
    root.propagate = False  # or a library that configures the root logger prints our records again


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _quote(value: object) -> str:
    text = str(value)
    return text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)
