"""One run at a time per root: a lease object, created if absent and renewed while the run lives.

Leases are numbered objects, ``_lease/00000007.json``. A run creates the next number, which only one run can,
and from then on overwrites only its own object. A lease is free when its holder has released it, and
stale when it has not changed for `TTL_S` by the clock of the waiting run, so clocks need not agree. Workers
check the lease before they write a part: a run that has lost its lease writes nothing more.
"""

import contextlib
import getpass
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jobs.engine import lease_objects as objects
from pipeline.log import get_logger
from pipeline.storage import storage
from pipeline.tables.formats import check_tables_format
from schemas.errors import EarmarkError

log = get_logger(__name__)

TTL_S = 20.0
RENEW_S = 5.0
_RENEWAL_S = 0.7
"""Time for a renewal in progress to end when the lease is released."""
FRESH_S = 2.0
"""Seconds for which a look at the lease holds for further writes to a store: each look costs two requests."""
_SETTLE_S = 2.0
"""Time for writes to a disk that a dying worker had begun when another run took over."""


class LeaseHeldError(EarmarkError):
    """Another run holds the tables."""


class LeaseLostError(EarmarkError):
    """Another run has taken the tables over."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease held by this run or, in a worker, by the run that submitted the work.

    Attributes
    ----------
    root : str
        Root of the tables.
    number : int
        Number of the lease object; a greater one means that the tables were taken over.
    """

    root: str
    number: int

    def check(self) -> None:
        """Check as `look` does, unless this process has just looked: a shard writes several parts at once.

        The run that takes over, or that follows a stopped run, waits longer than that; see `_settle_s`.

        Raises
        ------
        LeaseLostError
            If the lease is lost.
        """
        if storage.is_local(self.root):  # to look costs nothing, and a network mount may have hung
            self.look()
            return
        now = time.monotonic()
        if now - _looked_at.get(self, -math.inf) >= FRESH_S:
            self.look()
            _looked_at[self] = now

    def look(self) -> None:
        """Look whether no other run has taken over the tables, and this run is still active.

        Raises
        ------
        LeaseLostError
            If the lease is lost.
        """
        latest = objects.newest(self.root)
        if latest is not None and latest > self.number:
            raise LeaseLostError(
                f"another run has taken over {self.root} (lease {latest}, ours was {self.number}); "
                "this one writes nothing more"
            )
        ours = objects.read(self.root, self.number)  # a listing may lag behind
        if ours is None and latest is None:
            raise LeaseLostError(
                f"this node does not see {self.root}; on a cluster, tables and catalog must be where every "
                "node can reach them"
            )
        if ours is None or objects.is_released(ours) or objects.decode(ours).get("stopping"):
            # This worker has outlived its run, which was stopped at once.
            raise LeaseLostError(
                f"the run that wrote to {self.root} has ended; its workers write nothing more"
            )


_looked_at: dict[Lease, float] = {}
"""When this process last found a lease to be held, by `time.monotonic`."""


class HeldLease:
    """The holder's side of a lease: a thread renews it until it is released.

    Attributes
    ----------
    lease : Lease
        The lease to pass to workers.
    settled : bool
        Whether no write can be under way to the store when the lease is released. If False, the next run
        waits until such writes have ended before it reads the tables.
    """

    def __init__(self, lease: Lease, holder: dict[str, Any]) -> None:
        self.lease = lease
        self.settled = True
        self._holder = holder
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self._released = False
        threading.Thread(target=self._renew, daemon=True, name="lease").start()

    @property
    def is_local(self) -> bool:
        """Whether the tables are on a disk, where a dead process writes nothing more."""
        return storage.is_local(self.lease.root)

    def shut(self) -> None:
        """Keep workers from beginning another write, while the run still holds the tables.

        Raises
        ------
        OSError
            If the store fails.
        """
        self._write(self._holder | {"stopping": True})

    def release(self) -> None:
        """Release the tables for the next run, unless another run has already taken over.

        The released object is kept, so that numbers only grow and a worker of an old run never mistakes a
        later lease for its own. If the store fails, the next run waits until the lease is stale.
        """
        if self._released:
            return
        with contextlib.suppress(Exception):
            if objects.newest(self.lease.root) == self.lease.number:
                self._write(self._holder | {"released": True, "settled": self.settled})
                self._released = True
                log.info("lease released", lease=self.lease.number, settled=self.settled)

    def _write(self, holder: dict[str, Any]) -> None:
        self._stop.set()
        # Let a renewal in progress end first, or it would undo this; but do not wait long for a slow store.
        locked = self._writing.acquire(timeout=_RENEWAL_S)
        try:
            objects.write(self.lease.root, self.lease.number, holder)
        finally:
            if locked:
                self._writing.release()

    def _renew(self) -> None:
        beats = 0
        while not self._stop.wait(RENEW_S):
            beats += 1
            # A transient error must not end the run: the next beat tries again, and `check` finds out before
            # each write whether the lease was lost meanwhile.
            try:
                with self._writing:
                    self.lease.look()
                    if not self._stop.is_set():
                        objects.write(self.lease.root, self.lease.number, self._holder | {"beats": beats})
            except Exception as error:
                log.warning("lease not renewed", run=self._holder["run"], error=error)


