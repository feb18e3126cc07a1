"""Patience with stores: what passes is tried again, with growing pauses, within bounds."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pipeline.log import about, current, get_logger
from pipeline.storage.errors import StoreFailingError, VersionChangedError, passes, store_code

log = get_logger(__name__)

T = TypeVar("T")

Check = Callable[[], None]
"""Called before each try at a change of the tables; raises if others may be at work on them by now."""

_TRIES = 5
_FIRST_PAUSE_S = 0.25
_GIVE_UP_S = 45.0
_SLOW_S = 5.0
"""Longer than a healthy store takes for 32 MB."""


def patiently(call: Callable[[], T], check: Check | None = None) -> T:
    """Return what `call` returns, trying again what passes.

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
        If it fails in a way that passes as often as it is tried, or when nearly a minute has gone by.
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
            if not passes(error):
                raise
            if attempt == _TRIES or time.monotonic() - start > _GIVE_UP_S:
                log.warning("store failed, giving up", attempt=attempt, error=_said(error))
                raise StoreFailingError(_said(error)) from error
            wait_s = pause_s(_FIRST_PAUSE_S * 2 ** (attempt - 1))
            log.warning("store failed, retrying", attempt=attempt, wait_s=wait_s, error=_said(error))
            time.sleep(wait_s)
    raise AssertionError("unreachable")


@contextmanager
def transfer(doing: str, location: str) -> Iterator[None]:
    """Log what happens in a ``with`` block as that of an object, and that it was slow, where it was.

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


def _said(error: Exception) -> str:
    """The error in a few words: an answer's code, which for want of a body may be a number."""
    code = store_code(error)
    return f"the store answered with {code}" if code else str(error) or type(error).__name__


def pause_s(mean_s: float) -> float:
    """A pause about as long, seconds: workers that failed together shall not come back together."""
    return mean_s * random.uniform(0.5, 1.5)  # noqa: S311


class ShardPatience:
    """How long a shard waits for a store from which nothing comes.

    Parameters
    ----------
    most_s : float
        Seconds of failures, with no success between, after which the rest of the shard is not tried.
    """

    def __init__(self, most_s: float) -> None:
        self.most_s = most_s
        self._failing_since: float | None = None

    def note(self, *, failed: bool) -> None:
        """Take note of how the store did."""
        if not failed:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether the store has failed for too long."""
        return self._failing_since is not None and time.monotonic() - self._failing_since > self.most_s
