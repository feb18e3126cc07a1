"""Hiding what a reader of a report or a log must not see: passwords, signatures, tokens, keys."""

import os
import re
from functools import cache
from urllib.parse import quote

_HIDDEN = "(hidden)"
# Atomic, or a long word of "tokentokentoken" would take time in proportion to its square.
_NAMES = r"(?>[\w.-]*?(?:secret|token|password|passwd|signature|credential|access_?key|api_?key)[\w.-]*+)"
_NAME = re.compile(_NAMES, re.IGNORECASE)
_USER = re.compile(r"(?<=://)[^/@\s]+@")
_VALUES = re.compile(
    rf"((?<![\w.-])(?:{_NAMES}=|x-amz-{_NAMES}:\s*)|['\"]{_NAMES}['\"]\s*:\s*['\"])[^&;\s'\"]+",
    re.IGNORECASE,
)
_HEADER = re.compile(r"((?<!\w)(?:proxy-)?authorization['\"]?\s*[:=]\s*['\"]?)[^'\"\r\n]+", re.IGNORECASE)
_KEY_ID = re.compile(r"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])")
_PASSWORD = re.compile(r"://[^/@\s:]*:(\S+)@")
_SHORTEST = 6
"""Of a secret in the environment: a shorter one would hide half of every text."""


def redact(text: str, *, name: str = "") -> str:
    """The text with passwords of addresses, and signatures and tokens of signed ones, left out.

    What this process's environment says in variables that are called secrets is left out wherever it stands.

    Parameters
    ----------
    text : str
        Any text, such as a URI or a message with one in it.
    name : str
        The setting whose value it is: one that is called a secret is hidden whole.
    """
    if name and _NAME.fullmatch(name):
        return _HIDDEN
    for secret in _secrets():
        text = text.replace(secret, _HIDDEN)
    text = _HEADER.sub(rf"\1{_HIDDEN}", _USER.sub(f"{_HIDDEN}@", text))
    return _KEY_ID.sub(_HIDDEN, _VALUES.sub(rf"\1{_HIDDEN}", text))


@cache
def _secrets() -> tuple[str, ...]:
    """Values in the environment under a secret's name, or as an address's password, long ones first."""
    found: set[str] = set()
    for name, value in os.environ.items():
        if _NAME.fullmatch(name) and not value.startswith("/"):  # the path of a file is none
            found.add(value)
        found.update(_PASSWORD.findall(value))
    long = {secret for secret in found if len(secret) >= _SHORTEST}
    return tuple(sorted(long | {quote(secret, safe="") for secret in long}, key=len, reverse=True))