@contextlib.contextmanager
def hold_for_workers(root: str, run: str, *, say: Callable[[str], None]) -> Iterator[HeldLease]:
    """Hold the lease of a root during a ``with`` block.

    Parameters
    ----------
    root : str
        Root of the tables.
    run : str
        Name of the run, recorded in the lease.
    say : callable
        Prints a message if the run must wait, or if the store does not support leases.

    Raises
    ------
    LeaseHeldError
        If a live run holds it; the message says which.
    MisuseError
        If a newer Earmark has written the tables.
    """
    holder = {
        "run": run,
        "user": _user(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        number = _acquire(root, holder, say)
    except (KeyboardInterrupt, SystemExit):
        _give_back(root, holder)
        raise
    ours = HeldLease(Lease(root, number), holder)
    try:
        check_tables_format(root)  # again: a newer Earmark may have written since the tables were opened
        yield ours
    finally:
        ours.release()


@contextlib.contextmanager
def hold(root: str, run: str, *, say: Callable[[str], None]) -> Iterator[Lease]:
    """Hold the lease as `hold_for_workers` does, for jobs without workers."""
    with hold_for_workers(root, run, say=say) as ours:
        yield ours.lease


def _give_back(root: str, holder: dict[str, Any]) -> None:
    """Release the lease that an interrupted `_acquire` may have made."""
    with contextlib.suppress(Exception):
        latest = objects.newest(root)
        if latest is not None and objects.read(root, latest) == objects.encode(holder):
            objects.write(root, latest, holder | {"released": True})


def free_number(root: str) -> int | None:
    """Return the number of the newest lease if it is free, 0 if there is none, None while it is held."""
    latest = objects.newest(root)
    if latest is None:
        return 0
    return latest if objects.is_released(objects.read(root, latest)) else None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container, the user id may have no name
        return str(os.getuid())


def _acquire(root: str, holder: dict[str, Any], say: Callable[[str], None]) -> int:
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
    if abandoned:
        time.sleep(_settle_s(root))
    elif unsettled_since is not None:
        _settle(root, number, unsettled_since, say)
    log.info("lease acquired", run=holder["run"], lease=number, tables=root, taken_over=abandoned)
    return number


def _wait_until_free(root: str, number: int, say: Callable[[str], None]) -> bool:
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
    end = time.monotonic() + TTL_S
    while time.monotonic() < end:
        time.sleep(1.0)
        now = objects.read(root, number)
        if objects.is_released(now):
            return True
        if now != first:
            raise _held_error(root, number)
    say("it is not; taking over the tables")
    return False


def _unsettled_since(root: str, number: int) -> float | None:
    """Return when a lease was released, if its run had to kill workers that may have been writing."""
    data = objects.read(root, number)
    if data is None or objects.decode(data).get("settled") is not False:
        return None
    return objects.modified_at(root, number)


def _settle(root: str, number: int, since: float, say: Callable[[str], None]) -> None:
    """Wait until writes that killed workers had begun have ended."""
    # Both times are by the clock of the store, so the clocks of the runs do not matter.
    left_s = _settle_s(root) - max(0.0, objects.modified_at(root, number) - since)
    if left_s > 0:
        say(f"the last run was stopped a moment ago; waiting {left_s:.0f} s for its writes to end")
        time.sleep(left_s)


def _settle_s(root: str) -> float:
    """Return the seconds after which writes of a dead run have ended, so that a plan sees them."""
    if storage.is_local(root):
        return _SETTLE_S
    from pipeline.storage.s3 import REQUEST_TIMEOUT_S  # S3's client: not for runs on a disk

    return FRESH_S + REQUEST_TIMEOUT_S


def _held_error(root: str, number: int) -> LeaseHeldError:
    return LeaseHeldError(f"{_describe(root, number)}; wait until it has ended, or stop it")


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
