"""One run at a time a root: a lease object, made with create-if-absent and renewed while the run lives.

Leases are numbered objects ``_lease/00000007.json``. A run makes the next number, which exactly one contender
can, and from then on overwrites only its own. A lease is free when its holder has released it, and stale when
it has not changed for `TTL_S` by the watcher's own clock, so clocks need not agree. Workers look before each
part they write: a run that has lost its lease writes nothing more.
"""

import contextlib
import getpass
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
"""Time for a renewal that is under way when the lease is released."""
_SETTLE_S = 2.0
"""Time for what a dying worker had begun to write when another run took over, on a disk."""


class LeaseHeldError(EarmarkError):
    """Another run holds the tables."""


class LeaseLostError(EarmarkError):
    """Another run has taken the tables over."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that this run holds, or, in a worker, that its run held when the work was handed out.

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
        """Make sure that no other run has taken the tables over, and that this one still goes on.

        Raises
        ------
        LeaseLostError
            If it does not.
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
            # A worker that outlives its run, which was stopped at once.
            raise LeaseLostError(
                f"the run that wrote to {self.root} has ended; its workers write nothing more"
            )


class HeldLease:
    """The holder's side of a lease: a thread renews it until it is released.

    Attributes
    ----------
    lease : Lease
        What workers are given.
    settled : bool
        Whether nothing can be under way to the store any more when the lease is released. If not, the next
        run waits until it must have arrived before it looks what is there.
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
        """Whether the tables are on a disk, where a process that is dead writes nothing more."""
        return storage.is_local(self.lease.root)

    def shut(self) -> None:
        """Let no worker begin to write any more, though the run goes on to hold the tables.

        Raises
        ------
        OSError
            If the store refuses.
        """
        self._write(self._holder | {"stopping": True})

    def release(self) -> None:
        """Let the next run have the tables; a lease that another run has taken over is left alone.

        The released lease stays, so that numbers only grow and no worker of an old run takes a later lease
        for its own. If the store refuses, the next run waits for the lease to be stale.
        """
        if self._released:
            return
        with contextlib.suppress(Exception):
            if objects.newest(self.lease.root) == self.lease.number:
                self._write(self._holder | {"released": True, "settled": self.settled})
                self._released = True
                log.info("lease is released", lease=self.lease.number, settled=self.settled)

    def _write(self, holder: dict[str, Any]) -> None:
        self._stop.set()
        # A renewal that is under way ends first, or it would undo this; but it may wait for a store for long.
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
            # A store that is away for a moment must not end the run: the next beat tries again, and before
            # any part is written `check` finds out whether the lease was lost meanwhile.
            try:
                with self._writing:
                    self.lease.check()
                    if not self._stop.is_set():
                        objects.write(self.lease.root, self.lease.number, self._holder | {"beats": beats})
            except Exception as error:
                log.warning("lease is not renewed", run=self._holder["run"], error=error)


@contextlib.contextmanager
def held(root: str, run: str, *, say: Callable[[str], None]) -> Iterator[HeldLease]:
    """Hold the lease of a root for the length of a ``with`` block.

    Parameters
    ----------
    root : str
        Root of the tables.
    run : str
        Name of the run, for whoever finds the lease.
    say : callable
        Gets a sentence when there is something to wait for, or the store does not support leases.

    Raises
    ------
    LeaseHeldError
        If a live run holds it; the message says which.
    MisuseError
        If a newer Earmark has made the tables.
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
    """Hold the lease as `held` does, for jobs without workers."""
    with held(root, run, say=say) as ours:
        yield ours.lease


def _give_back(root: str, holder: dict[str, Any]) -> None:
    """Release the lease that an interrupted `_acquire` may have made."""
    with contextlib.suppress(Exception):
        latest = objects.newest(root)
        if latest is not None and objects.read(root, latest) == objects.encode(holder):
            objects.write(root, latest, holder | {"released": True})


def free_number(root: str) -> int | None:
    """Number of the newest lease if nobody holds it, 0 where there never was one; None while it is held."""
    latest = objects.newest(root)
    if latest is None:
        return 0
    return latest if objects.is_released(objects.read(root, latest)) else None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return str(os.getuid())


def _acquire(root: str, holder: dict[str, Any], say: Callable[[str], None]) -> int:
    latest = objects.newest(root)
    abandoned = latest is not None and not _wait_until_free(root, latest, say)
    unsettled_since = None if latest is None else _unsettled_since(root, latest)
    number = (latest or 0) + 1
    location, data = objects.location_of(root, number), objects.encode(holder)
    with storage.explain_errors(root, "write to"):
        if not storage.create(location, data):
            raise _held(root, number)
        if not storage.is_local(root) and storage.put_if_absent(location, data):
            say(
                "the store ignores If-None-Match, so two runs at once are not kept apart; start one at a time"
            )
    if latest is not None:
        # Where the store refuses, it stays: only the newest counts.
        with contextlib.suppress(OSError):
            storage.delete(objects.location_of(root, latest))
    if abandoned:
        time.sleep(_settle_s(root))
    elif unsettled_since is not None:
        _settle(root, number, unsettled_since, say)
    log.info("lease is taken", run=holder["run"], lease=number, tables=root, taken_over=abandoned)
    return number


def _wait_until_free(root: str, number: int, say: Callable[[str], None]) -> bool:
    """Whether the lease was released; if not, watch it until it has not changed for `TTL_S`.

    Raises
    ------
    LeaseHeldError
        If it is renewed meanwhile.
    """
    first = objects.read(root, number)
    if objects.is_released(first):
        return True
    say(f"{_described(root, number)}; waiting {TTL_S:.0f} s to see whether it is alive")
    end = time.monotonic() + TTL_S
    while time.monotonic() < end:
        time.sleep(1.0)
        now = objects.read(root, number)
        if objects.is_released(now):
            return True
        if now != first:
            raise _held(root, number)
    say("it is not; taking over")
    return False


def _unsettled_since(root: str, number: int) -> float | None:
    """When a lease was released by a run that had to kill workers which may have been writing."""
    data = objects.read(root, number)
    if data is None or objects.decode(data).get("settled") is not False:
        return None
    return objects.modified_at(root, number)


def _settle(root: str, number: int, since: float, say: Callable[[str], None]) -> None:
    """Wait until what killed workers had begun to write is there, or has failed."""
    # Both moments are by the store's clock, whatever the clocks of the runs say.
    left_s = _settle_s(root) - max(0.0, objects.modified_at(root, number) - since)
    if left_s > 0:
        say(f"the last run was stopped a moment ago; waiting {left_s:.0f} s for what it was writing")
        time.sleep(left_s)


def _settle_s(root: str) -> float:
    """Seconds for what a worker of a dead run had begun to write to be there, and in the plan, or to fail."""
    if storage.is_local(root):
        return _SETTLE_S
    from pipeline.storage.s3 import REQUEST_TIMEOUT_S  # S3's client: not for runs on a disk

    return REQUEST_TIMEOUT_S


def _held(root: str, number: int) -> LeaseHeldError:
    return LeaseHeldError(f"{_described(root, number)}; wait until it has ended, or stop it")


def _described(root: str, number: int) -> str:
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
