"""Events: log records within bounds, to be handed from process to process, and to a file."""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from pipeline.log import ROOT, attached, current

MOST_EVENTS = 200
"""Kept of one piece of work, of each kind: warnings, and what is less."""
_MOST_CHARACTERS = 1000
"""Of a text: names may be long, and errors of libraries very long."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was logged.

    Attributes
    ----------
    time : float
        When, seconds since the epoch.
    level : int
        One of `logging`'s.
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
        """Return what a record says, long texts cut."""
        fields: Mapping[str, object] = getattr(record, "fields", {})
        cut = {name: _cut(value) if isinstance(value, str) else value for name, value in fields.items()}
        return cls(record.created, record.levelno, record.name, _cut(record.getMessage()), cut)


class EventBuffer(logging.Handler):
    """Keeps the newest events; many of little weight do not push out warnings.

    Parameters
    ----------
    level : int
        Events of a lower level are not kept.
    most : int
        Kept of warnings and errors, and as many of others.
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
        """Return what is kept, in order; first, how many events are not, where there are such."""
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
def recorded(level: int) -> Iterator[EventBuffer]:
    """Keep what is logged in a ``with`` block from a level on."""
    buffer = EventBuffer(level)
    with attached(buffer):
        yield buffer


def as_record(event: Event) -> logging.LogRecord:
    """Return an event as what handlers and formatters take."""
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
    """Log what was logged in another process; what this one is at work on is added to the fields."""
    for event in events:
        logger = logging.getLogger(event.logger)
        if logger.isEnabledFor(event.level):
            logger.handle(as_record(replace(event, fields={**current(), **event.fields})))


def _cut(text: str) -> str:
    half = _MOST_CHARACTERS // 2
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:half]}…{text[1 - half :]}"
