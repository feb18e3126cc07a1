"""Merging the parts of a run at its end, so that a night leaves few objects however many shards it had."""

import pyarrow as pa

from jobs.console.progress import show_progress
from jobs.engine.lease import HeldLease, LeaseLostError
from jobs.run.request import Job
from pipeline.log import get_logger
from pipeline.storage import storage
from pipeline.tables.maintenance.compact.compaction import compact, plan_run_compaction
from pipeline.tables.maintenance.compact.compaction_log import recover_compactions
from pipeline.tables.objects import list_objects
from schemas.errors import EarmarkError
from schemas.report import RunReport

log = get_logger(__name__)


def merge_parts_of_run(job: Job, report: RunReport, held: HeldLease) -> None:
    """Merge the small parts that a run has written, after what an earlier merge has left is in order.

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
    LeaseLostError
        If another run has taken over the tables.
    """
    was_settled = held.is_settled
    try:
        with held.writing():
            recover_compactions(job.tables, held.lease.check)  # or its rows would be merged twice
            if not was_settled:
                log.warning("parts not merged: a lost worker or an update of the index may still be writing")
            elif _has_written(report) and job.config.part_mb:
                _merge(job, report, held.lease.check)
    except LeaseLostError:
        raise
    except (EarmarkError, OSError, pa.ArrowException) as error:
        log.warning("parts not merged", error=error)


def _has_written(report: RunReport) -> bool:
    counts = report.counts
    return bool(counts.featurized or counts.labeled or counts.embedded or counts.failed)


def _merge(job: Job, report: RunReport, check: storage.Check) -> None:
    stored = list_objects(job.tables)
    target_bytes = job.config.part_mb << 20
    # Features that are soon removed, part by part, stay as they are.
    removed = job.command == "run" and job.config.keep_features_days is not None
    without = ("features",) if removed else ()
    plans = plan_run_compaction(stored, report.run, target_bytes=target_bytes, without=without)
    n_small = sum(plan.small for plan in plans)
    if n_small:
        with show_progress("merging", n_small, unit="parts") as meter:
            compact(stored, plans, target_bytes=target_bytes, check=check, progress=meter.show)
        log.info("parts merged", parts=n_small, size=sum(plan.size for plan in plans))
