"""A child process that is kept for a while after a call, so that the next one need not wait for its start."""

import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from pipeline.shards.isolation import Isolated

IDLE_S = 30.0
"""Seconds after which an idle process is ended."""


class _Idle(NamedTuple):
    process: Isolated
    environment: dict[str, str]
    end: threading.Timer


_lock = threading.Lock()
_idle: _Idle | None = None


@contextmanager
def kept_process() -> Iterator[Isolated]:
    """Lend the idle process, or else a new one, and keep it if the block ends without an exception.

    A process is lent to one thread at a time, and one is kept; it ends with the thread that started it. It is
    not lent if variables of the environment have changed since the last call: they may be the credentials of
    a store. During a call, TensorFlow sets some.
    """
    idle = _exchange(None)
    if idle is not None and (idle.environment != dict(os.environ) or not idle.process.is_running):
        idle.process.close()
        idle = None
    process = Isolated() if idle is None else idle.process
    try:
        yield process
    except BaseException:
        process.close()  # it may be in the middle of a call
        raise
    if not process.is_running:
        process.close()
        return
    end = threading.Timer(IDLE_S, end_idle_process)
    end.daemon = True
    other = _exchange(_Idle(process, dict(os.environ), end))
    end.start()
    if other is not None:
        other.process.close()


@atexit.register
def end_idle_process() -> None:
    """End the idle process, if there is one."""
    if (idle := _exchange(None)) is not None:
        idle.process.close()


def _exchange(new: _Idle | None) -> _Idle | None:
    """Return what was idle, which it is no longer, and put something else in its place."""
    global _idle
    with _lock:
        old, _idle = _idle, new
    if old is not None:
        old.end.cancel()
    return old


def _forget() -> None:
    """Leave the process to the one from which this one was forked."""
    global _lock, _idle
    _lock, _idle = threading.Lock(), None


os.register_at_fork(after_in_child=_forget)
