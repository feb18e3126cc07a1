"""Check a path or a URI that a caller in Python has given."""

import os

from schemas.errors import MisuseError


def path_argument(value: object, what: str) -> str:
    """Return a path or a URI as text.

    Parameters
    ----------
    value : object
        What was given.
    what : str
        What it should name, such as "a track", for the message.

    Raises
    ------
    MisuseError
        If it is neither text nor a path, or has a null character, which no path has.
    """
    if not isinstance(value, str | os.PathLike):
        raise MisuseError(f"{what} is given by its name, path or URI, not by {value!r}")
    text = str(os.fspath(value))
    if "\0" in text:
        raise MisuseError(f"{what} is named {text!r}, but no path has a null character")
    return text
