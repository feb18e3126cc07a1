"""Halt a run: its workers end within a second, and none writes after the lease is released."""

from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray import exceptions as ray_errors

from jobs.engine.attempts import Submission
from jobs.engine.lease import HeldLease
from pipeline.background import run_in_background

_ASKED_S = 0.5
"""Time for workers to end by themselves, in Python code and not during a write."""
_KILLED_S = 0.4
"""Time until killed workers are reported dead."""


def halt(held: HeldLease, in_flight: Mapping[Any, Submission]) -> None:
    """End the work in flight, and note in the lease whether any write may still be under way to the store.

    The lease stops new writes first. A write that has begun is not interrupted
    (see `pipeline.shards.deferred_interrupts`), so a task that ends when asked leaves no write under way.
    Other workers are killed. On a disk, dead workers write nothing, but a store may still process a request.

    Parameters
    ----------
    held : HeldLease
        The run's lease.
    in_flight : mapping of ray.ObjectRef to Submission
        The work in flight, by the reference to its result.
    """
    if not in_flight:
        held.is_settled = True
        return
    tasks = [ref for ref, submission in in_flight.items() if submission.actor is None]
    actors = {submission.actor for submission in in_flight.values() if submission.actor is not None}
    stopped = _succeeds(held.stop_writes)
    asked = _succeeds_soon(lambda: [ray.cancel(ref) for ref in tasks])
    left = _wait(list(in_flight), _ASKED_S)
    killed = _succeeds_soon(
        lambda: [
            *(ray.cancel(ref, force=True) for ref in tasks if ref in left),
            *(ray.kill(actor) for actor in actors),
        ]
    )
    dead = not _wait(left, _KILLED_S)
    held.is_settled = stopped and asked and killed and dead and (not left or held.is_local)


def _wait(refs: list[Any], timeout_s: float) -> list[Any]:
    """Return the references that are not ready after a timeout; all of them if Ray does not answer."""
    if not refs:
        return []
    try:
        return list(ray.wait(refs, num_returns=len(refs), timeout=timeout_s, fetch_local=False)[1])
    except ray_errors.RayError:
        return refs


def _succeeds_soon(step: Callable[[], object]) -> bool:
    """Run a step and return whether it succeeds in time; Ray would wait forever for a lost head."""
    return _succeeds(lambda: run_in_background(step, "halt").result(timeout=_ASKED_S))


def _succeeds(step: Callable[[], object]) -> bool:
    """Run a step and return whether it succeeds; an error must not prevent the other steps."""
    try:
        step()
    except Exception:
        return False
    return True
