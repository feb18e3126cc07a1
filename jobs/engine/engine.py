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
from collections import Counter
from collections.abc import Callable
from typing import Any

import ray
from ray import exceptions as ray_errors

from jobs.engine.actor_pool import ActorPool, last_line
from jobs.engine.assignment import Assignment, Totals
from jobs.engine.attempts import Attempt, Submission
from jobs.engine.cluster_size import ClusterSize
from jobs.engine.environment import environment_error, version_error
from jobs.engine.halting import halt
from jobs.engine.label_isolated import start_label_isolated
from jobs.engine.lease import HeldLease
from jobs.engine.node_faults import NodeFaults
from jobs.engine.pace import Pace
from jobs.engine.quarantine import Quarantine
from jobs.engine.retries import CRASHES, Retries
from jobs.engine.tally import Tally
from jobs.engine.work_queues import WorkQueues
from jobs.engine.workers import Answer, events_of, origin_of, start_featurize
from pipeline.log import get_logger
from pipeline.log_events import replay
from pipeline.shards.featurize_shard import Shard, ShardResult
from pipeline.shards.label_part import LabelResult, LabelTask
from pipeline.storage import storage
from schemas.errors import EarmarkError, EnvironmentFaultError, LabelError, StoreError

log = get_logger(__name__)

