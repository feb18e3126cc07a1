"""What the command says on stderr, and the exit codes that are no errors."""

import sys

INTERRUPTED = 130
TOO_MANY_FAILURES = 3


def say(sentence: str) -> None:
    """Say a sentence to the person who waits."""
    print(f"earmark: {sentence}", file=sys.stderr, flush=True)
