"""The log of a run: a file of JSON lines next to its report."""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from contextvars import copy_context
from functools import partial

from jobs.console.logs import JsonFormatter
from pipeline.log import attach_handler, get_logger, level
from pipeline.log_events import Event, EventBuffer, to_record
from pipeline.storage import storage
from pipeline.tables.runs import log_location
from pipeline.tables.tables import Tables

log = get_logger(__name__)

_MOST_EVENTS = 10_000
"""Maximum number of warnings to keep, and of other events: a few megabytes."""
_EVERY_S = 60.0
"""Seconds between two writes; if the driver is killed, events since the last write are lost."""


class RunLog:
    """Keeps the events of a run and writes them regularly, without ever failing or delaying the run.

    Objects cannot be appended to, so the whole file is written each time.

    Parameters
    ----------
    tables : Tables
        Where to write the file.
    """

    def __init__(self, tables: Tables) -> None:
        self.buffer = EventBuffer(min(level(), logging.INFO), _MOST_EVENTS)
        self._tables = tables
        self._run: str | None = None
        self._writing = threading.Lock()
        self._written_at = time.monotonic()
        self._n_written = 0

    def begin(self, run: str) -> None:
        """Set the name of the run, once it holds the lease; nothing is written before."""
        self._run = run

    def write_if_due(self) -> None:
        """Start to write in the background if the last write is long enough ago."""
        if time.monotonic() - self._written_at >= _EVERY_S and not self._writing.locked():
            self._written_at = time.monotonic()
            self.write(within_s=0.0)

    def write(self, within_s: float) -> None:
        """Write the events, and wait at most `within_s` seconds, since a failing store may take minutes."""
        if self._run is None:
            return
        work = partial(copy_context().run, self._write, self._run)
        writer = threading.Thread(target=work, daemon=True, name="run log")
        try:
            writer.start()
        except RuntimeError as error:  # the system allows no more threads
            log.warning("run log not written", run=self._run, error=error)
        else:
            writer.join(within_s)

    def _write(self, run: str) -> None:
        with self._writing:
            n_events = self.buffer.n_events
            if n_events == self._n_written:
                return
            try:
                storage.write_bytes(log_location(self._tables, run), encode(self.buffer.events()))
                self._n_written = n_events
            except Exception as error:
                log.warning("run log not written", run=run, error=error)


@contextlib.contextmanager
def keep_log(tables: Tables) -> Iterator[RunLog]:
    """Keep what is logged during a ``with`` block."""
    run_log = RunLog(tables)
    with attach_handler(run_log.buffer):
        yield run_log


def encode(events: tuple[Event, ...]) -> bytes:
    """Encode events as JSON lines sorted by time, since events of a worker arrive with its result."""
    formatter = JsonFormatter()
    ordered = sorted(events, key=lambda event: event.time)
    return "".join(f"{formatter.format(to_record(event))}\n" for event in ordered).encode()
