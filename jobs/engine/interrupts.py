"""Ctrl-C and SIGTERM: how a run is asked to stop, and that it has stopped before it is killed.

Ctrl-C lets what is in flight finish; a second one, or SIGTERM, gives it a second. Who sends SIGTERM kills
soon after: ``ray job stop`` after three seconds. By then the run's report and its lease must be in order,
whatever the main thread is stuck in. Python runs signal handlers in the main thread only, between two of its
instructions; so a thread of its own hears of signals too, by `signal.set_wakeup_fd`, and closes the run where
the main thread does not.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Protocol

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_MAIN_THREAD_S = 2.0
"""Seconds after the signal in which the main thread is to have closed the run."""
_UNWIND_S = 1.0
"""Seconds for a main thread that has not, before the process ends without it."""
_ACCOUNT_S = 20.0
"""Seconds for one that has: to count what was written, over a store that may be slow."""
_EXIT_CODE = 130


class Closing(Protocol):
    """What has to be done before the process may be killed."""

    def __call__(self) -> None:
        """Do it, unless it is done."""

    @property
    def closed(self) -> threading.Event:
        """Set when it is done."""


class Interrupt:
    """Whether the run was asked to stop, and who is to be told.

    Attributes
    ----------
    asked : bool
        Whether a signal came.
    """

    def __init__(self) -> None:
        self.asked = False
        self._stop: Callable[[], None] | None = None
        self._halt: Callable[[], None] | None = None
        self._closing: Closing | None = None
        self._ended = threading.Event()

    def install(self) -> None:
        """Handle SIGINT and SIGTERM from now on. Ray's start puts handlers of its own in place of these."""
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)

    def tell(self, stop: Callable[[], None], halt: Callable[[], None]) -> None:
        """From now on call `stop` at the first Ctrl-C, `halt` at a second one or at SIGTERM.

        Who was asked to stop before, and goes on all the same, met code that drops KeyboardInterrupt.
        """
        self._stop, self._halt = stop, halt
        if self.asked:
            stop()

    def tell_nobody(self) -> None:
        """From now on a signal raises KeyboardInterrupt, as it does at first."""
        self._stop = self._halt = None

    def defer(self) -> None:
        """From now on a signal is noted and changes nothing: what is left to do takes a moment."""
        self.tell(lambda: None, lambda: None)

    def close_with(self, closing: Closing) -> None:
        """Call `closing` when the main thread has not done so soon after it was asked to stop at once."""
        self._closing = closing

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        first, self.asked = not self.asked, True
        if self._stop is not None and self._halt is not None:
            gently = first and number == signal.SIGINT
            (self._stop if gently else self._halt)()
        elif first or number == signal.SIGINT:  # who sends SIGTERM twice does not want less order
            raise KeyboardInterrupt

    def watch(self, descriptor: int) -> None:
        """Read the numbers of signals until the other end is closed, and see to it that they take effect."""
        heard = False
        while numbers := os.read(descriptor, 64):
            for number in numbers:
                at_once = number == signal.SIGTERM or self._stop is None or heard
                heard = heard or number in _SIGNALS
                if number in _SIGNALS and at_once and self._closing is not None:
                    self._see_closed(self._closing)
                    return

    def _see_closed(self, closing: Closing) -> None:
        in_time = closing.closed.wait(_MAIN_THREAD_S)
        if not in_time:
            closing()
        if not self._ended.wait(_ACCOUNT_S if in_time else _UNWIND_S):
            os.write(2, b"earmark: interrupted; run the same command again to go on\n")
            os._exit(_EXIT_CODE)

    def end(self) -> None:
        """The main thread has come to the end: nothing needs to be seen to any more."""
        self._ended.set()
        if self._closing is not None:
            self._closing.closed.set()


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Handle SIGINT and SIGTERM by an `Interrupt` for the length of a ``with`` block."""
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
