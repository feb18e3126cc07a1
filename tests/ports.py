"""Ports for the servers that tests start."""

import random
import socket
import subprocess
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Ray's workers take ports below these; above them are those of connections, and of servers that let the
# system choose (`/proc/sys/net/ipv4/ip_local_port_range`). So nothing comes between probe and server's start.
_PORTS = range(20_000, 32_000)


def free_port(n: int = 1) -> int:
    """Return a port that nothing listens on, free together with the `n` - 1 ports above it.

    Drawn from all that there are: several processes of a test run may ask at the same time.
    """
    for _ in range(1000):
        port = random.SystemRandom().choice(_PORTS[:-n])
        if all(_is_free(port + offset) for offset in range(n)):
            return port
    raise RuntimeError(f"no {n} free ports from {_PORTS.start} to {_PORTS.stop}")


def start_server(start: Callable[[], T], clean_up: Callable[[], None]) -> T:
    """Start a server on free ports; again, up to twice, if something took these while it started.

    Parameters
    ----------
    start : callable
        Raises RuntimeError or subprocess.TimeoutExpired if the server does not start.
    clean_up : callable
        Removes what a failed start has left.
    """
    for last in (False, False, True):
        try:
            return start()
        except (RuntimeError, subprocess.TimeoutExpired):
            clean_up()
            if last:
                raise
    raise AssertionError


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
