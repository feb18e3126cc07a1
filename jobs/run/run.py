"""``earmark run``, ``featurize`` and ``label``: list and plan under the lease, then run the plan."""

import time
from datetime import UTC, datetime

from jobs.console.messages import Say
from jobs.engine import lease as leases
from jobs.engine import lease_acquisition
from jobs.engine.interrupts import Interrupt, interruptible
from jobs.run.closing import Closing
from jobs.run.notification import notifying
from jobs.run.planned_run import PlannedRun
from jobs.run.request import Job, list_job, plan_job
from jobs.run.run_log import RunLog, keep_log
from pipeline.catalogs.planning import Plan
from pipeline.log import about
from pipeline.package_versions import package_versions
from pipeline.storage.requests import take_bytes, take_requests
from pipeline.tables.runs import last_catalog, new_run_name, time_after_last_run
from schemas.report import Counts, LeftOut, RunReport


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
    take_requests(), take_bytes()  # those of an earlier run of this process
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
    named_at = time_after_last_run(job.tables)
    run = new_run_name(named_at)
    with about(run=run), leases.hold_for_workers(job.tables.root, run, say=say) as held:
        closing.held = held
        run_log.begin(run)
        if free is None or held.lease.number != free + 1:
            listing = list_job(job)  # another run may have listed later
        # Plan under the lease: from here on, no other run changes the tables.
        plan = plan_job(job, listing, held.lease.check)
        try:
            started_at = max(named_at, datetime.now(UTC))
            report = _first_report(job, run, started_at, plan, listing.left_out)
            return PlannedRun(job, plan, report, held, closing, interrupt, run_log, say).run()
        except KeyboardInterrupt:
            closing()
            raise


def _first_report(job: Job, run: str, started_at: datetime, plan: Plan, left_out: LeftOut) -> RunReport:
    return RunReport(
        run=run,
        command=job.command,
        catalog=job.catalog or last_catalog(job.tables),
        outcome="running",
        started_at=started_at,
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
