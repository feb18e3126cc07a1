"""The token that a local Ray asks for."""

import contextlib
import os
import secrets
from collections.abc import Iterator

_TOKEN = secrets.token_hex(32)
"""One for all local Rays of this process: Ray reads it once."""


@contextlib.contextmanager
def own_token() -> Iterator[None]:
    """Have a local Ray that is started in the ``with`` block ask for a token, unless RAY_AUTH_MODE is set.

    Ray listens on all networks of the machine: without a token, anybody there could run code as this user. By
    default, Ray asks for one, but leaves it in the user's home, and later clusters would ask for it too. This
    one is known only to this process and its children.
    """
    if "RAY_AUTH_MODE" in os.environ:
        yield
        return
    before = os.environ.get("RAY_AUTH_TOKEN")
    os.environ["RAY_AUTH_TOKEN"] = before or _TOKEN
    try:
        yield
    finally:
        os.environ.pop("RAY_AUTH_MODE", None)  # Ray has set it
        if before is None:
            del os.environ["RAY_AUTH_TOKEN"]
