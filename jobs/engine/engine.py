"""The engine: sends shards to Ray tasks and their parts to a pool of actors, concurrently and bounded.

Every track ends exactly once, even if workers die. Work of a dead worker is retried in an isolated process,
whose death identifies the track and the reason; label tasks are halved until a single track is left. A track
is blamed only if a second process, on another node if there is one, fails on it too while known-good input
passes there. Otherwise the node is blamed, and if no node is left, the run fails. Parts have fixed names, so
a retry never writes anything twice.
"""

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ray
from ray import exceptions as ray_errors

from jobs.engine.actor_pool import ActorPool, last_line
from jobs.engine.assignment import Assignment, Totals
from jobs.engine.cluster import cpus_and_gpus
from jobs.engine.environment import Origin, environment_error, installation_error, version_error
from jobs.engine.flights import Flight, Try
from jobs.engine.halting import halt
from jobs.engine.label_alone import start_label_alone
from jobs.engine.lease import HeldLease
from jobs.engine.node_faults import NodeFaults
from jobs.engine.quarantine import Quarantine, write_failure
from jobs.engine.tally import Tally
from jobs.engine.waiting import Waiting
from jobs.engine.workers import Answer, events_of, start_featurize
from pipeline.log import get_logger
from pipeline.log_events import replay
from pipeline.shards.featurize_shard import Shard, ShardResult
from pipeline.shards.isolation import MAX_KILLS
from pipeline.shards.label_part import LabelResult, LabelTask
from pipeline.storage import storage
from pipeline.storage.errors import is_store_error
from pipeline.tables.tables import is_damage
from schemas.errors import EarmarkError, EnvironmentFaultError, LabelError

log = get_logger(__name__)

_CRASHES = (ray_errors.WorkerCrashedError, ray_errors.OutOfMemoryError, ray_errors.ActorDiedError)
_LOST = (ray_errors.NodeDiedError, ray_errors.ActorUnavailableError, ray_errors.LocalRayletDiedError)
"""Errors of a worker that is unreachable but may still run: its work is retried under the same names. This
also holds for an actor whose node was lost, which Ray reports as dead."""
_ATTEMPTS = 3
"""Attempts at a shard that cannot be read or written."""
_GRACE_S = 0.5
"""Seconds for work to end by itself, of the three seconds in all that `ray job stop` leaves."""


