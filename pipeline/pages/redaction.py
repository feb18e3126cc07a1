"""Redaction of secrets in reports: passwords in URLs, signatures and tokens."""

import re

_HIDDEN = "(hidden)"
_NAMES = r"[\w.-]*(?:secret|token|password|passwd|signature|credential|access_?key|api_?key)[\w.-]*"
_USER = re.compile(r"(?<=://)[^/@\s]*:[^/@\s]+@")
_PARAMETER = re.compile(rf"([?&;]{_NAMES}=)[^&;\s'\"]+", re.IGNORECASE)
_NAME = re.compile(_NAMES, re.IGNORECASE)


def redact(text: str, *, name: str = "") -> str:
    """Replace passwords, signatures and tokens in URLs with a placeholder.

    Parameters
    ----------
    text : str
        Any text, such as a URI or a message that contains one.
    name : str
        Name of the setting whose value `text` is. If the name denotes a secret, the whole value is hidden.
    """
    if name and _NAME.fullmatch(name):
        return _HIDDEN
    return _PARAMETER.sub(rf"\1{_HIDDEN}", _USER.sub(f"{_HIDDEN}@", text))
