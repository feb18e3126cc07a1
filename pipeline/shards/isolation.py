"""Isolation: work on suspects in a process of its own, whose end tells what a track did to it."""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from typing import Any

from pipeline.log import get_logger, level
from pipeline.log_events import replay
from pipeline.shards.limits import TIMED_OUT, TOO_MUCH_MEMORY, TrackLimits
from pipeline.shards.transfer import TransferError, described
from schemas.errors import (
    DecoderCrashedError,
    EnvironmentFaultError,
    TimedOutError,
    TooMuchMemoryError,
    TrackError,
)

log = get_logger(__name__)

MOST_KILLS = 10
"""So often may a process be killed from outside before what it was at work on is held to be the reason."""

_END_WITHIN_S = 5.0
"""Seconds that a process gets to end by itself, and once more after SIGTERM."""
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
"""Signals that no decoder sends itself: a node that is preempted, a machine out of memory, an operator."""


class ProcessDiedError(Exception):
    """The process died at its work.

    Parameters
    ----------
    code : int
        Its exit code, or the signal's number, negative, that ended it.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"the process ended with {code}")
        self.code = code

    @property
    def from_outside(self) -> bool:
        """Whether something else than the work ended it."""
        return -self.code in _FROM_OUTSIDE

    @property
    def how(self) -> str:
        """How it ended, in words."""
        if self.code >= 0:
            return f"exit code {self.code}"
        known = -self.code in set(signal.Signals)
        return signal.Signals(-self.code).name if known else f"signal {-self.code}"


class Isolated:
    """A process that works for this one, a call at a time.

    It lives as long as this one at most, and is started when it is needed. Calls and results are pickled: it
    is to be trusted as much as this process, which would do the same work otherwise.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what `function`, which must be importable by name, returns in the process.

        Raises
        ------
        ProcessDiedError
            If the process died of it; the next call has a new one.
        TransferError
            If the call, or what came of it, cannot be handed from process to process.
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
                f"a result of the isolated process cannot be unpickled: {described(error)}"
            ) from error
        replay(events)
        if isinstance(result, Exception):
            raise result
        return result

    def _start(self) -> Connection:
        """Start the process; returns when it can work, so that its later end has to do with its work.

        Raises
        ------
        ProcessDiedError
            If it was killed meanwhile.
        EnvironmentFaultError, OSError
            If it does not start, or this machine has no room for it: that is no fault of the work.
        """
        pipe, theirs = Pipe()
        with theirs:
            # -P: a folder called pipeline where the worker happens to stand is not ours.
            command = [sys.executable, "-P", "-m", "pipeline.shards.isolated_process", str(theirs.fileno())]
            self._process = subprocess.Popen(  # noqa: S603 (this very interpreter)
                [*command, str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        self._pipe = pipe
        try:
            pipe.recv_bytes()
        except (EOFError, OSError):
            code = self.close()
            if code > 0:
                raise EnvironmentFaultError(
                    f"a worker cannot start a process of its own (exit code {code}); "
                    "check that Earmark and all it needs are installed there, and run again"
                ) from None
            raise ProcessDiedError(code) from None
        return pipe

    def close(self) -> int:
        """End the process, where there is one, by force if it does not end by itself; its exit code."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        process, self._process = self._process, None
        if process is None:
            return 0
        for end in (process.terminate, process.kill):
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(_END_WITHIN_S)
            end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(_END_WITHIN_S)
        return -signal.SIGKILL  # it hangs in the kernel, which ends it when it can


def surviving(process: Isolated, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a call in `process` returns, starting anew when it is killed from outside.

    Raises
    ------
    ProcessDiedError
        If the work ended it, or if it was killed `MOST_KILLS` times.
    """
    for attempt in range(1, MOST_KILLS + 1):
        try:
            return process.call(function, *arguments)
        except ProcessDiedError as death:
            if attempt == MOST_KILLS or not death.from_outside:
                raise
            log.warning("process was killed from outside, starting another", attempt=attempt, by=death.how)
    raise AssertionError("unreachable")


def decoding_failure(death: ProcessDiedError, uri: str, limits: TrackLimits) -> TrackError:
    """Return what the death of a process means for the track that it decoded."""
    if death.code == TIMED_OUT:
        return TimedOutError(
            f"{uri} took longer than {limits.timeout_s:g} s to decode; if it is right, allow more with "
            "--track-timeout and --retry-failed"
        )
    if death.code == TOO_MUCH_MEMORY:
        return TooMuchMemoryError(
            f"{uri} took more than {limits.memory_bytes >> 20} MB of memory to decode; if it is right, "
            "allow more with --track-memory and --retry-failed"
        )
    if death.from_outside:
        return DecoderCrashedError(
            f"{uri}: the process that decoded it was killed {MOST_KILLS} times ({death.how}); the machine "
            "may have too little memory for it"
        )
    return DecoderCrashedError(f"{uri} crashes its decoder ({death.how}); replace the file")
