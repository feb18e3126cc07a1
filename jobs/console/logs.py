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
"""Values that need no quotation marks."""


class TextFormatter(logging.Formatter):
    """A line: time (UTC), level, message, fields as ``name=value``; nothing in it steers a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, without its end."""
        fields = getattr(record, "fields", {})
        pairs = (f"{name}={_quoted(value)}" for name, value in fields.items() if value is not None)
        head = f"{_time(record.created)} {record.levelname.lower()} {record.getMessage()}"
        return printable(" ".join((head, *pairs)))


class JsonFormatter(logging.Formatter):
    """A JSON object a line: ``time`` (UTC), ``level``, ``logger``, ``message``, and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, without its end."""
        said = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        return json_text({**said, **getattr(record, "fields", {}), **said})


FORMATTERS: dict[LogFormat, type[logging.Formatter]] = {"text": TextFormatter, "json": JsonFormatter}


class _StderrHandler(logging.Handler):
    """Writes to what `sys.stderr` is at the moment: a progress bar puts itself in between."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; a stderr that is closed or full ends nothing."""
        try:
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            return


def configure(level: LogLevel, form: LogFormat) -> None:
    """Log to stderr from a level on; again: in place of what was said before."""
    root = logging.getLogger(ROOT)
    for handler in [each for each in root.handlers if isinstance(each, _StderrHandler)]:
        root.removeHandler(handler)
    handler = _StderrHandler(level.upper())
    handler.setFormatter(FORMATTERS[form]())
    root.addHandler(handler)
    root.setLevel(handler.level)
    root.propagate = False  # libraries that set up Python's root logger shall not print ours once more


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _quoted(value: object) -> str:
    text = str(value)
    return text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)
