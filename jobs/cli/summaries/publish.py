"""What ``earmark publish``, and a run that publishes, print."""

from jobs.console.output import console
from pipeline.formatting import publication_text
from schemas.report import Publication


def print_publication(done: Publication) -> None:
    """Print what was published, or that nothing had changed."""
    console.print(publication_text(done))
