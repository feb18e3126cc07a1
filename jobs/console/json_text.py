"""Values as JSON that is safe to print."""

import json
import re

_STEERING = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What JSON leaves as it is: old control characters, line ends, what turns the direction of writing, and
halves of characters, which no encoding has."""


def json_text(value: object, *, indent: int | None = None) -> str:
    """A value as JSON, in which what would steer a terminal is escaped too."""
    text = json.dumps(value, ensure_ascii=False, default=plain, indent=indent)
    return _STEERING.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def plain(value: object) -> str:
    """A value that JSON knows no form of, as text."""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
