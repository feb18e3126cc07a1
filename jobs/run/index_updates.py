"""Updating the index while a run works, so that little is left to read if the run does not reach its end."""

import threading
import time
from contextvars import copy_context

from jobs.engine.lease import LeaseLostError
from pipeline.log import get_logger
from pipeline.storage import storage
from pipeline.tables.index import update_index
from pipeline.tables.tables import Tables

log = get_logger(__name__)

EVERY_RESULTS = 500
"""Shards and parts finished between two updates; the next plan reads as many parts in a few seconds."""
_TIMES_LONGER = 20.0
"""The pause after an update is so many times as long as the update, so that runs hardly slow down."""


class IndexUpdates:
    """Updates the index in the background, one update at a time, without ever failing the run.

    Parameters
    ----------
    tables : Tables
        The tables of the run.
    check : callable
        Raises if the run may no longer write.
    """

    def __init__(self, tables: Tables, check: storage.Check) -> None:
        self._tables = tables
        self._check = check
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._n_results = 0
        self._not_before = 0.0

    def begin_if_due(self, n_results: int) -> None:
        """Begin an update if enough was finished since the last one.

        Parameters
        ----------
        n_results : int
            Shards and parts that the run has finished so far.
        """
        if n_results - self._n_results < EVERY_RESULTS or time.monotonic() < self._not_before:
            return
        if self._thread is not None and self._thread.is_alive():
            return
        self._n_results = n_results
        self._thread = threading.Thread(target=copy_context().run, args=(self._update,), name="index")
        self._thread.start()

    def stop(self) -> None:
        """Let no further update write, and wait for the one that may be under way."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _update(self) -> None:
        begun = time.monotonic()
        try:
            update_index(self._tables, self._check_not_stopped)
        except (LeaseLostError, _StoppedError):
            pass  # the run itself finds out, or has ended
        except Exception as error:  # a cache that is not written is no reason to fail
            log.warning("index not updated", error=error)
        now = time.monotonic()
        self._not_before = now + _TIMES_LONGER * (now - begun)

    def _check_not_stopped(self) -> None:
        if self._stopped.is_set():
            raise _StoppedError
        self._check()


class _StoppedError(Exception):
    """The run has ended meanwhile."""
