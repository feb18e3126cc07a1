"""A run that holds its lease and has its plan: it works, accounts for every track, and closes its report."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from jobs.console.messages import Say
from jobs.console.progress import Meter, show_progress
from jobs.engine.assignment import Assignment, Totals
from jobs.engine.cluster import connected, cpus_and_gpus
from jobs.engine.interrupts import Interrupt
from jobs.engine.lease import HeldLease
from jobs.run.accounting import account_for
from jobs.run.closing import Closing
from jobs.run.features_removal import remove_features
from jobs.run.index_updates import IndexUpdates
from jobs.run.merging import merge_parts_of_run
from jobs.run.publishing import publish_after_run
from jobs.run.request import Job
from jobs.run.run_log import RunLog
from jobs.run.tasks import make_label_tasks, make_shards
from pipeline.catalogs.catalog_changes import change_rows
from pipeline.catalogs.planning import Plan
from pipeline.formatting import count_text
from pipeline.log import get_logger
from pipeline.pages.run_page_writer import RunPageWriter
from pipeline.storage import storage
from pipeline.storage.requests import take_bytes, take_requests
from pipeline.tables.format_version import record_format
from pipeline.tables.index import update_index
from pipeline.tables.kept_models import keep_model
from pipeline.tables.runs import plan_location, report_location, run_date_of, write_report
from pipeline.tables.tables import encode_part
from schemas.errors import EarmarkError
from schemas.report import RunReport

if TYPE_CHECKING:
    from jobs.engine.engine import Engine
    from jobs.engine.metrics import RunGauges

log = get_logger(__name__)

_LOG_S = 10.0
"""Seconds to write the log at the end of a run."""


class PlannedRun:
    """A run from its plan to its final report.

    Parameters
    ----------
    job : Job
        The request.
    plan : Plan
        What is left to do.
    report : RunReport
        The report at the start.
    held : HeldLease
        The lease of the tables.
    closing : Closing
        Keeps the current report, which it writes if the run is stopped.
    interrupt : Interrupt
        Tells whether the run was asked to stop.
    run_log : RunLog
        The log of the run.
    say : callable
        Prints a message for the user.
    """

    def __init__(
        self,
        job: Job,
        plan: Plan,
        report: RunReport,
        held: HeldLease,
        closing: Closing,
        interrupt: Interrupt,
        run_log: RunLog,
        say: Say,
    ) -> None:
        closing.report = report
        self._report = report
        self._job = job
        self._plan = plan
        self._held = held
        self._closing = closing
        self._interrupt = interrupt
        self._run_log = run_log
        self._say = say
        self._pages = RunPageWriter(job.tables, say)
        self._totals = Totals()
        self._is_counted = False

    def run(self) -> RunReport:
        """Do what the plan says, and return the report, which is written at the start and at the end.

        Raises
        ------
        EarmarkError
            If the run cannot continue, or the tables do not hold every track exactly once.
        KeyboardInterrupt
            If it was stopped before Ray was up.
        """
        ended: dict[str, str] = {}
        try:
            self._begin()
            if self._plan.n_todo:
                self._work_and_count()
            self._check_balance()
            ended = {"outcome": "interrupted" if self._interrupt.was_requested else "done"}
            if not self._interrupt.was_requested:
                self._tidy_up()
        except EarmarkError as error:
            ended = {"outcome": "failed", "error": str(error)}
            raise
        except Exception as error:
            ended = {"outcome": "failed", "error": f"internal error: {type(error).__name__}: {error}"}
            raise
        except (KeyboardInterrupt, SystemExit):
            # While Ray starts, its handler turns SIGTERM into SystemExit.
            ended = {"outcome": "interrupted"}
            raise KeyboardInterrupt from None
        finally:
            self._end(ended)
        return self._report

    def _keep(self, report: RunReport) -> None:
        """Make a report the current one, here and for the case that the run is stopped."""
        self._closing.report = self._report = report

    def _begin(self) -> None:
        """Write the report and the plan."""
        report, tables = self._report, self._job.tables
        log.info(
            "run begins",
            command=self._job.command,
            catalog=report.catalog,
            tables=tables.root,
            model=report.model,
            **report.counts.model_dump(include={"listed", "labeled_before", "failed_before", "left", "gone"}),
        )
        if self._plan.n_again:
            self._say(
                f"decoding again {count_text(self._plan.n_again, 'track')} labeled before, because the "
                "features that this run needs are not stored"
            )
        record_format(tables, self._held.lease.check)
        write_report(tables, report)
        self._pages.write(report)
        self._record_changes()

    def _record_changes(self) -> None:
        """Write the plan, and rows for tracks that changed in the listing only."""
        plan, report, tables = self._plan, self._report, self._job.tables
        objects = {}
        if plan.n_todo:
            todo = (plan.to_featurize, plan.to_label)
            objects[plan_location(tables, report.run)] = pa.concat_tables(
                [rows.select(["track_id", "uri", "etag"]) for rows in todo]
            )
        changes = change_rows(plan, tables, report.started_at)
        if changes.num_rows:
            objects[tables.part("tracks", "listing", run=report.run)] = changes
        for location, rows in objects.items():
            storage.write_or_explain(location, encode_part(rows), check=self._held.lease.check)

    def _work_and_count(self) -> None:
        """Run the plan on Ray, and count what was written, also if the work fails."""
        try:
            with self._work() as gauges:
                if not self._interrupt.was_requested:
                    # While Ray is up, since it exports the gauges.
                    self._count()
                    if self._report.balanced and not self._report.counts.left:
                        gauges.record_success()
        except BaseException:
            if not self._is_counted:
                with _logged("tracks not counted"):
                    self._count()
            raise
        if not self._is_counted:
            self._count()

    def _count(self) -> None:
        self._is_counted = True
        self._keep(account_for(self._job.tables, self._report, self._totals))

    @contextlib.contextmanager
    def _work(self) -> Iterator["RunGauges"]:
        """Run the plan on Ray and add up the results; then stay connected during a ``with`` block.

        Yields the gauges of the run, which Ray exports while it is connected.
        """
        job, report, held = self._job, self._report, self._held
        if report.model is not None:
            keep_model(job.bundle, self._model_folder, held.lease.check)
        with connected(job.config):
            self._interrupt.install()
            from jobs.engine.engine import Engine  # imports Ray, which a run with nothing to do does not need
            from jobs.engine.metrics import RunGauges

            with RunGauges(report, job.tables, self._totals, lambda: held.age_s) as gauges:
                self._totals.cpus, self._totals.gpus = cpus_and_gpus()
                index_updates = IndexUpdates(job.tables, held.lease.check)
                doing = "featurizing" if job.command == "featurize" else "labeling"
                with show_progress(doing, self._plan.n_todo) as meter:

                    def show(totals: Totals) -> None:
                        self._show(meter, totals)
                        self._run_log.write_if_due()
                        index_updates.begin_if_due(totals.n_results)

                    engine = Engine(self._assignment(), self._totals, show)
                    self._run_engine(engine, index_updates)
                yield gauges

    def _run_engine(self, engine: "Engine", index_updates: IndexUpdates) -> None:
        job, report, interrupt, held = self._job, self._report, self._interrupt, self._held
        interrupt.set_handlers(engine.stop, engine.stop_soon)
        held.is_settled = False
        try:
            engine.run(
                make_shards(job, self._plan, report.run, report.started_at, self._totals.cpus),
                make_label_tasks(self._plan, report.run, run_date_of(report.started_at), str(report.model)),
            )
        finally:
            engine.halt(held)
            index_updates.stop(lambda: interrupt.was_requested)
            if index_updates.is_under_way:
                held.is_settled = held.is_settled and held.is_local
            # Close now: shutting down Ray and counting what was written may take too long.
            if interrupt.was_requested:
                self._closing()
            interrupt.clear_handlers()

    def _show(self, meter: Meter, totals: Totals) -> None:
        """Show how many tracks are finished."""
        is_featurizing = self._job.command == "featurize"
        finished = totals.featurized if is_featurizing else totals.labeled + totals.embedded
        note = f"{totals.featurized:,} featurized · {totals.failed:,} failed"
        if totals.waiting_for:
            note += f" · waiting for {totals.waiting_for}"
        meter.show(finished + totals.failed, note, under_way=finished > 0)

    def _assignment(self) -> Assignment:
        job, report = self._job, self._report
        return Assignment(
            run_date=run_date_of(report.started_at),
            tables=job.tables,
            lease=self._held.lease,
            spec=job.spec,
            model=report.model,
            model_location=self._model_folder,
            config=job.config,
        )

    @property
    def _model_folder(self) -> str:
        return self._job.tables.model_folder(self._job.bundle.model)

    def _check_balance(self) -> None:
        counts = self._report.counts
        if self._report.balanced and (not counts.left or self._interrupt.was_requested):
            return
        raise EarmarkError(
            f"the parts of the run do not hold every track exactly once (remaining: {counts.left}); please "
            f"report it with {report_location(self._job.tables, self._report.run)}"
        )

    def _tidy_up(self) -> None:
        """Do what follows when all tracks are accounted for; whatever of it fails, the labels are there."""
        job, plan, check = self._job, self._plan, self._held.lease.check
        self._keep(remove_features(job, self._report, check))
        merge_parts_of_run(job, self._report, self._held)
        if plan.n_todo or plan.changed.num_rows or plan.gone.num_rows:
            update_index(job.tables, check)
        self._keep(publish_after_run(job, self._report))

    def _end(self, ended: dict[str, str]) -> None:
        """Write the final report, and the log."""
        self._interrupt.defer()
        self._totals.requests.update(take_requests())
        self._totals.store_bytes.update(take_bytes())
        asked = {
            "requests": dict(self._totals.requests.most_common()),
            "store_bytes": dict(self._totals.store_bytes),
        }
        self._keep(self._closing.finish(self._report.model_copy(update=asked), ended))
        log.info(
            "run ends",
            outcome=self._report.outcome,
            seconds=self._report.wall_s,
            error=self._report.error,
            **self._report.counts.model_dump(include={"featurized", "labeled", "embedded", "failed", "left"}),
        )
        has_failed = self._report.outcome == "failed"
        try:
            with _logged("run report not written") if has_failed else contextlib.nullcontext():
                write_report(self._job.tables, self._report)
            self._pages.write(self._report)
        finally:
            self._run_log.write(_LOG_S)


@contextlib.contextmanager
def _logged(message: str) -> Iterator[None]:
    """Log an error that is raised in a ``with`` block, so that it does not hide why the run has ended."""
    try:
        yield
    except EarmarkError as error:
        log.warning(message, error=error)
