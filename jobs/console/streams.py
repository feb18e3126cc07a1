"""What the standard streams do with text that they cannot encode."""

import io
import sys


def prepare_streams() -> None:
    """Let stdout escape characters that its encoding lacks, as stderr does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
