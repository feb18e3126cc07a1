"""Events: log records of bounded size that can be sent between processes and written to a file."""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from pipeline.log import ROOT, attach_handler, current

MOST_EVENTS = 200
"""Maximum number of warnings to keep for one task, and of other events."""
_MOST_CHARACTERS = 1000
"""Maximum length of a text; errors of libraries can be very long."""
_recording: ContextVar[tuple["EventBuffer", ...]] = ContextVar("recording", default=())


@dataclass(frozen=True, slots=True)
class Event:
    """A logged event.

    Attributes
    ----------
    time : float
        Seconds since the epoch.
    level : int
        Level, as in `logging`.
    logger, message : str
    fields : mapping of str to str, number, bool or None
    """

    time: float
    level: int
    logger: str
    message: str
    fields: Mapping[str, object]

    @classmethod
    def of(cls, record: logging.LogRecord) -> "Event":
        """Convert a record, truncating long texts."""
        fields: Mapping[str, object] = getattr(record, "fields", {})
        cut = {name: _cut(value) if isinstance(value, str) else value for name, value in fields.items()}
        return cls(record.created, record.levelno, record.name, _cut(record.getMessage()), cut)


class EventBuffer(logging.Handler):
    """Keeps the newest events; lower levels do not displace warnings.

    Parameters
    ----------
    level : int
        Lowest level to keep.
    most : int
        Maximum number of warnings and errors, and of other events.
    """

    def __init__(self, level: int, most: int = MOST_EVENTS) -> None:
        super().__init__(level)
        self._kept: dict[bool, deque[tuple[int, Event]]] = {
            grave: deque(maxlen=most) for grave in (False, True)
        }
        self.n_events = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self._kept[record.levelno >= logging.WARNING].append((self.n_events, Event.of(record)))
        self.n_events += 1

    def events(self) -> tuple[Event, ...]:
        """Return the kept events in order; if any were dropped, the first event says how many."""
        self.acquire()
        try:
            kept = sorted((*self._kept[False], *self._kept[True]), key=lambda numbered: numbered[0])
            n_dropped = self.n_events - len(kept)
        finally:
            self.release()
        events = tuple(event for _, event in kept)
        if not n_dropped:
            return events
        at = min((event.time for event in events), default=0.0)
        return Event(at, logging.INFO, ROOT, "earlier lines were dropped", {"lines": n_dropped}), *events


@contextmanager
def record_events(level: int) -> Iterator[EventBuffer]:
    """Keep what is logged during a ``with`` block, from a level on.

    Of other threads, only what runs in a copy of the block's context (`contextvars.copy_context`) is kept: an
    actor works on several parts at once.
    """
    buffer = EventBuffer(level)
    buffer.addFilter(lambda record: buffer in _recording.get())
    token = _recording.set((*_recording.get(), buffer))
    try:
        with attach_handler(buffer):
            yield buffer
    finally:
        _recording.reset(token)


def to_record(event: Event) -> logging.LogRecord:
    """Convert an event to a record for handlers and formatters."""
    return logging.makeLogRecord(
        {
            "name": event.logger,
            "levelno": event.level,
            "levelname": logging.getLevelName(event.level),
            "msg": event.message,
            "created": event.time,
            "fields": dict(event.fields),
        }
    )


def replay(events: Iterable[Event]) -> None:
    """Log the events of another process again, with the current fields of this one added."""
    for event in events:
        logger = logging.getLogger(event.logger)
        if logger.isEnabledFor(event.level):
            logger.handle(to_record(replace(event, fields={**current(), **event.fields})))


def _cut(text: str) -> str:
    half = _MOST_CHARACTERS // 2
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:half]}…{text[1 - half :]}"
