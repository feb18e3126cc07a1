"""Hiding what a reader of a report must not see: passwords in addresses, signatures, tokens."""

import re

_HIDDEN = "(hidden)"
_NAMES = r"[\w.-]*(?:secret|token|password|passwd|signature|credential|access_?key|api_?key)[\w.-]*"
_USER = re.compile(r"(?<=://)[^/@\s]*:[^/@\s]+@")
_PARAMETER = re.compile(rf"([?&;]{_NAMES}=)[^&;\s'\"]+", re.IGNORECASE)
_NAME = re.compile(_NAMES, re.IGNORECASE)


def redact(text: str, *, name: str = "") -> str:
    """The text with passwords of addresses, and signatures and tokens of signed ones, left out.

    Parameters
    ----------
    text : str
        Any text, such as a URI or a message with one in it.
    name : str
        The setting whose value it is: one that is called a secret is hidden whole.
    """
    if name and _NAME.fullmatch(name):
        return _HIDDEN
    return _PARAMETER.sub(rf"\1{_HIDDEN}", _USER.sub(f"{_HIDDEN}@", text))
