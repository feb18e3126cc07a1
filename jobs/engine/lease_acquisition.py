"""Acquire the lease of a root: wait until the latest one is free or stale, and create the next number.

A lease is free when its holder has released it, and stale when it has not changed for `TTL_S` by the clock of
the waiting run, so clocks need not agree.
"""

import contextlib
import time
from typing import Any

from jobs.console.messages import Say
from jobs.engine import lease_objects as objects
from pipeline.log import get_logger
from pipeline.storage import storage
from schemas.errors import LeaseHeldError

log = get_logger(__name__)

TTL_S = 20.0
FRESH_S = 2.0
"""Seconds for which a look at the lease holds for further writes to a store: each look costs two requests."""
_SETTLE_S = 2.0
"""Time for writes to a disk that a dying worker had begun when another run took over."""


def acquire(root: str, holder: dict[str, Any], say: Say) -> tuple[int, float]:
    """Create the next lease of a root, once the latest one is free or stale.

    The caller renews it from now on, and waits `settle_s` before it reads or writes the tables: on a bucket
    that takes longer than a lease lives without being renewed.

    Parameters
    ----------
    root : str
        Root of the tables.
    holder : dict
        The content of the lease: who holds it.
    say : callable
        Prints a message if the run must wait, or if the store does not support leases.

    Returns
    -------
    number : int
        The number of the lease.
    settle_s : float
        Seconds until writes that the last run or its dead workers had begun have ended; often 0.

    Raises
    ------
    LeaseHeldError
        If a live run holds the lease.
    """
    latest = objects.newest(root)
    abandoned = latest is not None and not _wait_until_free(root, latest, say)
    unsettled_since = None if latest is None else _unsettled_since(root, latest)
    number = (latest or 0) + 1
    location, data = objects.location_of(root, number), objects.encode(holder)
    with storage.explain_errors(root, "write to"):
        if not storage.create(location, data):
            raise _held_error(root, number)
        if not storage.is_local(root) and storage.put_if_absent(location, data):
            say(
                "the store ignores If-None-Match, so the lease cannot exclude a second run; start only one "
                "at a time"
            )
    if latest is not None:
        # If the store fails, the old lease remains, which does no harm: only the newest counts.
        with contextlib.suppress(OSError):
            storage.delete(objects.location_of(root, latest))
    log.info("lease acquired", run=holder["run"], lease=number, tables=root, taken_over=abandoned)
    if abandoned:
        return number, _settle_s(root)
    return number, 0.0 if unsettled_since is None else _left_to_settle_s(root, number, unsettled_since, say)


def release_if_acquired(root: str, holder: dict[str, Any]) -> None:
    """Release the lease that an interrupted `acquire` may have created."""
    with contextlib.suppress(Exception):
        latest = objects.newest(root)
        if latest is not None and objects.read(root, latest) == objects.encode(holder):
            # Whether the last run's writes have ended is not known here, so the next run waits for them.
            objects.write(root, latest, holder | {"released": True, "settled": False})


def free_number(root: str) -> int | None:
    """Return the number of the newest lease if it is free, 0 if there is none, None while it is held."""
    latest = objects.newest(root)
    if latest is None:
        return 0
    return latest if objects.is_released(objects.read(root, latest)) else None


def is_live(root: str) -> bool:
    """Watch a lease that is held for up to `TTL_S`, and return whether its run renews or releases it."""
    number = objects.newest(root)
    if number is None:
        return False
    first = objects.read(root, number)
    return objects.is_released(first) or _await_change(root, number, first) != first


def _wait_until_free(root: str, number: int, say: Say) -> bool:
    """Return True if the lease is released; otherwise watch it for `TTL_S`, and return False if it is stale.

    Raises
    ------
    LeaseHeldError
        If it is renewed meanwhile.
    """
    first = objects.read(root, number)
    if objects.is_released(first):
        return True
    say(f"{_describe(root, number)}; waiting {TTL_S:.0f} s to see whether it is still alive")
    now = _await_change(root, number, first)
    if objects.is_released(now):
        return True
    if now != first:
        raise _held_error(root, number)
    say("it is not; taking over the tables")
    return False


def _await_change(root: str, number: int, first: bytes | None) -> bytes | None:
    """Return the content of a lease once it is no longer `first`, or after `TTL_S`."""
    now, end = first, time.monotonic() + TTL_S
    while now == first and time.monotonic() < end:
        time.sleep(1.0)
        now = objects.read(root, number)
    return now


def _unsettled_since(root: str, number: int) -> float | None:
    """Return when a lease was released, if its run killed or lost workers that may have been writing.

    Otherwise, and if the lease is gone, so that another run has created the next one, return None.
    """
    data = objects.read(root, number)
    if data is None or objects.decode(data).get("settled") is not False:
        return None
    return objects.modified_at(root, number)


def _left_to_settle_s(root: str, number: int, since: float, say: Say) -> float:
    """Return the seconds until writes that dead workers had begun have ended, and say so if there are any."""
    # Both times are by the clock of the store, so the clocks of the runs do not matter.
    acquired_at = objects.modified_at(root, number) or since
    left_s = max(0.0, _settle_s(root) - max(0.0, acquired_at - since))
    if left_s:
        say(f"the last run was stopped a moment ago; waiting {left_s:.0f} s for writes that may be under way")
    return left_s


def _settle_s(root: str) -> float:
    """Return the seconds after which writes of a dead run have ended, so that a plan sees them."""
    if storage.is_local(root):
        return _SETTLE_S
    from pipeline.storage.s3 import REQUEST_TIMEOUT_S  # S3's client: not for runs on a disk

    return FRESH_S + REQUEST_TIMEOUT_S


def _held_error(root: str, number: int) -> LeaseHeldError:
    return LeaseHeldError(
        f"{_describe(root, number)}; nothing was changed: wait until it has ended, or stop it"
    )


def _describe(root: str, number: int) -> str:
    data = objects.read(root, number)
    if data is None:
        return f"another run is writing to {root}"
    try:
        return "run {run} of {user} on {host} (process {pid}, since {since}) is writing to {root}".format(
            **objects.decode(data), root=root
        )
    except KeyError:
        location = objects.location_of(root, number)
        return f"another run, whose lease {location} is damaged, is writing to {root}"
