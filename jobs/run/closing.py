"""Closing a run that is asked to stop: write its report, then release its lease, before it is killed."""

import contextlib
import threading
import time
from datetime import UTC, datetime

from jobs.engine.lease import HeldLease
from jobs.run.run_log import RunLog
from pipeline.log import get_logger
from pipeline.storage.retry import patient
from pipeline.tables.runs import write_report
from pipeline.tables.tables import Tables
from schemas.report import RunReport

log = get_logger(__name__)

_LOG_S = 0.4
"""Seconds to write the log, of the three seconds in all."""


class Closing:
    """Closes a stopped run, from its main thread or from a thread that finds the main thread stuck.

    Parameters
    ----------
    tables : Tables
        Where to write the report.
    started : float
        When the run began, by `time.monotonic`.
    run_log : RunLog
        The log of the run.

    Attributes
    ----------
    held : HeldLease or None
        The lease, once the run has it.
    report : RunReport or None
        The current report, in which the written tracks may not be counted yet.
    closed : threading.Event
        Set when the report is written and the lease released, or the store failed.
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
        """Write the report as interrupted and release the lease, unless that is already done."""
        with self._lock, patient(0):
            if self.closed.is_set():
                return
            with contextlib.suppress(Exception):  # releasing the lease matters more
                if self.report is not None:
                    if self.report.outcome == "running":
                        self.report = self.finish(self.report, {"outcome": "interrupted"})
                    write_report(self._tables, self.report)
            if self.held is not None:
                self.held.release()
            log.info("closed: report and lease are in order")
            self._run_log.write(_LOG_S)
            self.closed.set()

    def finish(self, report: RunReport, outcome: dict[str, str]) -> RunReport:
        """Return the report of a run that ends now, with its outcome."""
        wall_s = time.monotonic() - self._started
        worked = report.counts.labeled + report.counts.embedded + report.counts.failed
        figures = {
            "finished_at": datetime.now(UTC),
            "wall_s": round(wall_s, 3),
            "tracks_per_hour": round(worked / wall_s * 3600, 1) if worked else None,
        }
        return report.model_copy(update=outcome | figures)
