"""Updating the index while a run works, so that little is left to read if the run does not reach its end."""

import threading
import time
from collections.abc import Callable
from contextvars import copy_context

from jobs.engine.lease import LeaseLostError
from pipeline.log import get_logger
from pipeline.storage import storage
from pipeline.storage.retry import patient
from pipeline.tables.index import update_index
from pipeline.tables.tables import Tables

log = get_logger(__name__)

EVERY_RESULTS = 500
"""Shards and parts finished between two updates; the next plan reads as many parts in a few seconds."""
_TIMES_LONGER = 5.0
"""The pause after an update is so many times as long as the update, so that runs hardly slow down."""
_STOP_S = 5.0
"""Seconds to wait for an update to stop. It does so before the next part; a failing store takes longer."""
_MOMENT_S = 0.3
"""Seconds to wait if the run is about to be killed, of the three seconds in all."""

_now = time.monotonic


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

    @property
    def is_under_way(self) -> bool:
        """Whether an update is under way, perhaps in the middle of a write."""
        return self._thread is not None and self._thread.is_alive()

    def begin_if_due(self, n_results: int) -> None:
        """Begin an update if enough was finished since the last one.

        Parameters
        ----------
        n_results : int
            Shards and parts that the run has finished so far.
        """
        if n_results - self._n_results < EVERY_RESULTS or _now() < self._not_before or self.is_under_way:
            return
        self._n_results = n_results
        work = copy_context().run
        thread = threading.Thread(target=work, args=(self._update,), daemon=True, name="index")
        try:
            thread.start()
        except RuntimeError as error:  # the system allows no more threads
            log.warning("index not updated", error=error)
        else:
            self._thread = thread

    def stop(self, is_urgent: Callable[[], bool]) -> None:
        """Let no further write begin, and wait some seconds for an update that is under way.

        Parameters
        ----------
        is_urgent : callable
            Whether to wait for a moment only, since the run is about to be killed; asked again and again.
        """
        self._stopped.set()
        begun = _now()
        while self._thread is not None and self.is_under_way:
            if _now() - begun > (_MOMENT_S if is_urgent() else _STOP_S):
                log.info("an update of the index has not stopped yet")
                return
            self._thread.join(_MOMENT_S / 3)

    def _update(self) -> None:
        begun = _now()
        try:
            with patient(0):  # the run does not need the index
                update_index(self._tables, self._check_not_stopped)
        except (LeaseLostError, _StoppedError):
            pass  # the run itself finds out, or has ended
        except Exception as error:  # a cache that is not written is no reason to fail
            log.warning("index not updated", error=error)
        self._not_before = _now() + _TIMES_LONGER * (_now() - begun)

    def _check_not_stopped(self) -> None:
        if self._stopped.is_set():
            raise _StoppedError
        self._check()


class _StoppedError(Exception):
    """The run has ended meanwhile."""
