"""Writes to a store that take so long that another run may have taken over and looked at the tables by then.

The run that takes over waits for requests under way before it reads the tables, as long as a request without
an answer lives (`pipeline.storage.s3.REQUEST_TIMEOUT_S`). An upload that trickles lives longer. What it wrote
then appears beside what the next run makes again, so it is taken back.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Any

from pipeline.log import get_logger
from pipeline.storage.retry import Check
from schemas.errors import EarmarkError, StoreError

log = get_logger(__name__)

LATE_S = 20.0
"""Seconds for which the next run waits: a write that took no longer was there before it looked."""


def put_under_lease(fs: Any, path: str, data: bytes, check: Check) -> None:
    """Write an object of an S3 store in a single attempt, and take it back if it was late.

    An object that was there before is not taken back: the same part of a run may be written twice, if a node
    was thought lost, and then the run counts on it. So the first attempt is refused if there is one.

    Parameters
    ----------
    fs : CheckedS3
        The store.
    path : str
        Bucket and key.
    data : bytes
        The object.
    check : callable
        Raises if the lease is lost. The caller has just called it.

    Raises
    ------
    EarmarkError
        If the write took long, and the lease was lost by its end.
    OSError
        If the object cannot be written.
    """
    start = time.monotonic()
    is_new = fs.put_new_once(path, data)
    if not is_new:
        check()
        start = time.monotonic()
        fs.put_once(path, data)
    check_if_late(start, check, lambda: fs.remove_once(path) if is_new else None)


def check_if_late(start: float, check: Check, take_back: Callable[[], object]) -> None:
    """Check the lease again after a write that took long, and take back what it wrote if the lease is lost.

    The time for which a machine is suspended does not count: what the store had answered before may be what
    the next run has read since.

    Parameters
    ----------
    start : float
        When the write began, by `time.monotonic`.
    check : callable
        Raises if the lease is lost.
    take_back : callable
        Removes what was written.

    Raises
    ------
    EarmarkError
        If the lease is lost, or the store cannot tell.
    """
    seconds = time.monotonic() - start
    if seconds <= LATE_S:
        return
    try:
        check()
    except StoreError:  # whether the lease is lost is not known
        raise
    except EarmarkError as error:
        log.warning("written too late, taking it back", seconds=seconds, error=error)
        with contextlib.suppress(Exception):  # what must be said is that the lease is lost
            take_back()
        raise
