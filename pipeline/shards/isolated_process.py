"""Child process of `isolation.Isolated`: ``python -m pipeline.shards.isolated_process DESCRIPTOR PARENT``."""

import signal

if __name__ == "__main__":
    # A Ctrl-C at a terminal arrives here too, maybe during imports; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

import contextlib
import ctypes
import os
import pickle
import resource
import sys
from multiprocessing.connection import Connection
from typing import Any

from pipeline.log_events import Event, record_events
from pipeline.models.tensorflow_setup import use_only_our_keras
from pipeline.shards.process_errors import TransferError, format_error
from schemas.errors import EnvironmentFaultError

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Answer calls until the parent closes its end."""
    descriptor, parent = map(int, sys.argv[1:])
    _die_with(parent)
    use_only_our_keras()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # crashes are expected, and core dumps fill the disk
    with contextlib.suppress(EOFError, ConnectionError), Connection(descriptor) as pipe:
        pipe.send_bytes(pickle.dumps("ready"))
        while True:
            pipe.send_bytes(_encode(*_answer(pipe.recv_bytes())))


def _answer(call: bytes) -> tuple[Any, tuple[Event, ...]]:
    """Return what a pickled call returns or raises, and what it logged."""
    try:
        function, arguments, level = pickle.loads(call)  # noqa: S301 (only from the parent)
    except Exception as error:
        # Parent and child must run the same code, or neither can blame a track.
        fault = EnvironmentFaultError(
            f"a worker's child process cannot load its code: {format_error(error)}; install the same "
            "version of Earmark and its dependencies on every node"
        )
        return fault, ()
    with record_events(level) as log:
        try:
            answer = function(*arguments)
        except Exception as error:
            answer = error
    return answer, log.events()


def _encode(answer: Any, events: tuple[Event, ...]) -> bytes:
    """Pickle an answer with what was logged, or the reason why it cannot be pickled."""
    try:
        data = pickle.dumps((answer, events))
        if isinstance(answer, Exception):
            pickle.loads(data)  # noqa: S301 (our own: many exceptions pickle and do not unpickle)
    except Exception as error:
        if isinstance(answer, Exception):
            reason = f"{format_error(answer)} (an error that cannot be pickled)"
        else:
            reason = f"a result of type {type(answer).__name__} cannot be pickled: {format_error(error)}"
        return pickle.dumps((TransferError(reason), events))
    return data


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies: the work is then restarted elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call above
            os._exit(0)


if __name__ == "__main__":
    main()
