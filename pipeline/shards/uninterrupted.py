"""KeyboardInterrupt, with which Ray cancels a task: deferred during writes, and never lost in C code."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def defer_interrupts() -> Iterator[None]:
    """Defer a KeyboardInterrupt to the end of the block, if this is the main thread.

    A task that has ended then has no write in flight.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupted = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupted:
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
    interrupted = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if interrupted:
            raise KeyboardInterrupt
