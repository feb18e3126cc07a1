"""Limits of time and memory for one track: exceeding them ends the process, even one stuck in C code."""

import contextlib
import io
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from schemas.config import RunConfig

TIMED_OUT = -signal.SIGALRM
"""Exit code, as `subprocess` reports it, of a process whose track took too long: the negative signal."""
TOO_MUCH_MEMORY = 86
"""Exit code of a process whose track took too much memory."""

_CHECK_EVERY_S = 0.02
_STATM = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class TrackLimits:
    """Time and memory that one track may take.

    Attributes
    ----------
    timeout_s : float
        Seconds to decode and featurize it, not counting the time spent waiting for a store.
    memory_bytes : int
        Bytes that its process may grow by. Enforced only where there is a ``/proc``, as on Linux.
    """

    timeout_s: float
    memory_bytes: int

    @classmethod
    def of(cls, config: RunConfig) -> "TrackLimits":
        """Return the limits that a run sets."""
        return cls(config.track_timeout_s, config.track_memory_mb << 20)

    @contextlib.contextmanager
    def enforce(self, file: BinaryIO, *, remote: bool) -> Iterator[BinaryIO]:
        """End this process with `TIMED_OUT` or `TOO_MUCH_MEMORY` if the block exceeds the limits.

        Nothing less stops a decoder that loops or allocates in C; the parent process finds the track.

        Parameters
        ----------
        file : BinaryIO
            The track's file, which is closed at the end of the block.
        remote : bool
            Whether reads from `file` may wait for a store.

        Yields
        ------
        BinaryIO
            The file to read from; if `remote`, the clock stops during reads.
        """
        clock = _Clock(self.timeout_s)
        with file, _limit_memory(self.memory_bytes), clock:
            yield cast(BinaryIO, _UntimedFile(file, clock)) if remote else file


def time_limit(timeout_s: float) -> contextlib.AbstractContextManager[None]:
    """End this process with `TIMED_OUT` if the block takes longer than this.

    A process has one such limit at a time. Before other threads use it, the main one calls
    `allow_time_limits`.
    """
    return _Clock(timeout_s)


def allow_time_limits() -> None:
    """Let time limits end this process, even if its parent ignores their signal, which is passed on."""
    if signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


class _Clock:
    """Ends this process after some seconds; it can be stopped and restarted.

    The kernel kills the process with a signal that nothing catches. That needs neither the interpreter's
    lock, which a decoder may hold, nor a walk over the running frames, in which `faulthandler` crashes one
    time in ten. A process has only one such timer, so other users of it, such as pytest-timeout, must run in
    another process.
    """

    def __init__(self, timeout_s: float) -> None:
        self._left_s = timeout_s
        self._since = 0.0

    def __enter__(self) -> None:
        allow_time_limits()
        # A parent that blocks the signal passes that on, too.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        self._run()

    def __exit__(self, *exception: object) -> None:
        self._stop()

    def _run(self) -> None:
        self._since = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, max(self._left_s, 1e-3))

    def _stop(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._left_s -= time.monotonic() - self._since

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        self._stop()
        try:
            yield
        finally:
            self._run()


class _UntimedFile(io.BufferedIOBase):
    """A file whose reads stop the clock."""

    def __init__(self, file: BinaryIO, clock: _Clock) -> None:
        self._file = file
        self._clock = clock

    def read(self, size: int | None = -1) -> bytes:
        with self._clock.stopped():
            return self._file.read(-1 if size is None else size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


@contextlib.contextmanager
def _limit_memory(max_bytes: int) -> Iterator[None]:
    """End this process if it grows by more than `max_bytes` in the block."""
    limit = private_bytes() + max_bytes
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_CHECK_EVERY_S):
            if private_bytes() > limit:
                with contextlib.suppress(OSError):  # nobody may read it, and the limit must hold
                    os.write(2, f"earmark: a track takes more than {max_bytes >> 20} MB\n".encode())
                os._exit(TOO_MUCH_MEMORY)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def private_bytes() -> int:
    """Return the resident memory that this process shares with no other process or file; 0 if unknown."""
    try:
        _, resident, shared, *_ = _STATM.read_bytes().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
