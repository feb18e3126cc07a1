"""Publishing the labels at the end of a run, whose failure leaves the run as it is."""

from jobs.run.request import Job
from pipeline.log import get_logger
from pipeline.publish.destination import check_destination
from pipeline.publish.publish import publish_labels
from schemas.errors import EarmarkError
from schemas.report import Publication, RunReport

log = get_logger(__name__)


def publish_after_run(job: Job, report: RunReport) -> RunReport:
    """Publish the current labels if the settings say where, and return the report with what was done.

    The run holds the lease of the tables, so that no part is replaced while it is read. An error is recorded
    and logged, but not raised: the labels are in the tables, and the next run publishes them. If more tracks
    have failed than the settings allow, nothing is published: the disk of half a catalog may not be mounted,
    and those that read the published table are better off with yesterday's.

    Parameters
    ----------
    job : Job
        The request.
    report : RunReport
        The report of the run, all of whose labels are written.
    """
    destination, model = job.config.publish, report.model
    if destination is None or model is None:
        return report
    form = job.config.publish_format
    try:
        counts = report.counts
        if counts.too_many_failed(job.config.max_failure_rate):
            raise EarmarkError(f"{counts.all_failed:,} of {counts.listed:,} tracks have failed")
        location = check_destination(destination, job.tables.root, report.catalog)
        done = publish_labels(job.tables, model, location, form, may_shrink=False)
    except Exception as error:
        log.warning("labels not published", location=destination, error=error)
        internal = "" if isinstance(error, EarmarkError) else f"internal error: {type(error).__name__}: "
        done = Publication(location=destination, format=form, model=model, error=f"{internal}{error}")
    return report.model_copy(update={"publication": done})
