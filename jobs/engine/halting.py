"""Halting: a run's workers end within a second, and none of them writes once the lease is released."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray import exceptions as ray_errors

from jobs.engine.flights import Flight
from jobs.engine.lease import HeldLease

_ASKED_S = 0.5
"""Time for workers to end by themselves: in Python, and not while they write."""
_KILLED_S = 0.4
"""Time to hear that killed ones are dead."""


def halt(held: HeldLease, in_flight: Mapping[Any, Flight]) -> None:
    """End what is in flight, and note in the lease whether any of it may still be under way to the store.

    The lease is shut first: who has not begun to write by then, never will. Who has is not interrupted (see
    `pipeline.shards.uninterrupted`), so that a task that ends when it is asked to leaves nothing under way.
    Others are killed. On a disk the dead write nothing, but a store may be at work on what it was sent.

    Parameters
    ----------
    held : HeldLease
        The run's lease.
    in_flight : mapping of ray.ObjectRef to Flight
        What is in flight, by the reference to its result.
    """
    if not in_flight:
        held.settled = True
        return
    tasks = [ref for ref, flight in in_flight.items() if flight.actor is None]
    actors = {flight.actor for flight in in_flight.values() if flight.actor is not None}
    shut = _tried(held.shut)
    asked = _done(lambda: [ray.cancel(ref) for ref in tasks])
    left = _waited(list(in_flight), _ASKED_S)
    killed = _done(
        lambda: [
            *(ray.cancel(ref, force=True) for ref in tasks if ref in left),
            *(ray.kill(actor) for actor in actors),
        ]
    )
    dead = not _waited(left, _KILLED_S)
    held.settled = shut and asked and killed and dead and (not left or held.is_local)


def _waited(refs: list[Any], timeout_s: float) -> list[Any]:
    """Those of the references that are not ready by then; all where Ray does not say."""
    if not refs:
        return []
    try:
        return list(ray.wait(refs, num_returns=len(refs), timeout=timeout_s, fetch_local=False)[1])
    except ray_errors.RayError:
        return refs


def _done(step: Callable[[], object]) -> bool:
    """Whether a step succeeds soon: where the cluster's head is lost, Ray waits for it, and then for ever."""
    succeeded = threading.Event()

    def attempt() -> None:
        if _tried(step):
            succeeded.set()

    thread = threading.Thread(target=attempt, daemon=True, name="halt")
    thread.start()
    thread.join(_ASKED_S)
    return succeeded.is_set()


def _tried(step: Callable[[], object]) -> bool:
    """Whether a step succeeds; one that does not must not keep the others from being tried."""
    try:
        step()
    except Exception:
        return False
    return True
