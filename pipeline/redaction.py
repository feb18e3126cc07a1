"""Redact secrets from reports and logs: passwords, signatures, tokens and keys."""

import os
import re
from functools import cache
from urllib.parse import quote

_HIDDEN = "(hidden)"
# Atomic: with backtracking, a long "tokentokentoken" would take quadratic time.
_NAMES = (
    r"(?>[\w.-]*?(?:secret|token|password|passwd|signature|credential|(?:access|account|api|storage)_?key)"
    r"[\w.-]*+)"
)
_NAME = re.compile(_NAMES, re.IGNORECASE)
# A password may hold slashes and more of "@". What stands before a slash may also be a port.
_USER = re.compile(
    r"(?<=://)(?:[^/\s:@\[]*+:(?!\d{1,5}(?:[/?#\s]|$))(?:(?!://)\S)*@|[^/\s]+@)",
)
_VALUES = re.compile(
    rf"((?<![\w.-])(?:(?:{_NAMES}|sig)=|x-amz-{_NAMES}:\s*)|['\"]{_NAMES}['\"]\s*:\s*['\"])[^&;\s'\"]+",
    re.IGNORECASE,
)
_HEADER = re.compile(r"((?<!\w)(?:proxy-)?authorization['\"]?\s*[:=]\s*['\"]?)[^'\"\r\n]+", re.IGNORECASE)
# With the secret that follows in an address as Hadoop took it, in which there may be slashes.
_KEY_ID = re.compile(r"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])(?::[^@\s]*+(?=@))?")
_PASSWORD = re.compile(r"://[^/@\s:]*:(\S+)@")
_SHORTEST = 6
"""Minimum length of a secret in the environment; a shorter value would hide parts of ordinary text."""


def redact(text: str, *, name: str = "") -> str:
    """Return a text without the passwords of addresses and the signatures and tokens of signed URLs.

    Values of environment variables whose names denote a secret are hidden everywhere.

    Parameters
    ----------
    text : str
        Any text, such as a URI or a message with one in it.
    name : str
        Name of the setting that holds the text; if it denotes a secret, the whole text is hidden.
    """
    if name and _NAME.fullmatch(name):
        return _HIDDEN
    for secret in _secrets():
        text = text.replace(secret, _HIDDEN)
    text = _HEADER.sub(rf"\1{_HIDDEN}", _USER.sub(f"{_HIDDEN}@", text))
    return _KEY_ID.sub(_HIDDEN, _VALUES.sub(rf"\1{_HIDDEN}", text))


@cache
def _secrets() -> tuple[str, ...]:
    """Return the secrets in the environment, by name or as the password of an address, longest first."""
    found: set[str] = set()
    for name, value in os.environ.items():
        if _NAME.fullmatch(name) and not value.startswith("/"):  # the path of a file is not a secret
            found.add(value)
        found.update(_PASSWORD.findall(value))
    long = {secret for secret in found if len(secret) >= _SHORTEST}
    return tuple(sorted(long | {quote(secret, safe="") for secret in long}, key=len, reverse=True))
