"""Work in a thread that does not keep the process from ending."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def run_in_background(work: Callable[[], T], name: str) -> Future[T]:
    """Begin work in a thread of its own, which ends with the process; those of a pool are waited for.

    Parameters
    ----------
    work : callable
        What to do; what it returns or raises is the result.
    name : str
        Name of the thread.
    """
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, daemon=True, name=name).start()
    return result
