"""Isolation: risky work runs in a child process, whose exit code shows what a track did to it."""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from typing import Any

from pipeline import standard_error
from pipeline.log import get_logger, level
from pipeline.log_events import replay
from pipeline.shards.limits import TIMED_OUT, TOO_MUCH_MEMORY, TrackLimits
from pipeline.shards.process_errors import TransferError, format_error
from schemas.errors import (
    DecoderCrashedError,
    EnvironmentFaultError,
    TimedOutError,
    TooMuchMemoryError,
    TrackError,
)

log = get_logger(__name__)

MAX_KILLS = 10
"""Kills from outside after which the work itself is taken for the cause."""

_EXIT_TIMEOUT_S = 5.0
"""Seconds that a process gets to exit by itself, and again after SIGTERM."""
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
"""Signals that decoders do not cause: they come from preemption, the out-of-memory killer or an operator."""


class ProcessDiedError(Exception):
    """The process died during a call.

    Parameters
    ----------
    code : int
        Its exit code, or the negative number of the signal that killed it.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"the process ended with {code}")
        self.code = code

    @property
    def from_outside(self) -> bool:
        """Whether something other than the work killed it."""
        return -self.code in _FROM_OUTSIDE

    @property
    def how(self) -> str:
        """How it died, in words: "SIGSEGV", "exit code 3"."""
        if self.code >= 0:
            return f"exit code {self.code}"
        known = -self.code in set(signal.Signals)
        return signal.Signals(-self.code).name if known else f"signal {-self.code}"


class Isolated:
    """A child process that runs one call at a time.

    It is started when needed and dies with this process at the latest. Calls and results are pickled: the
    child is trusted as much as this process, which would otherwise do the same work itself.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None

    @property
    def is_running(self) -> bool:
        """Whether there is a process, and it lives."""
        return self._process is not None and self._process.poll() is None

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call `function`, which must be importable by name, in the process and return its result.

        Raises
        ------
        ProcessDiedError
            If the process died during the call; the next call starts a new one.
        TransferError
            If the call or its result cannot be pickled.
        EnvironmentFaultError, OSError
            If the process does not start, or this machine has no room for it.
        """
        call = pickle.dumps((function, arguments, level()))
        pipe = self._pipe or self._start()
        try:
            pipe.send_bytes(call)
            data = pipe.recv_bytes()
        except (EOFError, OSError):
            raise ProcessDiedError(self.close()) from None
        try:
            result, events = pickle.loads(data)  # noqa: S301 (from our own process)
        except Exception as error:
            raise TransferError(
                f"a result of the child process cannot be unpickled: {format_error(error)}"
            ) from error
        replay(events)
        if isinstance(result, Exception):
            raise result
        return result

    def _start(self) -> Connection:
        """Start the process and wait until it is ready, so that a later death is due to its work.

        Raises
        ------
        ProcessDiedError
            If it was killed while starting.
        EnvironmentFaultError, OSError
            If it does not start, or this machine has no room for it: no fault of the work.
        """
        standard_error.open_if_closed()
        pipe, theirs = Pipe()
        # Python imports from nothing else, such as a Path that a notebook has added.
        folders = [entry for entry in sys.path if isinstance(entry, str) and entry]
        with theirs:
            # -P: a folder named pipeline in the worker's current directory must not be imported.
            command = [sys.executable, "-P", "-m", "pipeline.shards.isolated_process", str(theirs.fileno())]
            self._process = subprocess.Popen(  # noqa: S603 (this very interpreter)
                [*command, str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(folders)},
            )
        self._pipe = pipe
        try:
            pipe.recv_bytes()
        except (EOFError, OSError):
            code = self.close()
            if code > 0:
                raise EnvironmentFaultError(
                    f"a worker cannot start a child process (exit code {code}); "
                    "check that Earmark and its dependencies are installed there, and run again"
                ) from None
            raise ProcessDiedError(code) from None
        return pipe

    def close(self) -> int:
        """End the process, if there is one, by force if necessary; return its exit code."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        process, self._process = self._process, None
        if process is None:
            return 0
        for end in (process.terminate, process.kill):
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(_EXIT_TIMEOUT_S)
            end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(_EXIT_TIMEOUT_S)
        return -signal.SIGKILL  # it hangs in a system call; the kernel kills it when that returns


def call_with_restarts(process: Isolated, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a call in `process` returns, repeating it when the process is killed from outside.

    Raises
    ------
    ProcessDiedError
        If the work killed the process, or if it was killed from outside `MAX_KILLS` times.
    """
    for attempt in range(1, MAX_KILLS + 1):
        try:
            return process.call(function, *arguments)
        except ProcessDiedError as death:
            if attempt == MAX_KILLS or not death.from_outside:
                raise
            log.warning("process was killed from outside, starting another", attempt=attempt, by=death.how)
    raise AssertionError("unreachable")


def decoding_failure(death: ProcessDiedError, uri: str, limits: TrackLimits) -> TrackError:
    """Return the failure of the track that a process was decoding when it died."""
    if death.code == TIMED_OUT:
        return TimedOutError(
            f"{uri} took longer than {limits.timeout_s:g} s to decode; if the file is good, allow more with "
            "--track-timeout and --retry-failed"
        )
    if death.code == TOO_MUCH_MEMORY:
        return TooMuchMemoryError(
            f"{uri} took more than {limits.memory_bytes >> 20} MB of memory to decode; if the file is good, "
            "allow more with --track-memory and --retry-failed"
        )
    if death.from_outside:
        return DecoderCrashedError(
            f"{uri}: its decoding process was killed {MAX_KILLS} times ({death.how}); the machine may have "
            "too little memory for it"
        )
    return DecoderCrashedError(f"{uri} crashes its decoder ({death.how}); replace the file")
