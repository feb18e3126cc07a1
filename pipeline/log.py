"""Logging: loggers below ``earmark`` whose records carry fields, among them what the code is at work on.

    log = get_logger(__name__)
    with about(track=uri):
        log.warning("store failed, retrying", attempt=2, wait_s=0.5)

The fields of a record are its attribute ``fields``. As a library Earmark prints nothing: add a handler to
``logging.getLogger("earmark")``, or call `logging.basicConfig`, to see them.
"""

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType

from pipeline.redaction import redact

ROOT = "earmark"
"""Name of the logger above all of ours."""

_MOST_CHARACTERS = 20_000
"""Of a field's text that is looked through for secrets; the rest is left out."""
_about: ContextVar[Mapping[str, object]] = ContextVar("about", default=MappingProxyType({}))

logging.getLogger(ROOT).addHandler(logging.NullHandler())


class EventLogger:
    """A logger whose keyword arguments are fields. No secret gets into a record, whoever handles it.

    Parameters
    ----------
    name : str
        Its name in the tree of Python's loggers.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, message: str, **fields: object) -> None:
        """Log what happens to each track."""
        self._log(logging.DEBUG, message, fields)

    def info(self, message: str, **fields: object) -> None:
        """Log what happens to a run, a shard, an actor, or to a track that fails."""
        self._log(logging.INFO, message, fields)

    def warning(self, message: str, **fields: object) -> None:
        """Log what is not as it should be, though the run goes on."""
        self._log(logging.WARNING, message, fields)

    def _log(self, level: int, message: str, fields: Mapping[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            plain = {name: _plain(name, value) for name, value in {**current(), **fields}.items()}
            self._logger.log(level, message, extra={"fields": plain})


def get_logger(module: str) -> EventLogger:
    """Return the logger of a module: ``earmark.`` and its name."""
    return EventLogger(f"{ROOT}.{module}")


@contextlib.contextmanager
def about(**fields: object) -> Iterator[None]:
    """Add fields to what is logged in a ``with`` block, however deep; a thread of its own starts without.

    Not around a ``yield`` of a generator: who iterates over it would log under these fields too.
    """
    token = _about.set({**current(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def current() -> Mapping[str, object]:
    """Return the fields that `about` has set here."""
    return _about.get()


def level() -> int:
    """Return the level from which on records are wanted in this process."""
    return logging.getLogger(ROOT).getEffectiveLevel()


@contextlib.contextmanager
def attached(handler: logging.Handler) -> Iterator[None]:
    """Have a handler get what is logged in a ``with`` block, from its level on."""
    root = logging.getLogger(ROOT)
    before = root.level
    root.addHandler(handler)
    root.setLevel(min(root.getEffectiveLevel(), handler.level))
    try:
        yield
    finally:
        root.setLevel(before)
        root.removeHandler(handler)


def _plain(name: str, value: object) -> object:
    """A field's value as a number, or as text without secrets."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return round(value, 3)
    try:
        text = f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else str(value)
        return redact(text[:_MOST_CHARACTERS], name=name)
    except Exception:  # an exception of somebody's library, whose text cannot be had
        return type(value).__name__
