"""Ctrl-C, SIGTERM and SIGHUP: stop a run in time before it is killed.

Ctrl-C lets the work in flight finish; a second Ctrl-C, SIGTERM, or SIGHUP (of a terminal that is closed),
gives it one second. SIGTERM is usually followed by SIGKILL: ``ray job stop`` sends it after three seconds. By
then the report and the lease must be in order, even if the main thread is stuck. Python runs signal handlers
only in the main thread, between two bytecode instructions, so a separate thread also receives signals, by
`signal.set_wakeup_fd`, and closes the run if the main thread does not.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Protocol

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_MAIN_THREAD_S = 2.0
"""Seconds after the signal within which the main thread should close the run."""
_UNWIND_S = 1.0
"""Seconds for a main thread that has not closed the run, before the process exits without it."""
_ACCOUNT_S = 20.0
"""Seconds for a main thread that has, to count what was written in a store that may be slow."""
_EXIT_CODE = 130


class Closing(Protocol):
    """Work that must be done before the process is killed."""

    def __call__(self) -> None:
        """Do the work, unless it is already done."""

    @property
    def closed(self) -> threading.Event:
        """Set when the work is done."""


class Interrupt:
    """Tracks whether the run was asked to stop, and calls the functions that stop it.

    Attributes
    ----------
    was_requested : bool
        Whether a signal was received.
    """

    def __init__(self) -> None:
        self.was_requested = False
        self._stop: Callable[[], None] | None = None
        self._halt: Callable[[], None] | None = None
        self._closing: Closing | None = None
        self._ended = threading.Event()
        under_nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        self._handled = tuple(each for each in _SIGNALS if each != signal.SIGHUP or not under_nohup)

    def install(self) -> None:
        """Handle the signals; call it again after Ray has started and replaced the handlers."""
        for number in self._handled:
            signal.signal(number, self._on_signal)

    def set_handlers(self, stop: Callable[[], None], halt: Callable[[], None]) -> None:
        """From now on, call `stop` on the first Ctrl-C, and `halt` on a second one, SIGTERM or SIGHUP.

        If a signal came earlier and the run still continues, some code swallowed KeyboardInterrupt: stop now.
        """
        self._stop, self._halt = stop, halt
        if self.was_requested:
            stop()

    def clear_handlers(self) -> None:
        """From now on, let a signal raise KeyboardInterrupt, as it does initially."""
        self._stop = self._halt = None

    def defer(self) -> None:
        """From now on, only note signals, since the remaining work is short."""
        self.set_handlers(lambda: None, lambda: None)

    def close_with(self, closing: Closing) -> None:
        """Call `closing` if the main thread does not do so soon after it was asked to stop at once."""
        self._closing = closing

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        first, self.was_requested = not self.was_requested, True
        if self._stop is not None and self._halt is not None:
            gently = first and number == signal.SIGINT
            (self._stop if gently else self._halt)()
        elif first or number == signal.SIGINT:  # a second SIGTERM must not disturb the cleanup
            raise KeyboardInterrupt

    def watch(self, descriptor: int) -> None:
        """Read signal numbers until the other end is closed, and make sure that they take effect."""
        heard = False
        while numbers := os.read(descriptor, 64):
            for number in numbers:
                at_once = number != signal.SIGINT or self._stop is None or heard
                heard = heard or number in _SIGNALS
                if number in _SIGNALS and at_once and self._closing is not None:
                    self._see_closed(self._closing)
                    return

    def _see_closed(self, closing: Closing) -> None:
        in_time = closing.closed.wait(_MAIN_THREAD_S)
        if not in_time:
            closing()
        if not self._ended.wait(_ACCOUNT_S if in_time else _UNWIND_S):
            os.write(2, b"earmark: interrupted; run the same command again to continue\n")
            os._exit(_EXIT_CODE)

    def end(self) -> None:
        """Note that the main thread has finished, so that nothing needs to be enforced anymore."""
        self._ended.set()
        if self._closing is not None:
            self._closing.closed.set()


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Handle SIGINT, SIGTERM and SIGHUP with an `Interrupt` during a ``with`` block."""
    interrupt = Interrupt()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    wakeup_before = signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    watcher = threading.Thread(target=interrupt.watch, args=(ours,), daemon=True, name="signals")
    watcher.start()
    interrupt.install()
    try:
        yield interrupt
    finally:
        interrupt.end()
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup_before)
        os.close(theirs)
        watcher.join()
        os.close(ours)
