"""What ``earmark publish``, and a run that publishes, print."""

from jobs.console.output import console
from pipeline.formatting import count_text
from schemas.report import Publication


def print_publication(done: Publication) -> None:
    """Print what was published, or that nothing had changed."""
    rows = count_text(done.rows, "row")
    if not done.written:
        are = "is" if done.rows == 1 else "are"
        console.print(f"nothing to publish: {rows} in {done.location} {are} up to date")
        return
    version = "" if done.version is None else f" as version {done.version}"
    changes = f"{done.changed:,} new or changed, {done.removed:,} removed"
    console.print(f"{rows} published to {done.location}{version}: {changes}")
