"""Logging: loggers below ``earmark`` whose records carry fields, such as the current track.

    log = get_logger(__name__)
    with about(track=uri):
        log.warning("store failed, retrying", attempt=2, wait_s=0.5)

The fields of a record are its attribute ``fields``. As a library, Earmark prints nothing: add a handler to
``logging.getLogger("earmark")``, or call `logging.basicConfig`, to see them.
"""

import contextlib
import logging
import math
import threading
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType

from pipeline.redaction import redact

ROOT = "earmark"
"""Name of the parent of all our loggers."""

_MOST_CHARACTERS = 20_000
"""Maximum length of a field; the rest is dropped before the search for secrets."""
_about: ContextVar[Mapping[str, object]] = ContextVar("about", default=MappingProxyType({}))

logging.getLogger(ROOT).addHandler(logging.NullHandler())


class EventLogger:
    """A logger whose keyword arguments become fields, with secrets removed before any handler sees them.

    Parameters
    ----------
    name : str
        Full name of the Python logger.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, message: str, **fields: object) -> None:
        """Log an event of a single track."""
        self._log(logging.DEBUG, message, fields)

    def info(self, message: str, **fields: object) -> None:
        """Log an event of a run, a shard or an actor, or the failure of a track."""
        self._log(logging.INFO, message, fields)

    def warning(self, message: str, **fields: object) -> None:
        """Log a problem that does not end the run."""
        self._log(logging.WARNING, message, fields)

    def _log(self, level: int, message: str, fields: Mapping[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            plain = {name: _to_plain(name, value) for name, value in {**current(), **fields}.items()}
            self._logger.log(level, message, extra={"fields": plain})


def get_logger(module: str) -> EventLogger:
    """Return the logger ``earmark.<module>``."""
    return EventLogger(f"{ROOT}.{module}")


@contextlib.contextmanager
def about(**fields: object) -> Iterator[None]:
    """Add fields to everything that is logged during a ``with`` block; new threads start without them.

    Do not use it around a ``yield``: the caller of the generator would log with these fields too.
    """
    token = _about.set({**current(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def current() -> Mapping[str, object]:
    """Return the fields that `about` has set."""
    return _about.get()


def level() -> int:
    """Return the lowest level that is logged in this process."""
    return logging.getLogger(ROOT).getEffectiveLevel()


@contextlib.contextmanager
def attach_handler(handler: logging.Handler) -> Iterator[None]:
    """Attach a handler during a ``with`` block, from its level on. Blocks of several threads may overlap."""
    _attached.attach(handler)
    try:
        yield
    finally:
        _attached.detach(handler)


class _Attached:
    """The attached handlers; the level of our loggers is low enough for all of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handlers: list[logging.Handler] = []
        self._level_before = logging.NOTSET

    def attach(self, handler: logging.Handler) -> None:
        root = logging.getLogger(ROOT)
        with self._lock:
            if not self._handlers:
                self._level_before = root.level
            self._handlers.append(handler)
            root.addHandler(handler)
            root.setLevel(min(root.getEffectiveLevel(), handler.level))

    def detach(self, handler: logging.Handler) -> None:
        root = logging.getLogger(ROOT)
        with self._lock:
            self._handlers.remove(handler)
            root.removeHandler(handler)
            root.setLevel(self._level_before)
            for other in self._handlers:
                root.setLevel(min(root.getEffectiveLevel(), other.level))


_attached = _Attached()


def _to_plain(name: str, value: object) -> object:
    """Return the value of a field as a number, or as text without secrets."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return round(value, 3)
    try:
        text = f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else str(value)
        return redact(text[:_MOST_CHARACTERS], name=name)
    except Exception:  # the __str__ of a foreign object may fail
        return type(value).__name__
