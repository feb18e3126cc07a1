"""KeyboardInterrupt, with which Ray cancels a task: deferred during writes, and never lost in C code."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

Handler = Callable[[int, FrameType | None], object]


@contextlib.contextmanager
def defer_interrupts() -> Iterator[None]:
    """Defer a KeyboardInterrupt to the end of the block, if this is the main thread.

    A task that has ended then has no write in flight.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _note_interrupts(lambda number, frame: None) as received:
        yield
    if received:
        raise KeyboardInterrupt


@contextlib.contextmanager
def deliver_interrupts() -> Iterator[None]:
    """Raise a KeyboardInterrupt that came within the block no later than at its end.

    A decoder calls back into Python for bytes. An exception raised there is printed and lost, and to the
    decoder the file ends at that point: the result of the block must not count.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    received: list[int] = []
    try:
        with _note_interrupts(before) as received:
            yield
    finally:
        if received:
            raise KeyboardInterrupt


@contextlib.contextmanager
def _note_interrupts(handle: Handler) -> Iterator[list[int]]:
    """Collect the SIGINTs that come within the block, each of which is also given to `handle`."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        handle(number, frame)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield received
    finally:
        signal.signal(signal.SIGINT, before)
