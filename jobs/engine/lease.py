"""One run at a time per root: a lease object, created if absent and renewed while the run lives.

Leases are numbered objects, ``_lease/00000007.json``. A run creates the next number, which only one run can,
and from then on overwrites only its own object. When it may is decided in `jobs.engine.lease_acquisition`.
Workers check the lease before they write a part: a run that has lost its lease writes nothing more.
"""

import contextlib
import getpass
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jobs.console.messages import Say
from jobs.engine import lease_objects as objects
from jobs.engine.lease_acquisition import FRESH_S, acquire, release_if_acquired
from pipeline.log import get_logger
from pipeline.storage import storage
from pipeline.storage.retry import PATIENCE_S, patient
from pipeline.tables.format_version import check_tables_format
from schemas.errors import EarmarkError

log = get_logger(__name__)

RENEW_S = 5.0
_RENEWAL_S = 0.7
"""Time for a renewal in progress to end when the lease is released."""


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

        The run that takes over, or that follows a stopped run, waits longer than `FRESH_S`; see
        `jobs.engine.lease_acquisition`.

        Raises
        ------
        LeaseLostError
            If the lease is lost.
        """
        if storage.is_local(self.root):  # looking costs nothing, and a network mount may have hung
            self.look()
            return
        now = (time.monotonic(), time.time())  # the first stands still while a machine is suspended
        before = _looked_at.get(self)
        if before is None or not all(0 <= b - a < FRESH_S for a, b in zip(before, now, strict=True)):
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


_looked_at: dict[Lease, tuple[float, float]] = {}
"""When this process last found a lease to be held, by `time.monotonic` and by `time.time`."""


class HeldLease:
    """The holder's side of a lease: a thread renews it until it is released.

    Attributes
    ----------
    lease : Lease
        The lease to pass to workers.
    is_settled : bool
        Whether no write can be under way to the store when the lease is released. If False, the next run
        waits until such writes have ended before it reads the tables.
    """

    def __init__(self, lease: Lease, holder: dict[str, Any]) -> None:
        self.lease = lease
        self.is_settled = True
        self._holder = holder
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self._is_released = False
        self._renewed_at = time.monotonic()
        threading.Thread(target=self._renew, daemon=True, name="lease").start()

    @property
    def age_s(self) -> float:
        """Seconds since the lease was created or last renewed."""
        return time.monotonic() - self._renewed_at

    @property
    def is_local(self) -> bool:
        """Whether the tables are on a disk, where a dead process writes nothing more."""
        return storage.is_local(self.lease.root)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Write in this process during a ``with`` block; if it fails, a store may still be writing.

        A write that is given up may arrive later, so the lease stays unsettled then.
        """
        was_settled = self.is_settled
        self.is_settled = was_settled and self.is_local
        yield
        self.is_settled = was_settled

    def settle(self, settle_s: float) -> None:
        """Wait until writes of the last run have ended; if this is interrupted, the next run waits again."""
        if settle_s:
            self.is_settled = False
            time.sleep(settle_s)
            self.is_settled = True

    def stop_writes(self) -> None:
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
        if self._is_released:
            return
        self._stop.set()  # even if the store fails now: a lease that is still renewed never becomes stale
        with contextlib.suppress(Exception):
            if objects.newest(self.lease.root) == self.lease.number:
                self._write(self._holder | {"released": True, "settled": self.is_settled})
                self._is_released = True
                log.info("lease released", lease=self.lease.number, settled=self.is_settled)

    def _write(self, holder: dict[str, Any]) -> None:
        self._stop.set()
        # Let a renewal in progress end first, or it would undo this; but do not wait long for a slow store.
        locked = self._writing.acquire(timeout=_RENEWAL_S)
        try:
            with patient(0):  # the process may be killed soon
                objects.write(self.lease.root, self.lease.number, holder)
        finally:
            _looked_at.pop(self.lease, None)  # before this process writes again, it looks
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
                        self._renewed_at = time.monotonic()
            except Exception as error:
                log.warning("lease not renewed", run=self._holder["run"], error=error)


@contextlib.contextmanager
def hold_for_workers(root: str, run: str, *, say: Say) -> Iterator[HeldLease]:
    """Hold the lease of a root during a ``with`` block, in which a failing store has `PATIENCE_S` to recover.

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
        number, settle_s = acquire(root, holder, say)
    except (KeyboardInterrupt, SystemExit):
        release_if_acquired(root, holder)
        raise
    ours = HeldLease(Lease(root, number), holder)
    try:
        ours.settle(settle_s)
        with patient(PATIENCE_S):
            check_tables_format(root)  # again: a newer Earmark may have written since the tables were opened
            yield ours
    finally:
        ours.release()


@contextlib.contextmanager
def hold(root: str, run: str, *, say: Say) -> Iterator[Lease]:
    """Hold the lease as `hold_for_workers` does, for jobs that write in this process only."""
    with hold_for_workers(root, run, say=say) as ours, ours.writing():
        yield ours.lease


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container, the user id may have no name
        return str(os.getuid())
