"""``earmark run``, ``featurize`` and ``label``: list, plan, work, and account for every track."""

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from jobs.console.progress import show_progress
from jobs.engine import lease as leases
from jobs.engine import lease_acquisition
from jobs.engine.assignment import Assignment, Totals
from jobs.engine.cluster import connected, cpus_and_gpus
from jobs.engine.interrupts import Interrupt, interruptible
from jobs.run.accounting import account_for
from jobs.run.closing import Closing
from jobs.run.features_removal import remove_features
from jobs.run.index_updates import IndexUpdates
from jobs.run.merging import merge_parts_of_run
from jobs.run.notification import notifying
from jobs.run.publishing import publish_after_run
from jobs.run.request import Job, list_job, plan_job
from jobs.run.run_log import RunLog, keep_log
from jobs.run.tasks import make_label_tasks, make_shards
from pipeline.catalogs.catalog_changes import change_rows
from pipeline.catalogs.planning import Plan
from pipeline.log import about, get_logger
from pipeline.models.bundle import INFO_FILE
from pipeline.pages.run_page_writer import RunPageWriter
from pipeline.storage import storage
from pipeline.storage.requests import take_requests
from pipeline.tables.format_version import record_format
from pipeline.tables.index import update_index
from pipeline.tables.runs import (
    new_run_name,
    package_versions,
    plan_location,
    read_reports,
    run_date_of,
    write_report,
)
from pipeline.tables.tables import encode_part
from schemas.errors import EarmarkError
from schemas.report import Counts, LeftOut, RunReport

if TYPE_CHECKING:
    from jobs.engine.metrics import RunGauges

log = get_logger(__name__)

Say = Callable[[str], None]
_LOG_S = 10.0
"""Seconds to write the log at the end of a run."""


def run_job(job: Job, say: Say) -> RunReport:
    """Run a job and account for every track.

    Parameters
    ----------
    job : Job
        The request.
    say : callable
        Prints a message for the user.

    Returns
    -------
    RunReport
        The report as written to ``_runs/``; its outcome is ``interrupted`` after Ctrl-C or SIGTERM.

    Raises
    ------
    EarmarkError
        If the run cannot start or continue; the report also records the error.
    """
    started = time.monotonic()
    take_requests()  # those of an earlier run of this process
    with keep_log(job.tables) as run_log, interruptible() as interrupt:
        closing = Closing(job.tables, started, run_log)
        interrupt.close_with(closing)
        with notifying(job, closing):
            return _run_alone(job, closing, interrupt, say, run_log)


def _run_alone(job: Job, closing: Closing, interrupt: Interrupt, say: Say, run_log: RunLog) -> RunReport:
    """Run a job while no other run writes to its tables."""
    free = lease_acquisition.free_number(job.tables.root)
    listing = list_job(job)
    # Named after the listing, which may take long, so that names of runs sort in the order of their work.
    run = new_run_name(datetime.now(UTC))
    with about(run=run), leases.hold_for_workers(job.tables.root, run, say=say) as held:
        closing.held = held
        run_log.begin(run)
        if free is None or held.lease.number != free + 1:
            listing = list_job(job)  # another run may have listed later
        # Plan under the lease: from here on, no other run changes the tables.
        plan = plan_job(job, listing, held.lease.check)
        try:
            report = _first_report(job, run, plan, listing.left_out)
            return _run_planned(job, report, plan, held, closing, interrupt, say, run_log)
        except KeyboardInterrupt:
            closing()
            raise


def _run_planned(
    job: Job,
    report: RunReport,
    plan: Plan,
    held: leases.HeldLease,
    closing: Closing,
    interrupt: Interrupt,
    say: Say,
    run_log: RunLog,
) -> RunReport:
    """Run the plan under the lease; write the report at the start and at the end."""
    pages = RunPageWriter(job.tables, say)
    totals = Totals()
    ended: dict[str, str] = {}
    closing.report = report
    log.info(
        "run begins",
        command=job.command,
        catalog=report.catalog,
        tables=job.tables.root,
        model=report.model,
        **report.counts.model_dump(include={"listed", "labeled_before", "failed_before", "left", "gone"}),
    )
    if plan.n_again:
        say(
            f"{plan.n_again:,} tracks that were labeled before are decoded again, because the features that "
            "this run needs are not stored"
        )
    try:
        record_format(job.tables, held.lease.check)
        write_report(job.tables, report)
        pages.write(report)
        _record_changes(job, report.run, plan, report.started_at, held.lease)
        if plan.n_todo:
            is_counted = False
            try:
                with _work(job, report, plan, held, interrupt, totals, closing, run_log) as gauges:
                    if not interrupt.was_requested:
                        is_counted = True
                        closing.report = report = account_for(job.tables, report, totals)
                        if report.balanced and not report.counts.left:
                            gauges.record_success()
            finally:
                if not is_counted:
                    closing.report = report = account_for(job.tables, report, totals)
        if not report.balanced or (report.counts.left and not interrupt.was_requested):
            raise EarmarkError(
                f"the parts of the run do not hold every track exactly once (remaining: "
                f"{report.counts.left}); please report it with {job.tables.root}/_runs/{report.run}.json"
            )
        ended = {"outcome": "interrupted" if interrupt.was_requested else "done"}
        if not interrupt.was_requested:
            report = _tidy_up(job, report, plan, held, closing)
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
        interrupt.defer()
        totals.requests.update(take_requests())
        report = report.model_copy(update={"requests": dict(totals.requests.most_common())})
        closing.report = report = closing.finish(report, ended)
        log.info(
            "run ends",
            outcome=report.outcome,
            seconds=report.wall_s,
            error=report.error,
            **report.counts.model_dump(include={"featurized", "labeled", "embedded", "failed", "left"}),
        )
        try:
            write_report(job.tables, report)
            pages.write(report)
        finally:
            run_log.write(_LOG_S)
    return report


