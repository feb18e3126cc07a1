"""The process of `isolation.Isolated`: ``python -m pipeline.shards.isolated_process DESCRIPTOR PARENT``."""

import ctypes
import os
import pickle
import resource
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

from pipeline.log_events import Event, recorded
from pipeline.shards.transfer import TransferError, described
from schemas.errors import EnvironmentFaultError

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Answer calls until the parent closes its end."""
    descriptor, parent = map(int, sys.argv[1:])
    _die_with(parent)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # crashes are expected, and would fill the disk
    with Connection(descriptor) as pipe:
        pipe.send_bytes(pickle.dumps("ready"))
        while True:
            try:
                call = pipe.recv_bytes()
            except EOFError:
                return
            pipe.send_bytes(_encoded(*_answer(call)))


def _answer(call: bytes) -> tuple[Any, tuple[Event, ...]]:
    """What a pickled call returns or raises, and what it logged."""
    try:
        function, arguments, level = pickle.loads(call)  # noqa: S301 (from the parent alone)
    except Exception as error:
        # The same code runs in both processes, or nothing that either says counts.
        fault = EnvironmentFaultError(
            f"a process that a worker started cannot load its code: {described(error)}; install the same "
            "Earmark and all it needs on every node"
        )
        return fault, ()
    with recorded(level) as log:
        try:
            answer = function(*arguments)
        except Exception as error:
            answer = error
    return answer, log.events()


def _encoded(answer: Any, events: tuple[Event, ...]) -> bytes:
    """An answer pickled with what was logged, or in its place why it cannot be."""
    try:
        data = pickle.dumps((answer, events))
        if isinstance(answer, Exception):
            pickle.loads(data)  # noqa: S301 (our own: many exceptions pickle and do not unpickle)
    except Exception as error:
        if isinstance(answer, Exception):
            reason = f"{described(answer)} (an error that cannot be pickled)"
        else:
            reason = f"a result of type {type(answer).__name__} cannot be pickled: {described(error)}"
        return pickle.dumps((TransferError(reason), events))
    return data


def _die_with(parent: int) -> None:
    """Have the kernel end this process with its parent: its work is then started again elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before
            os._exit(0)


if __name__ == "__main__":
    main()
