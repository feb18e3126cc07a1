"""Interrupts of a task, by which Ray cancels it: put off while it writes, and never lost in C code."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def defer_interrupts() -> Iterator[None]:
    """Put a KeyboardInterrupt off until the end of the block, as far as the main thread is concerned.

    A task that has ended then has nothing under way to the store.
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
    """Raise KeyboardInterrupt at the end of the block at the latest, where one came in it.

    A decoder calls back into Python for bytes; what is raised there is printed and lost, and to the decoder
    the file ends at that place. What the block makes of such a file must not count.
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
