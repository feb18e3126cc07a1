"""Removing the features of labeled tracks at the end of a run, if the settings say so."""

from jobs.run.request import Job
from pipeline.log import get_logger
from pipeline.storage import storage
from pipeline.tables.maintenance.labeled_features import remove_labeled_features
from schemas.errors import EarmarkError
from schemas.report import RunReport

log = get_logger(__name__)


def remove_features(job: Job, report: RunReport, check: storage.Check) -> RunReport:
    """Remove the features that the settings do not keep, and return the report with their size.

    What an earlier run left because it was killed is removed too. If the store refuses, that is logged, and
    the next run removes the rest.

    Parameters
    ----------
    job : Job
        The request.
    report : RunReport
        The report of the run, all of whose labels are written.
    check : callable
        Of the lease.

    Raises
    ------
    EarmarkError
        If the lease is lost.
    """
    days = job.config.keep_features_days
    if job.command != "run" or days is None or report.model is None:
        return report
    try:
        size = remove_labeled_features(
            job.tables,
            report.model,
            job.bundle.info.features.feature_set,
            days,
            check,
            embeddings=job.config.embeddings,
        )
    except EarmarkError as error:
        check()
        log.warning("features not removed", error=error)
        return report
    return report.model_copy(update={"removed_features_bytes": size})
