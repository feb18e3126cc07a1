"""What the command says on stderr, and the exit codes that are no errors."""

import sys

INTERRUPTED = 130
TOO_MANY_FAILURES = 3
UNCHECKED = 4


def say(sentence: str) -> None:
    """Say a sentence to the person who waits."""
    print(f"earmark: {printable(sentence)}", file=sys.stderr, flush=True)


def printable(value: object) -> str:
    """A value as text without control characters, which could steer the terminal."""
    text = "" if value is None else str(value)
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
