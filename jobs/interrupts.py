"""Ctrl-C and SIGTERM: the first one asks the work to end, the second one ends it."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType


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

    def tell(self, stop: Callable[[], None] | None) -> None:
        """Call `stop` at the first signal from now on; None: signals end the work at once."""
        self._stop = stop

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal.

        Raises
        ------
        KeyboardInterrupt
            If nobody is to be told, or somebody was told before.
        """
        first, self.asked = not self.asked, True
        if self._stop is None or not first:
            raise KeyboardInterrupt
        self._stop()


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Handle SIGINT and SIGTERM by an `Interrupt` for the length of a ``with`` block."""
    interrupt = Interrupt()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, interrupt.on_signal) for number in numbers}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