def _tidy_up(job: Job, report: RunReport, plan: Plan, held: leases.HeldLease, closing: Closing) -> RunReport:
    """Do what follows when all tracks are accounted for; whatever of it fails, the labels are there."""
    closing.report = report = remove_features(job, report, held.lease.check)
    merge_parts_of_run(job, report, held)
    if plan.n_todo or plan.changed.num_rows or plan.gone.num_rows:
        update_index(job.tables, held.lease.check)
    return publish_after_run(job, report)


def _first_report(job: Job, run: str, plan: Plan, left_out: LeftOut) -> RunReport:
    return RunReport(
        run=run,
        command=job.command,
        catalog=job.catalog or read_reports(job.tables, last=1)[0].catalog,
        outcome="running",
        started_at=datetime.now(UTC),
        counts=Counts(
            listed=plan.listing.num_rows,
            labeled_before=plan.n_labeled,
            failed_before=plan.n_failed,
            left=plan.n_todo,
            gone=plan.gone.num_rows,
        ),
        left_out=left_out,
        model=None if job.command == "featurize" else job.bundle.model,
        feature_set=job.spec.feature_set,
        features=job.spec.model_dump(),
        config=job.config.model_dump(),
        versions=package_versions(),
    )


def _record_changes(job: Job, run: str, plan: Plan, listed_at: datetime, lease: leases.Lease) -> None:
    """Write the plan, and rows for tracks that changed in the listing only."""
    objects = {}
    if plan.n_todo:
        table = pa.concat_tables(
            [rows.select(["track_id", "uri", "etag"]) for rows in (plan.to_featurize, plan.to_label)]
        )
        objects[plan_location(job.tables, run)] = table
    changes = change_rows(plan, job.tables, listed_at)
    if changes.num_rows:
        objects[job.tables.part("tracks", "listing", run=run)] = changes
    for location, rows in objects.items():
        with storage.explain_errors(location, "write"):
            storage.write_bytes(location, encode_part(rows), check=lease.check)


@contextlib.contextmanager
def _work(
    job: Job,
    report: RunReport,
    plan: Plan,
    held: leases.HeldLease,
    interrupt: Interrupt,
    totals: Totals,
    closing: Closing,
    run_log: RunLog,
) -> Iterator["RunGauges"]:
    """Run the plan on Ray and add up the results in `totals`; then stay connected during a ``with`` block.

    Yields the gauges of the run, which Ray exports while it is connected.
    """
    if report.model is not None:
        _keep_model(job, held.lease)
    doing = "featurizing" if job.command == "featurize" else "labeling"
    with connected(job.config):
        interrupt.install()
        from jobs.engine.engine import Engine  # imports Ray, which a run with nothing to do does not need
        from jobs.engine.metrics import RunGauges

        gauges = RunGauges(report, job.tables)
        gauges.update(totals, held.age_s)
        totals.cpus, totals.gpus = cpus_and_gpus()
        assignment = Assignment(
            run=report.run,
            run_date=run_date_of(report.started_at),
            tables=job.tables,
            lease=held.lease,
            spec=job.spec,
            model=report.model,
            model_location=storage.join(job.tables.root, "_models", job.bundle.model),
            config=job.config,
        )

        def show(totals: Totals) -> None:
            finished = totals.featurized if job.command == "featurize" else totals.labeled + totals.embedded
            note = f"{totals.featurized:,} featurized · {totals.failed:,} failed"
            if totals.is_waiting_for_actors:
                note += " · waiting for the model to load"
            meter.show(finished + totals.failed, note, under_way=finished > 0)
            gauges.update(totals, held.age_s)
            run_log.write_if_due()
            index_updates.begin_if_due(totals.n_results)

        index_updates = IndexUpdates(job.tables, held.lease.check)
        engine = Engine(assignment, totals, show)
        interrupt.set_handlers(engine.stop, engine.stop_soon)
        held.is_settled = False
        with show_progress(doing, plan.n_todo) as meter:
            try:
                engine.run(
                    make_shards(job, plan, report.run, report.started_at, totals.cpus),
                    make_label_tasks(plan, report.run, assignment.run_date, str(report.model)),
                )
            finally:
                engine.halt(held)
                index_updates.stop(lambda: interrupt.was_requested)
                if index_updates.is_under_way:
                    held.is_settled = held.is_settled and held.is_local
                # Close now: shutting down Ray and counting what was written may take too long.
                if interrupt.was_requested:
                    closing()
                interrupt.clear_handlers()
        yield gauges


def _keep_model(job: Job, lease: leases.Lease) -> None:
    """Store the model with the tables, where actors on any node load it, so that labels stay reproducible."""
    folder = storage.join(job.tables.root, "_models", job.bundle.model)
    with storage.explain_errors(folder, "write the model to"):
        if INFO_FILE in storage.list_names(folder):
            return
        for name, data in job.bundle.files.items():
            storage.write_bytes(storage.join(folder, name), data, check=lease.check)
