"""What ``earmark publish``, and a run that publishes, print."""

from jobs.console.output import console
from schemas.report import Publication


def print_publication(done: Publication) -> None:
    """Print what was published, or that nothing had changed."""
    console.print(publication_text(done))


def publication_text(done: Publication) -> str:
    """Return what was published in one sentence."""
    if not done.written:
        return f"nothing to publish: {done.rows:,} rows in {done.location} are up to date"
    version = "" if done.version is None else f" as version {done.version}"
    changes = f"{done.changed:,} new or changed, {done.removed:,} removed"
    return f"{done.rows:,} rows published to {done.location}{version}: {changes}"
