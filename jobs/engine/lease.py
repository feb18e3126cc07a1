"""One run at a time a root: a lease object, made with create-if-absent and renewed while the run lives.

Leases are numbered objects ``_lease/00000007.json``. A run makes the next number, which exactly one contender
can, and from then on overwrites only its own. A lease is free when its holder has released it, and stale when
it has not changed for `TTL_S` by the watcher's own clock, so clocks need not agree. Workers look before each
part they write: a run that has lost its lease writes nothing more.
"""

import contextlib
import getpass
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.stores import storage
from pipeline.tables.formats import check_tables_format
from schemas.errors import EarmarkError

TTL_S = 20.0
RENEW_S = 5.0
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
        latest = newest(self.root)
        if (latest or 0) < self.number and _read(self.root, self.number) is not None:
            return  # a listing that lags behind
        if latest is None:
            raise LeaseLostError(
                f"this node does not see {self.root}; on a cluster, tables and catalog must be where every "
                "node can reach them"
            )
        if latest != self.number:
            raise LeaseLostError(
                f"another run has taken over {self.root} (lease {latest}, ours was {self.number}); "
                "this one writes nothing more"
            )
        held = _read(self.root, self.number)
        if held is not None and _released(held):
            # A worker that outlived its run, which a second Ctrl-C ended, say.
            raise LeaseLostError(
                f"the run that wrote to {self.root} has ended; its workers write nothing more"
            )


@contextlib.contextmanager
def hold(root: str, run: str, *, say: Callable[[str], None]) -> Iterator[Lease]:
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
    number = _acquire(root, holder, say)
    lease = Lease(root, number)
    stop = threading.Event()
    renewer = threading.Thread(target=_renew, args=(lease, holder, stop), daemon=True, name="lease")
    renewer.start()
    try:
        check_tables_format(root)  # again: a newer Earmark may have written since the tables were opened
        yield lease
    finally:
        stop.set()
        renewer.join()
        # The released lease stays, so that numbers only grow and no worker of an old run takes a later
        # lease for its own. If the store refuses now, the next run waits for the lease to be stale.
        with contextlib.suppress(Exception):
            lease.check()
            storage.write_bytes(_location(root, number), _encode(holder | {"released": True}))


def free_number(root: str) -> int | None:
    """Number of the newest lease if nobody holds it, 0 where there never was one; None while it is held."""
    latest = newest(root)
    if latest is None:
        return 0
    return latest if _released(_read(root, latest)) else None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return str(os.getuid())


def _acquire(root: str, holder: dict[str, Any], say: Callable[[str], None]) -> int:
    latest = newest(root)
    abandoned = latest is not None and not _wait_until_free(root, latest, say)
    number = (latest or 0) + 1
    with storage.explained(root, "write to"):
        made = storage.create(_location(root, number), _encode(holder))
        if not made:
            raise _held(root, number)
        if not storage.is_local(root) and storage.put_if_absent(_location(root, number), _encode(holder)):
            say(
                "the store ignores If-None-Match, so two runs at once are not kept apart; start one at a time"
            )
    if latest is not None:
        # Where the store refuses, it stays: only the newest counts.
        with contextlib.suppress(OSError):
            storage.delete(_location(root, latest))
    if abandoned:
        time.sleep(_settle_s(root))
    return number


def _wait_until_free(root: str, number: int, say: Callable[[str], None]) -> bool:
    """Whether the lease was released; if not, watch it until it has not changed for `TTL_S`.

    Raises
    ------
    LeaseHeldError
        If it is renewed meanwhile.
    """
    first = _read(root, number)
    if _released(first):
        return True
    say(f"{_described(root, number)}; waiting {TTL_S:.0f} s to see whether it is alive")
    end = time.monotonic() + TTL_S
    while time.monotonic() < end:
        time.sleep(1.0)
        now = _read(root, number)
        if _released(now):
            return True
        if now != first:
            raise _held(root, number)
    say("it is not; taking over")
    return False


def _settle_s(root: str) -> float:
    """Seconds for what a worker of a dead run had begun to write to be there, and in the plan, or to fail."""
    if storage.is_local(root):
        return _SETTLE_S
    from pipeline.stores.checked_s3 import REQUEST_TIMEOUT_S  # S3's client: not for runs on a disk

    return REQUEST_TIMEOUT_S


def _renew(lease: Lease, holder: dict[str, Any], stop: threading.Event) -> None:
    beats = 0
    while not stop.wait(RENEW_S):
        beats += 1
        # A store that is away for a moment must not end the run: the next beat tries again, and before
        # any part is written `check` finds out whether the lease was lost meanwhile.
        with contextlib.suppress(Exception):
            lease.check()
            storage.write_bytes(_location(lease.root, lease.number), _encode(holder | {"beats": beats}))


def _released(data: bytes | None) -> bool:
    return data is None or bool(_holder(data).get("released"))


def _holder(data: bytes) -> dict[str, Any]:
    """Who holds a lease; nothing of a damaged one, which its run, while it lives, writes anew in seconds."""
    try:
        holder = json.loads(data)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _held(root: str, number: int) -> LeaseHeldError:
    return LeaseHeldError(f"{_described(root, number)}; wait until it has ended, or stop it")


def _described(root: str, number: int) -> str:
    data = _read(root, number)
    if data is None:
        return f"another run is writing to {root}"
    try:
        return "run {run} of {user} on {host} (process {pid}, since {since}) is writing to {root}".format(
            **_holder(data), root=root
        )
    except KeyError:
        return f"another run, whose lease {_location(root, number)} is damaged, is writing to {root}"


def newest(root: str) -> int | None:
    """Number of the newest lease of a root; None where there never was one."""
    folder = storage.join(root, "_lease")
    with storage.explained(folder, "look at"):
        names = storage.names(folder)
    stems = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    return max((int(stem) for stem in stems if stem.isdecimal()), default=None)


def _location(root: str, number: int) -> str:
    return storage.join(root, "_lease", f"{number:08}.json")


def _read(root: str, number: int) -> bytes | None:
    location = _location(root, number)
    with storage.explained(location, "read"):
        try:
            return storage.read_bytes(location)
        except FileNotFoundError:
            return None


def _encode(holder: dict[str, Any]) -> bytes:
    return json.dumps(holder).encode()
