"""Errors of passing work between processes."""


class TransferError(Exception):
    """A call, result or error cannot be pickled or unpickled; no process died, and no track is at fault."""


def format_error(error: BaseException) -> str:
    """Return an error's type and message, or its type alone if its ``__str__`` raises."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__
