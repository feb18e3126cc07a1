"""Messages on stderr, and the exit codes that do not come from an error."""

import sys
import unicodedata
from collections.abc import Callable

Say = Callable[[str], None]
"""Prints a message for the user."""
INTERRUPTED = 130
TOO_MANY_FAILURES = 3
UNCHECKED = 4
NOT_PUBLISHED = 6
UNREAD = 141
"""What a shell says of a program that SIGPIPE ended: the reader of its output has closed the pipe."""
_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"


def say(sentence: str) -> None:
    """Print a message to stderr."""
    print(f"earmark: {printable(sentence)}", file=sys.stderr, flush=True)


def printable(value: object) -> str:
    """Return a value as text that is safe to print: characters that control a terminal are escaped.

    These are control characters, line ends and bidirectional controls. Spaces of all scripts are kept, and so
    are the joiners of letters and emoji.
    """
    text = "" if value is None else str(value)
    if text.isprintable():
        return text
    return "".join(each if _is_harmless(each) else _escape(each) for each in text)


def _is_harmless(character: str) -> bool:
    return character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
