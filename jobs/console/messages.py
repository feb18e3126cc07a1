"""What the command says on stderr, and the exit codes that are no errors."""

import sys
import unicodedata

INTERRUPTED = 130
TOO_MANY_FAILURES = 3
UNCHECKED = 4
_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"


def say(sentence: str) -> None:
    """Say a sentence to the person who waits."""
    print(f"earmark: {printable(sentence)}", file=sys.stderr, flush=True)


def printable(value: object) -> str:
    """A value as text that a terminal shows as it is: what would steer it is escaped as Python does.

    That is: control characters, line ends, and what turns the direction of writing. Blanks of all scripts
    stay, and so does what joins letters and emoji.
    """
    text = "" if value is None else str(value)
    if text.isprintable():
        return text
    return "".join(each if _is_harmless(each) else _escaped(each) for each in text)


def _is_harmless(character: str) -> bool:
    return character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
