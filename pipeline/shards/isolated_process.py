"""The process of `isolation.Isolated`: ``python -m pipeline.shards.isolated_process DESCRIPTOR PARENT``."""

import ctypes
import os
import resource
import signal
import sys
from multiprocessing.connection import Connection

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Answer calls until the parent closes its end."""
    descriptor, parent = map(int, sys.argv[1:])
    _die_with(parent)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # crashes are expected, and would fill the disk
    with Connection(descriptor) as pipe:
        pipe.send("ready")
        while True:
            try:
                function, arguments = pipe.recv()
            except EOFError:
                return
            try:
                result = function(*arguments)
            except Exception as error:
                result = error
            pipe.send(result)


def _die_with(parent: int) -> None:
    """Have the kernel end this process with its parent: its work is then started again elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before
            os._exit(0)


if __name__ == "__main__":
    main()
