"""Ctrl-C and SIGTERM: the first one asks the work to end, the second one ends it."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


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

    def install(self) -> None:
        """Handle SIGINT and SIGTERM from now on. Ray's start puts handlers of its own in place of these."""
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)

    def tell(self, stop: Callable[[], None] | None) -> None:
        """Call `stop` at the first signal from now on; None: signals end the work at once."""
        self._stop = stop

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # Nobody to tell, or told before: the work ends here.
        first, self.asked = not self.asked, True
        if self._stop is None or not first:
            raise KeyboardInterrupt
        self._stop()


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Handle SIGINT and SIGTERM by an `Interrupt` for the length of a ``with`` block."""
    interrupt = Interrupt()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    interrupt.install()
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
