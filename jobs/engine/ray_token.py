"""The token that a local Ray asks for."""

import os
import secrets


def set_own_token() -> None:
    """Have local Rays of this process ask for a token, unless RAY_AUTH_MODE or RAY_AUTH_TOKEN is set.

    Ray listens on all networks of the machine: without a token, anybody there could run code as this user. By
    default, Ray asks for one, but leaves it in the user's home, and later clusters would ask for it too. This
    one is known only to this process and its children. It stays in the environment, since Ray reads it once
    in a process: another one would be refused by the next Ray of a notebook.
    """
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
