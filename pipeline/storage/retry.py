"""Patience with stores: what is_transient is tried again, with growing pauses, within bounds."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from pipeline.storage.errors import StoreFailingError, VersionChangedError, is_transient, store_code

T = TypeVar("T")

Check = Callable[[], None]
"""Called before each try at a change of the tables; raises if others may be at work on them by now."""

_TRIES = 5
_FIRST_PAUSE_S = 0.25
_GIVE_UP_S = 45.0


def with_retries(call: Callable[[], T], check: Check | None = None) -> T:
    """Return what `call` returns, trying again what is_transient.

    The store's client tries single requests again by itself, with backoff. This is for what it does not: a
    body that breaks off, an answer that was damaged, a store that needs a moment longer.

    Parameters
    ----------
    call : callable
        Something that may be done twice.
    check : callable, optional
        Called before each try, since the one before may have taken long; what it raises is raised.

    Raises
    ------
    StoreFailingError
        If it fails in a way that is_transient as often as it is tried, or when nearly a minute has gone by.
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
                raise StoreFailingError(_describe(error)) from error
            time.sleep(add_jitter(_FIRST_PAUSE_S * 2 ** (attempt - 1)))
    raise AssertionError("unreachable")


def _describe(error: Exception) -> str:
    """The error in a few words: an answer's code, which for want of a body may be a number."""
    code = store_code(error)
    return f"the store answered with {code}" if code else str(error) or type(error).__name__


def add_jitter(mean_s: float) -> float:
    """A pause about as long, seconds: workers that failed together shall not come back together."""
    return mean_s * random.uniform(0.5, 1.5)  # noqa: S311


class RetryBudget:
    """How long a shard waits for a store from which nothing comes.

    Parameters
    ----------
    max_failing_s : float
        Seconds of failures, with no success between, after which the rest of the shard is not tried.
    """

    def __init__(self, max_failing_s: float) -> None:
        self.max_failing_s = max_failing_s
        self._failing_since: float | None = None

    def record(self, *, failed: bool) -> None:
        """Take note of how the store did."""
        if not failed:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = time.monotonic()

    @property
    def is_exhausted(self) -> bool:
        """Whether the store has failed for too long."""
        return self._failing_since is not None and time.monotonic() - self._failing_since > self.max_failing_s
