"""Values as JSON that is safe to print."""

import json
import re

_UNSAFE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that JSON does not escape but a terminal may act on: C1 control characters, line separators,
bidirectional controls, and lone surrogates, which cannot be encoded."""


def json_text(value: object, *, indent: int | None = None) -> str:
    """Return a value as JSON, with every character escaped that could control a terminal."""
    text = json.dumps(value, ensure_ascii=False, default=to_plain, indent=indent)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def to_plain(value: object) -> str:
    """Return a value that JSON has no type for as text: dates in ISO format."""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