_LOST = (
    ray_errors.NodeDiedError,
    ray_errors.ActorUnavailableError,
    ray_errors.LocalRayletDiedError,
    ray_errors.ObjectLostError,
)
"""Errors of a worker that is unreachable but may still run, or whose answer was lost with its node: its work
is retried under the same names. So is that of an actor whose node was lost, which Ray reports as dead."""
_MOST_AT_ONCE = 64
"""Answers to collect between two reports: `ray.wait` takes longer, the more work is in flight."""
_TICK_S = 0.5
"""Longest time between two reports, in seconds."""
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
        self._queues = WorkQueues(assignment)
        self._in_flight: dict[Any, Submission] = {}
        self._numbers = itertools.count()
        self._pool = ActorPool(assignment.model_location, assignment.config) if assignment.model else None
        self._tally = Tally(totals)
        self._pace = Pace()
        self._cluster = ClusterSize()
        self._quarantine = Quarantine(assignment)
        self._faults = NodeFaults()
        self._retries = Retries(assignment, self._queues, self._quarantine, self._faults, self._tally)
        self._is_stopping = False
        self._has_dropped_waiting = False
        self._has_lost_writer = False
        self._ends_at = math.inf

    def stop(self) -> None:
        """Start no more work: `run` returns when the work in flight has ended."""
        self._is_stopping = True

    def stop_soon(self) -> None:
        """Start no more work: `run` returns within a second, even if work in flight has not ended."""
        self._ends_at = min(self._ends_at, time.monotonic() + _GRACE_S)
        self._is_stopping = True

    def run(self, shards: list[Shard], label_tasks: list[LabelTask]) -> Totals:
        """Work until everything is done or, after `stop`, until the work in flight has ended.

        Raises
        ------
        EarmarkError
            If the run cannot continue: parts cannot be written, the model cannot be loaded, workers die on
            any input, or another run has taken over the tables.
        """
        self._queues.for_tasks.extend(Attempt(shard) for shard in shards)
        self._queues.for_actors.extend(Attempt(task) for task in label_tasks)
        self._observe()
        while self._in_flight or (not self._is_stopping and self._queues):
            if time.monotonic() >= self._ends_at:
                return self.totals
            if self._is_stopping:
                self._drop_waiting()
            else:
                self._submit()
            for ref in self._wait():
                self._collect(ref)
            self._observe()
            self._report(self.totals)
        if not self._is_stopping:
            self._tally.add_failures(self._quarantine.end())
        if self._pool is not None:
            self._pool.end()  # counting and merging need no GPU
        return self.totals

    def halt(self, held: HeldLease) -> None:
        """End the work that `run` left in flight; it writes nothing afterwards, except for lost workers."""
        halt(held, self._in_flight)
        held.is_settled = held.is_settled and not self._has_lost_writer
        self._in_flight.clear()

    def _drop_waiting(self) -> None:
        """Cancel the tasks that wait in Ray for a CPU, whose tracks remain for the next run.

        Ray does not say which tasks are running; most likely the oldest are. One that has just begun is
        interrupted.
        """
        if self._has_dropped_waiting:
            return
        self._has_dropped_waiting = True
        tasks = sorted((each.number, ref) for ref, each in self._in_flight.items() if each.actor is None)
        log.info(
            "stopping",
            in_flight=len(self._in_flight),
            left=len(self._queues),
        )
        for _, ref in tasks[max(1, self._cluster.cpus()) :]:
            ray.cancel(ref)

    def _wait(self) -> list[Any]:
        """Return references that are ready, in the order of submission; wait for one if there is none."""
        waited_for = [*self._in_flight, *(self._pool.starting if self._pool else ())]
        if not waited_for:
            time.sleep(_TICK_S)  # all that is left waits for a store
            return []
        ready, _ = ray.wait(waited_for, num_returns=min(_MOST_AT_ONCE, len(waited_for)), timeout=0)
        if not ready:
            ready, _ = ray.wait(waited_for, num_returns=1, timeout=_TICK_S)
        return list(ready)

    def _observe(self) -> None:
        shards, totals = self._n_tasks, self.totals
        totals.actors_by_state = self._pool.count_by_state() if self._pool is not None else Counter()
        n_actors = totals.actors_by_state.total()
        totals.actors = max(totals.actors, n_actors)
        totals.shards_left = len(self._queues.for_tasks) + len(self._queues.later) + shards
        totals.parts_left = len(self._queues.for_actors) + len(self._in_flight) - shards
        totals.timeline.observe(
            cpus=self._cluster.cpus(),
            actors=n_actors,
            shards_left=totals.shards_left,
            parts_left=totals.parts_left,
        )
        totals.waiting_for = self._waiting_for()

    def _waiting_for(self) -> str:
        if not self._cluster.cpus():
            return "CPUs to join the cluster"
        if self._pool is None or self._pool.is_up or not self._queues.for_actors:
            return ""
        return "GPUs to join the cluster" if self._pool.lacks_gpus else "the model to load"

    @property
    def _n_tasks(self) -> int:
        return sum(submission.actor is None for submission in self._in_flight.values())

    def _submit(self) -> None:
        due = self._queues.take_due()
        while due and self._retries.retry(due.pop(0)):
            pass
        # The store does not answer yet. To ask it for the others, one by one, would stop all other work.
        self._queues.wait_longer(due)
        if self._pool is not None:
            # Before the tasks, which would otherwise take all CPUs first.
            share = self._pace.labeling_share(self.totals.shards_left, self.totals.parts_left)
            self._pool.resize(share, len(self._queues.for_actors))
        for _ in range(min(len(self._queues.for_tasks), self._most_tasks() - self._n_tasks)):
            attempt = self._queues.for_tasks.popleft()
            node = self._faults.place(type(attempt.work), attempt.avoided, chosen=attempt.deaths > 0)
            if isinstance(attempt.work, Shard):
                ref = start_featurize(attempt, self._assignment, node)
            else:
                ref = start_label_isolated(attempt, self._assignment, node)
            self._in_flight[ref] = Submission(attempt, next(self._numbers), node=node)
        while self._pool is not None and self._queues.for_actors:
            actor = self._pool.take(self._queues.for_actors[0].avoided)
            if actor is None:
                break
            attempt = self._queues.for_actors.popleft()
            ref = actor.answer.remote(attempt.work, self._assignment)
            self._in_flight[ref] = Submission(attempt, next(self._numbers), actor)

    def _most_tasks(self) -> int:
        """Return how many tasks to have submitted.

        Twice the CPUs: a worker finds its next shard queued, and an autoscaler sees the demand. But for the
        seconds in which the first actor loads the model on a CPU that Ray does not set aside for it, tasks
        leave it one: the first labels wait for it, and not for one more worker.
        """
        cpus = max(1, self._cluster.cpus())
        if self._pool is not None and self._pool.needs_a_cpu:
            return max(1, cpus - 1)
        return 2 * cpus

    def _collect(self, ref: Any) -> None:
        if self._pool is not None and ref in self._pool.starting:
            self._pool.add_started(ref)
            return
        submission = self._in_flight.pop(ref, None)
        if submission is None:
            return  # its actor died, as another of these references said, and the work was put back
        if self._pool is not None:
            self._pool.finish_part(submission.actor)
        try:
            answer: Answer = ray.get(ref)
        except ray_errors.RayError as error:
            self._collect_error(submission, error)
        else:
            replay(answer.events)
            self.totals.requests.update(answer.requests)
            self.totals.store_bytes.update(answer.store_bytes)
            self._collect_answer(submission, answer)

    def _collect_answer(self, submission: Submission, answer: Answer) -> None:
        """Handle the answer of a task or an actor: a result, or a fault of its node."""
        attempt, node = submission.attempt, answer.origin.node
        if (ours := version_error(answer.origin.address, answer.origin.version)) is not None:
            raise ours
        if isinstance(answer.result, EnvironmentFaultError):
            if submission.actor is not None:
                for other in self._end_actor(submission.actor):
                    self._retries.retry(other.attempt)
            self._retries.handle_node_fault(attempt, answer.origin, answer.result)
            return
        if isinstance(answer.result, LabelError):
            self._retries.handle_label_error(attempt, answer.result, node)
            return
        if submission.actor is None and answer.result.n_done:
            self._faults.record_success(attempt, node)
        self._handle_result(attempt, answer.result, node)

    def _collect_error(self, submission: Submission, error: ray_errors.RayError) -> None:
        if isinstance(error, (*CRASHES, *_LOST)):
            cut_off = self._pool is not None and self._pool.is_cut_off(submission.actor)
            submission = self._find_running(submission)
            attempt, node = submission.attempt, submission.node
            attempt = attempt if node is None else attempt.avoiding(node)
            is_lost = cut_off or isinstance(error, _LOST)
            # On a disk, a dead worker writes nothing more; a store may still process its last request.
            if is_lost or not storage.is_local(self._assignment.tables.root):
                self._has_lost_writer = True
            if is_lost:
                log.warning("node lost, retrying its work", error=last_line(error), **attempt.log_fields())
                self._retries.retry(attempt)
            else:
                self._retries.handle_death(attempt, error)
        elif isinstance(error, ray_errors.TaskCancelledError):
            return
        elif isinstance(error, ray_errors.TaskUnschedulableError):
            self._retries.retry(submission.attempt)  # the node that was chosen for it is gone
        elif (ours := environment_error(error)) is not None:
            raise ours from error
        elif isinstance(error, ray_errors.RayTaskError):
            replay(events_of(error.cause))
            if isinstance(error.cause, EarmarkError) and not isinstance(error.cause, StoreError):
                raise error.cause from None
            self._retries.handle_error(submission.attempt, error.cause, origin_of(error.cause))
        else:
            raise EarmarkError(f"Ray cannot run the work: {last_line(error)}") from error

    def _find_running(self, submission: Submission) -> Submission:
        """Return the submission to blame for a dead or unreachable worker, given any of its submissions.

        An actor is replaced. It predicts its parts in order, so the oldest is most likely the one that killed
        it. The others are retried; one that also kills the next actor is the oldest then.
        """
        if submission.actor is None:
            return submission
        oldest, *others = sorted(
            [submission, *self._end_actor(submission.actor)], key=lambda other: other.number
        )
        for other in reversed(others):
            self._retries.retry(other.attempt)
        return oldest

    def _end_actor(self, actor: Any) -> list[Submission]:
        """Have an actor replaced, and return what it had not answered."""
        if self._pool is not None:
            self._pool.replace_lost(actor)
        refs = [ref for ref, submission in self._in_flight.items() if submission.actor == actor]
        if refs and not storage.is_local(self._assignment.tables.root):
            self._has_lost_writer = True
        return [self._in_flight.pop(ref) for ref in refs]

    def _handle_result(self, attempt: Attempt, result: ShardResult | LabelResult, node: str) -> None:
        if result.n_done:
            self._tally.add_failures(self._quarantine.record_success(attempt.work))
        self._tally.add(result)
        self._pace.record(result)
        if (labeling := attempt.to_label(result, self._assignment)) is not None:
            self._queues.for_actors.append(labeling)
        if (confirming := attempt.to_confirm(result.suspects, node)) is not None:
            self._queues.put_back(confirming)
