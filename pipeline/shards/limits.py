"""Limits of time and memory for one track: what goes beyond ends the process, whatever it is stuck in."""

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

TIMED_OUT = -signal.SIGALRM
"""Exit code of a process whose track took too long, as `subprocess` counts: the signal that ended it."""
TOO_MUCH_MEMORY = 86
"""Exit code of a process whose track took too much memory."""

_CHECK_EVERY_S = 0.02
_STATM = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class TrackLimits:
    """What one track may take.

    Attributes
    ----------
    timeout_s : float
        Seconds to decode and featurize it, without those that a store takes to hand out its bytes.
    memory_bytes : int
        Memory that its process may grow by meanwhile. Only where there is a ``/proc``, as on Linux.
    """

    timeout_s: float
    memory_bytes: int

    @contextlib.contextmanager
    def enforce(self, file: BinaryIO, *, remote: bool) -> Iterator[BinaryIO]:
        """End this process with `TIMED_OUT` or `TOO_MUCH_MEMORY` if the block takes more.

        Nothing less stops a decoder that loops or allocates in C; who started the process finds the track.

        Parameters
        ----------
        file : BinaryIO
            The track's file, which is closed at the end of the block.
        remote : bool
            Whether reading from `file` may wait for a store.

        Yields
        ------
        BinaryIO
            The file to read from: while a store is waited for, the clock stands still.
        """
        clock = _Clock(self.timeout_s)
        with file, _limit_memory(self.memory_bytes), clock:
            yield cast(BinaryIO, _UntimedFile(file, clock)) if remote else file


def time_limit(timeout_s: float | None) -> contextlib.AbstractContextManager[None]:
    """End this process with `TIMED_OUT` if the block takes longer; None: it may take as long as it likes."""
    return contextlib.nullcontext() if timeout_s is None else _Clock(timeout_s)


class _Clock:
    """Ends this process when it has run for so many seconds; it can be stopped and started again.

    The kernel does it, by a signal that nothing catches: that needs neither the interpreter's lock, which a
    decoder may hold, nor a look at what runs, at which `faulthandler` crashes one time in ten.
    A process has one such timer: another user of it, as pytest-timeout, needs a process of its own.
    """

    def __init__(self, timeout_s: float) -> None:
        self._left_s = timeout_s
        self._since = 0.0

    def __enter__(self) -> None:
        # Whoever started this process may have handed on that it ignores the signal, or blocks it.
        if signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
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
    """A file whose reads do not count as a track's own time."""

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
    """Memory of this process that it shares with no other and with no file; 0 where that cannot be known."""
    try:
        _, resident, shared, *_ = _STATM.read_bytes().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
