"""What cannot be handed from one process to another, said as what it is."""


class TransferError(Exception):
    """A call, a result or an error cannot be pickled or unpickled; no process died, and no track is bad."""


def format_error(error: BaseException) -> str:
    """Return an error's type and message, whatever its ``__str__`` does."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__
