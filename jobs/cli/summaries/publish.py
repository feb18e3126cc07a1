"""What ``earmark publish``, and a run that publishes, print."""

from jobs.console.output import console
from schemas.report import Publication


def print_publication(done: Publication) -> None:
    """Print what was published, or that nothing had changed."""
    if not done.written:
        console.print(f"nothing to publish: {done.rows:,} rows in {done.location} are up to date")
        return
    version = "" if done.version is None else f" as version {done.version}"
    changes = f"{done.changed:,} new or changed, {done.removed:,} removed"
    console.print(f"{done.rows:,} rows published to {done.location}{version}: {changes}")
