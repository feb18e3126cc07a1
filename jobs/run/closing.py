"""Closing a run: its report, then its lease, before whoever asked it to stop kills it."""

import contextlib
import threading
import time
from datetime import UTC, datetime

from jobs.engine.lease import HeldLease
from jobs.run.run_log import RunLog
from pipeline.log import get_logger
from pipeline.tables.runs import write_report
from pipeline.tables.tables import Tables
from schemas.report import RunReport

log = get_logger(__name__)

_LOG_S = 0.4
"""Time for the log, of the three seconds that there are in all."""


class Closing:
    """Closes a run that is stopped: its main thread does so, or a thread that finds it stuck.

    Parameters
    ----------
    tables : Tables
        Where the report goes.
    started : float
        When the run began, by `time.monotonic`.
    run_log : RunLog
        What was logged.

    Attributes
    ----------
    held : HeldLease or None
        The lease, once the run has it.
    report : RunReport or None
        The report as it is now; what the run wrote may not be counted in it yet.
    closed : threading.Event
        Set when the report is written and the lease released, as far as the store lets us.
    """

    def __init__(self, tables: Tables, started: float, run_log: RunLog) -> None:
        self.held: HeldLease | None = None
        self.report: RunReport | None = None
        self.closed = threading.Event()
        self._tables = tables
        self._run_log = run_log
        self._started = started
        self._lock = threading.Lock()

    def __call__(self) -> None:
        """Say in the report that the run was interrupted, and release the lease; nothing if that is done."""
        with self._lock:
            if self.closed.is_set():
                return
            with contextlib.suppress(Exception):  # the lease is worth more
                if self.report is not None:
                    if self.report.outcome == "running":
                        self.report = self.finished(self.report, {"outcome": "interrupted"})
                    write_report(self._tables, self.report)
            if self.held is not None:
                self.held.release()
            log.info("closed: report and lease are in order")
            self._run_log.write(_LOG_S)
            self.closed.set()

    def finished(self, report: RunReport, outcome: dict[str, str]) -> RunReport:
        """The report of a run that ends now, and so."""
        wall_s = time.monotonic() - self._started
        worked = report.counts.labeled + report.counts.failed
        figures = {
            "finished_at": datetime.now(UTC),
            "wall_s": round(wall_s, 3),
            "tracks_per_hour": round(worked / wall_s * 3600, 1) if worked else None,
        }
        return report.model_copy(update=outcome | figures)
