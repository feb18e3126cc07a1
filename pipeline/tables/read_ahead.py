"""Reading objects ahead of time, within a number of them and a total size."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from threading import Event
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 16
"""As many reads as a store answers at once."""
_AHEAD_BYTES = 64 << 20


def read_ahead(
    items: Iterable[T],
    read: Callable[[T], R],
    size_of: Callable[[T], int],
    n_ahead: int,
    abandoned: Event | None = None,
) -> Generator[tuple[T, R]]:
    """Yield each item, in order, with what `read` returns for it, while the next few are being read.

    Parameters
    ----------
    items : iterable
        What to read.
    read : callable
        Reads an item, in another thread.
    size_of : callable
        Returns about how many bytes of memory an item takes once it is read. An item that is larger than all
        that may be read ahead is read by itself.
    n_ahead : int
        How many items may be read ahead.
    abandoned : threading.Event, optional
        Set when no more items are wanted, so that reads that take long can end early.
    """
    with ThreadPoolExecutor(n_ahead) as pool:
        ahead: deque[tuple[T, int, Future[R]]] = deque()
        total = 0
        try:
            for item in items:
                size = size_of(item)
                while ahead and (len(ahead) >= n_ahead or total + size > _AHEAD_BYTES):
                    first, first_size, future = ahead.popleft()
                    total -= first_size
                    yield first, future.result()
                ahead.append((item, size, pool.submit(copy_context().run, read, item)))
                total += size
            while ahead:
                first, _, future = ahead.popleft()
                yield first, future.result()
        finally:
            if abandoned is not None:
                abandoned.set()
            for _, _, future in ahead:
                future.cancel()
