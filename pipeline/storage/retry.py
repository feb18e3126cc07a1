"""Retries of transient storage errors, with exponential backoff and within bounds."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pipeline.log import about, current, get_logger
from pipeline.storage.errors import StoreFailingError, VersionChangedError, is_transient, store_code

log = get_logger(__name__)

T = TypeVar("T")

Check = Callable[[], None]
"""Called before each attempt to change the tables; raises if another run may be writing to them by now."""

_TRIES = 5
_FIRST_PAUSE_S = 0.25
_GIVE_UP_S = 45.0
_SLOW_S = 5.0
"""Longer than a healthy store takes for 32 MB."""


def with_retries(call: Callable[[], T], check: Check | None = None) -> T:
    """Return what `call` returns, retrying transient errors with exponential backoff.

    The store's client retries single requests by itself. This function covers what the client does not: a
    body that is cut off, a damaged response, a store that needs a little longer.

    Parameters
    ----------
    call : callable
        Must be safe to call twice.
    check : callable, optional
        Called before each attempt, since the last one may have taken long; what it raises is raised.

    Raises
    ------
    StoreFailingError
        If every attempt fails with a transient error, or after nearly a minute.
    """
    start = time.monotonic()
    for attempt in range(1, _TRIES + 1):
        if check is not None:
            check()
        try:
            return call()
        except VersionChangedError:
            raise
        except Exception as error:
            if not is_transient(error):
                raise
            if attempt == _TRIES or time.monotonic() - start > _GIVE_UP_S:
                log.warning("store failed, giving up", attempt=attempt, error=_describe(error))
                raise StoreFailingError(_describe(error)) from error
            wait_s = add_jitter(_FIRST_PAUSE_S * 2 ** (attempt - 1))
            log.warning("store failed, retrying", attempt=attempt, wait_s=wait_s, error=_describe(error))
            time.sleep(wait_s)
    raise AssertionError("unreachable")


@contextmanager
def transfer(doing: str, location: str) -> Iterator[None]:
    """Log a ``with`` block as the transfer of an object, with a warning if it was slow.

    Parameters
    ----------
    doing : str
        ``read`` or ``write``.
    location : str
        The object's URI.
    """
    fields = {} if current().get("track") == location else {"location": location}
    with about(**fields):
        start = time.monotonic()
        yield
        seconds = time.monotonic() - start
        if seconds > _SLOW_S:
            log.warning(f"slow store {doing}", seconds=seconds)


def _describe(error: Exception) -> str:
    """Describe an error in a few words; the code of a response without a body is its status."""
    code = store_code(error)
    return f"the store answered with {code}" if code else str(error) or type(error).__name__


def add_jitter(mean_s: float) -> float:
    """Return a random pause around `mean_s`, seconds: workers that failed together do not retry together."""
    return mean_s * random.uniform(0.5, 1.5)  # noqa: S311


class RetryBudget:
    """How long to go on with a store that only fails.

    A store that is down must not cost the full retries of every track, part or object.

    Parameters
    ----------
    max_failing_s : float
        Seconds of failures without a success after which the budget is exhausted.
    """

    def __init__(self, max_failing_s: float) -> None:
        self.max_failing_s = max_failing_s
        self._failing_since: float | None = None

    def record(self, *, failed: bool) -> None:
        """Record whether the store failed or succeeded."""
        if not failed:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = time.monotonic()

    @property
    def is_exhausted(self) -> bool:
        """Whether the store has failed for longer than `max_failing_s`."""
        return self._failing_since is not None and time.monotonic() - self._failing_since > self.max_failing_s
