"""Retries of transient storage errors, with exponential backoff and within bounds."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from pipeline.log import about, current, get_logger
from pipeline.storage.errors import StoreFailingError, VersionChangedError, is_transient, store_code

log = get_logger(__name__)

T = TypeVar("T")

Check = Callable[[], None]
"""Called before each attempt to change the tables; raises if another run may be writing to them by now."""

_TRIES = 5
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 15.0
_GIVE_UP_S = 45.0
_SLOW_S = 5.0
"""Longer than a healthy store takes for 32 MB."""
PATIENCE_S = 120.0
"""How long a job that holds the tables goes on with a store that fails: what it has done would be lost."""


@dataclass(slots=True)
class _Patience:
    """How many seconds to go on with a failing store; 0 once they were not enough: it is waited for once."""

    seconds: float


_patience: ContextVar[_Patience | None] = ContextVar("patience", default=None)


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
        If every attempt fails with a transient error, or after nearly a minute; within `patient`, not before
        its seconds have passed.
    """
    start, patience = time.monotonic(), _patience.get() or _Patience(0)
    attempt = 0
    while True:
        attempt += 1
        if check is not None:
            check()
        try:
            return call()
        except VersionChangedError:
            raise
        except Exception as error:
            if not is_transient(error):
                raise
            failing_s = time.monotonic() - start
            if failing_s >= patience.seconds and (attempt >= _TRIES or failing_s > _GIVE_UP_S):
                patience.seconds = 0
                log.warning("store failed, giving up", attempt=attempt, error=_describe(error))
                raise StoreFailingError(_describe(error)) from error
            wait_s = add_jitter(min(_FIRST_PAUSE_S * 2 ** (attempt - 1), _LONGEST_PAUSE_S))
            log.warning("store failed, retrying", attempt=attempt, wait_s=wait_s, error=_describe(error))
            time.sleep(wait_s)


@contextmanager
def patient(seconds: float) -> Iterator[None]:
    """Go on with a store that fails for at least this long during a ``with`` block, in this context.

    Parameters
    ----------
    seconds : float
        How long a call of `with_retries` goes on. After one that gave up, and with 0, all others go on for no
        longer than without this block.
    """
    token = _patience.set(_Patience(seconds))
    try:
        yield
    finally:
        _patience.reset(token)


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
