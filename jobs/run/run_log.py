"""A run's log: what was logged during it, in a file of JSON lines beside its report."""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from contextvars import copy_context
from functools import partial

from jobs.console.logs import JsonFormatter
from pipeline.log import attached, get_logger, level
from pipeline.log_events import Event, EventBuffer, as_record
from pipeline.storage import storage
from pipeline.tables.runs import log_location
from pipeline.tables.tables import Tables

log = get_logger(__name__)

_MOST_EVENTS = 10_000
"""Kept of warnings, and as many of what is less: some megabytes."""
_EVERY_S = 60.0
"""Seconds between two writes: what a driver that is killed had logged is lost since the last one."""


class RunLog:
    """Keeps what a run logs, and writes it now and then. It never makes the run fail, nor wait for long.

    An object store appends nothing to an object: the file is written anew each time.

    Parameters
    ----------
    tables : Tables
        Where the file goes.
    """

    def __init__(self, tables: Tables) -> None:
        self.buffer = EventBuffer(min(level(), logging.INFO), _MOST_EVENTS)
        self._tables = tables
        self._run: str | None = None
        self._writing = threading.Lock()
        self._written_at = time.monotonic()
        self._n_written = 0

    def begin(self, run: str) -> None:
        """Take the name of the run, which is known when it holds the lease: nothing is written before."""
        self._run = run

    def write_now_and_then(self) -> None:
        """Begin to write what is kept, if the last write is some time ago."""
        if time.monotonic() - self._written_at >= _EVERY_S and not self._writing.locked():
            self._written_at = time.monotonic()
            self.write(within_s=0.0)

    def write(self, within_s: float) -> None:
        """Write what is kept, and wait so long for it: a store that is slow or away may take minutes."""
        if self._run is None:
            return
        work = partial(copy_context().run, self._write, self._run)
        writer = threading.Thread(target=work, daemon=True, name="run log")
        writer.start()
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
                log.warning("the run's log is not written", run=run, error=error)


@contextlib.contextmanager
def kept(tables: Tables) -> Iterator[RunLog]:
    """Keep what is logged in a ``with`` block."""
    run_log = RunLog(tables)
    with attached(run_log.buffer):
        yield run_log


def encode(events: tuple[Event, ...]) -> bytes:
    """Events as JSON lines, in the order of their times: those of a worker come when it has done its work."""
    formatter = JsonFormatter()
    ordered = sorted(events, key=lambda event: event.time)
    return "".join(f"{formatter.format(as_record(event))}\n" for event in ordered).encode()