class Engine:
    """Runs the shards and label tasks of a plan to the end.

    Parameters
    ----------
    assignment : Assignment
        What the workers need to know.
    totals : Totals
        Updated as work is finished.
    report : callable
        Called with the `Totals` when they change, and at least every half second.
    """

    def __init__(self, assignment: Assignment, totals: Totals, report: Callable[[Totals], None]) -> None:
        self.totals = totals
        self._assignment = assignment
        self._report = report
        self._waiting = Waiting(assignment)
        self._in_flight: dict[Any, Flight] = {}
        self._numbers = itertools.count()
        self._pool = ActorPool(assignment.model_location, assignment.config) if assignment.model else None
        self._tally = Tally(totals)
        self._quarantine = Quarantine(assignment)
        self._faults = NodeFaults()
        self._stopping = False
        self._dropped = False
        self._ends_at = math.inf
        self._installation_checked = False

    def stop(self) -> None:
        """Start no more work: `run` returns when the work in flight has ended."""
        self._stopping = True

    def stop_soon(self) -> None:
        """Start no more work: `run` returns within a second, even if work in flight has not ended."""
        self._ends_at = min(self._ends_at, time.monotonic() + _GRACE_S)
        self._stopping = True

    def run(self, shards: list[Shard], label_tasks: list[LabelTask]) -> Totals:
        """Work until everything is done or, after `stop`, until the work in flight has ended.

        Raises
        ------
        EarmarkError
            If the run cannot continue: parts cannot be written, the model cannot be loaded, workers die on
            any input, or another run has taken over the tables.
        """
        self._waiting.for_tasks.extend(Try(shard) for shard in shards)
        self._waiting.for_actors.extend(Try(task) for task in label_tasks)
        while self._in_flight or (not self._stopping and self._waiting):
            if time.monotonic() >= self._ends_at:
                return self.totals
            if self._stopping:
                self._drop_waiting()
            else:
                self._submit()
            waited_for = [*self._in_flight, *(self._pool.starting if self._pool else ())]
            ready, _ = ray.wait(waited_for, num_returns=1, timeout=0.5)
            for ref in ready:
                self._collect(ref)
            self._observe()
            if self._pool is not None:
                self.totals.actors = max(self.totals.actors, self._pool.n_actors)
                self.totals.waiting_for_actors = bool(self._waiting.for_actors and not self._pool.is_up)
            self._report(self.totals)
        if not self._stopping:
            self._tally.failed(self._quarantine.end())
        return self.totals

    def halt(self, held: HeldLease) -> None:
        """End the work that `run` left in flight; it writes nothing afterwards."""
        halt(held, self._in_flight)
        self._in_flight.clear()

    def _drop_waiting(self) -> None:
        """Cancel the tasks that wait in Ray for a CPU, whose tracks remain for the next run.

        Ray does not say which tasks are running; most likely the oldest are. One that has just begun is
        interrupted.
        """
        if self._dropped:
            return
        self._dropped = True
        tasks = sorted(
            (flight.number, ref) for ref, flight in self._in_flight.items() if flight.actor is None
        )
        log.info(
            "stopping",
            in_flight=len(self._in_flight),
            left=len(self._waiting.for_tasks) + len(self._waiting.for_actors),
        )
        for _, ref in tasks[max(1, cpus_and_gpus()[0]) :]:
            ray.cancel(ref)

    def _observe(self) -> None:
        shards = self._n_tasks
        self.totals.timeline.observe(
            cpus=cpus_and_gpus()[0],
            actors=self._pool.n_actors if self._pool is not None else 0,
            shards_left=len(self._waiting.for_tasks) + shards,
            parts_left=len(self._waiting.for_actors) + len(self._in_flight) - shards,
        )

    @property
    def _n_tasks(self) -> int:
        return sum(flight.actor is None for flight in self._in_flight.values())

    def _submit(self) -> None:
        cpus = max(1, cpus_and_gpus()[0])
        # Twice the CPUs: a worker finds its next shard queued, and an autoscaler sees the demand.
        for _ in range(min(len(self._waiting.for_tasks), 2 * cpus - self._n_tasks)):
            tried = self._waiting.for_tasks.popleft()
            node = self._faults.place(type(tried.work), tried.avoided, chosen=tried.deaths > 0)
            if isinstance(tried.work, Shard):
                ref = start_featurize(tried, self._assignment, node)
            else:
                ref = start_label_alone(tried.work, self._assignment, node)
            self._in_flight[ref] = Flight(tried, next(self._numbers), node=node)
        if self._pool is None:
            return
        self._pool.size()
        while self._waiting.for_actors and (actor := self._pool.take()) is not None:
            tried = self._waiting.for_actors.popleft()
            ref = actor.answer.remote(tried.work, self._assignment)
            self._in_flight[ref] = Flight(tried, next(self._numbers), actor)

    def _collect(self, ref: Any) -> None:
        if self._pool is not None and ref in self._pool.starting:
            self._pool.started(ref)
            return
        flight = self._in_flight.pop(ref)
        if self._pool is not None:
            self._pool.done(flight.actor)
        try:
            answer: Answer = ray.get(ref)
        except ray_errors.RayError as error:
            self._collect_error(flight, error)
        else:
            replay(answer.events)
            self.totals.requests.update(answer.requests)
            self._collect_answer(flight, answer)

    def _collect_answer(self, flight: Flight, answer: Answer) -> None:
        """Handle the answer of a task or an actor: a result, or a fault of its node."""
        tried, node = flight.tried, answer.origin.node
        if (ours := version_error(answer.origin.address, answer.origin.version)) is not None:
            raise ours
        if isinstance(answer.result, EnvironmentFaultError):
            self._at_fault(tried, answer.origin, answer.result)
            return
        if flight.actor is None:
            self._faults.clear(type(tried.work), node)
        if isinstance(answer.result, LabelError):
            self._label_failed(tried, answer.result, node)
            return
        self._done(tried, answer.result, node)

    def _at_fault(self, tried: Try, origin: Origin, fault: EnvironmentFaultError) -> None:
        """Handle a failure of known-good input: retry in a new process; if it fails there, blame the node.

        A worker runs many tasks, and a track of an earlier task may have damaged it.
        """
        if tried.isolated:
            self._faults.note(type(tried.work), origin, fault)
            self._waiting.again(tried.avoiding(origin.node))
        else:
            log.info(
                "worker failed on known-good input, trying a new process",
                node=origin.address,
                error=fault,
                **tried.log_fields(),
            )
            self._waiting.again(replace(tried, isolated=True))

    def _collect_error(self, flight: Flight, error: ray_errors.RayError) -> None:
        if isinstance(error, (*_CRASHES, *_LOST)):
            cut_off = self._pool is not None and self._pool.is_cut_off(flight.actor)
            flight = self._at_work(flight)
            tried = flight.tried if flight.node is None else flight.tried.avoiding(flight.node)
            if cut_off or isinstance(error, _LOST):
                log.warning("node lost, retrying its work", error=last_line(error), **tried.log_fields())
                self._waiting.again(tried)
            else:
                self._died(tried, error)
        elif isinstance(error, ray_errors.TaskCancelledError):
            return
        elif (ours := environment_error(error)) is not None:
            raise ours from error
        elif isinstance(error, ray_errors.RayTaskError):
            replay(events_of(error.cause))
            if isinstance(error.cause, EarmarkError):
                raise error.cause from None
            self._failed(flight.tried, error.cause)
        else:
            raise EarmarkError(f"Ray cannot run the work: {last_line(error)}") from error

    def _at_work(self, flight: Flight) -> Flight:
        """Return the flight that a dead or unreachable worker was working on, given any of its flights.

        An actor is replaced, and the work that was only queued for it is put back, since it is not to blame.
        """
        if flight.actor is None or self._pool is None:
            return flight
        self._pool.lost(flight.actor)
        lost = {ref: other for ref, other in self._in_flight.items() if other.actor == flight.actor}
        for ref in lost:
            del self._in_flight[ref]
        first, *waiting = sorted([flight, *lost.values()], key=lambda other: other.number)
        for other in waiting:
            self._waiting.put_back(other.tried)
        return first

    def _done(self, tried: Try, result: ShardResult | LabelResult, node: str | None = None) -> None:
        work = tried.work
        n_done = result.n_featurized if isinstance(result, ShardResult) else result.n_labeled
        if n_done:
            self._tally.failed(self._quarantine.succeeded(work))
        self._tally.add(result)
        if not (isinstance(result, ShardResult) and isinstance(work, Shard)):
            return
        if n_done and self._assignment.model is not None:
            self._waiting.for_actors.append(Try(self._label_task(work, result, self._assignment.model)))
        if result.suspects:
            suspected = work.only(result.suspects, f"{work.name}s")
            asked = frozenset() if node is None else frozenset({node})
            self._waiting.put_back(Try(suspected, isolated=True, confirming=True, avoided=asked))

    def _label_task(self, shard: Shard, result: ShardResult, model: str) -> LabelTask:
        assignment = self._assignment
        return LabelTask(
            name=shard.name,
            run=assignment.run,
            run_date=assignment.run_date,
            model=model,
            part=shard.parts(assignment.tables)["features"],
            feature_set=assignment.spec.feature_set,
            tracks=shard.as_read(result.changed, without=(*result.failed, *result.suspects)),
        )

    def _failed(self, tried: Try, error: Exception) -> None:
        """Handle an error, usually of a store, which may recover: retry, then fail or halve the work."""
        work = tried.work
        log.warning("work failed", attempt=tried.errors + 1, error=error, **tried.log_fields())
        if tried.errors + 1 < _ATTEMPTS:
            self._waiting.again(replace(tried, errors=tried.errors + 1))
        elif isinstance(work, LabelTask) and is_damage(error):
            raise EarmarkError(
                f"the part {work.part} is damaged ({storage.reason(error)}); remove it and run again, which "
                "featurizes its tracks again"
            ) from error
        elif is_store_error(error):
            raise EarmarkError(
                f"the parts of shard {work.name} cannot be read or written: {storage.reason(error)}; run "
                "again when the store works, finished work is kept"
            ) from error
        else:
            # Not the store but something in the work itself: halve it until a single track is left.
            if not self._installation_checked and (ours := installation_error()) is not None:
                raise ours from error
            self._installation_checked = True
            self._split(tried, error)

    def _died(self, tried: Try, error: Exception) -> None:
        """Handle the death of a worker: isolate the work first, then retry, then halve it."""
        log.warning(
            "worker died, isolating its tracks",
            attempt=tried.deaths + 1,
            isolated=tried.isolated,
            error=last_line(error),
            **tried.log_fields(),
        )
        if not tried.isolated:
            self._waiting.again(replace(tried, isolated=True))
            return
        self._quarantine.died(tried.work, error)
        if tried.deaths + 1 < MAX_KILLS:
            self._waiting.again(replace(tried, deaths=tried.deaths + 1))
        else:
            self._split(tried, error)

    def _label_failed(self, tried: Try, error: LabelError, node: str) -> None:
        """Handle tracks that failed in an isolated process in which known-good features pass."""
        if tried.work.tracks.num_rows > 1:
            self._split(tried, error)
        elif not tried.confirming:
            self._waiting.again(replace(tried, confirming=True, avoided=frozenset({node})))
        else:
            write_failure(tried.work, error, self._assignment)
            self._tally.failed(1)

    def _split(self, tried: Try, error: Exception) -> None:
        """Halve a shard or label task until only the track that fails is left."""
        if self._waiting.halve(tried):
            log.info("work halved", error=last_line(error), **tried.log_fields())
            return
        if isinstance(tried.work, LabelTask) and not tried.isolated:
            self._waiting.put_back(Try(tried.work, isolated=True))
        else:
            # Not recorded as a failure yet: until other work succeeds, the track may not be to blame.
            self._quarantine.hold(tried.work, error, killed=isinstance(error, _CRASHES))
