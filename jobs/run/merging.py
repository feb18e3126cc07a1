"""Merging the parts of a run at its end, so that a night leaves few objects however many shards it had."""

from jobs.console.progress import show_progress
from jobs.engine.lease import HeldLease
from jobs.run.request import Job
from pipeline.log import get_logger
from pipeline.tables.maintenance.compact.compaction import compact, plan_run_compaction
from pipeline.tables.maintenance.compact.compaction_log import recover_compactions
from pipeline.tables.objects import list_objects
from schemas.errors import EarmarkError
from schemas.report import RunReport

log = get_logger(__name__)


def merge_parts_of_run(job: Job, report: RunReport, held: HeldLease) -> None:
    """Merge the small parts that a run has written.

    A worker that was lost may still be writing a part under its old name, so a run that has lost one leaves
    its parts to ``earmark compact``. So does a run that cannot merge them, because the store or the disk
    refuses: that is logged, and no row is lost.

    Parameters
    ----------
    job : Job
        The request.
    report : RunReport
        The report of the run, which has accounted for every track.
    held : HeldLease
        The lease of the run.

    Raises
    ------
    EarmarkError
        If the lease is lost.
    """
    target_bytes = job.config.part_mb << 20
    if not target_bytes:
        return
    if not held.is_settled:
        log.info("parts not merged: a worker was lost, and may still be writing one")
        return
    try:
        recover_compactions(job.tables, held.lease.check)  # or rows of a killed merge would be merged twice
        stored = list_objects(job.tables)
        plans = plan_run_compaction(
            stored,
            report.run,
            target_bytes=target_bytes,
            # Features that are soon removed, part by part, stay as they are.
            without=() if job.config.keep_features_days is None else ("features",),
        )
        n_small = sum(plan.small for plan in plans)
        if n_small:
            with show_progress("merging", n_small, unit="parts") as meter:
                compact(
                    stored,
                    plans,
                    target_bytes=target_bytes,
                    check=held.lease.check,
                    progress=meter.show,
                )
            log.info("parts merged", parts=n_small, size=sum(plan.size for plan in plans))
    except (EarmarkError, OSError) as error:
        held.lease.check()
        log.warning("parts not merged", error=error)
