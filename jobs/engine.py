"""The engine: shards to Ray tasks, their parts to a pool of actors, both at once and bounded.

Whatever dies, every track ends once. A worker that dies costs a retry of its shard in two halves, until the
file that kills it stands alone and becomes a failure; parts have fixed names, so nothing is written twice.
"""

import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import ray
from ray import exceptions as ray_errors

from jobs.actor_pool import ActorPool, last_line
from jobs.assignment import Assignment, Totals
from jobs.cluster import cpus_and_gpus
from jobs.metrics import Metrics
from jobs.workers import start_featurize
from pipeline import storage
from pipeline.failures import Failure, failure_rows
from pipeline.featurize_shard import Shard, ShardResult, track_rows
from pipeline.label_part import LabelResult, LabelTask
from pipeline.planning import copied
from pipeline.stopwatch import slowest_of
from pipeline.tables import encode_part
from pipeline.track_refs import from_table
from schemas.errors import DecoderCrashedError, EarmarkError, LabelerCrashedError, TrackError

_CRASHES = (ray_errors.WorkerCrashedError, ray_errors.OutOfMemoryError, ray_errors.ActorDiedError)
_LOST = (ray_errors.NodeDiedError, ray_errors.ActorUnavailableError, ray_errors.LocalRayletDiedError)
"""The worker is out of reach and may be at work still: the same work is done again under the same names."""
_ATTEMPTS = 3
"""Times a shard is tried that cannot be written, and a single track that kills its worker."""
_CRASHES_IN_A_ROW = 25
"""So many tracks that kill their workers with none between that does not: it is not the tracks."""


@dataclass(frozen=True)
class _Flight:
    """Work in flight: a shard, or a label task with its actor; flights are numbered as they start."""

    work: Shard | LabelTask
    attempt: int
    number: int
    actor: Any = None


class Engine:
    """Runs a plan's shards and label tasks to the end.

    Parameters
    ----------
    assignment : Assignment
        What the workers need to know.
    totals : Totals
        Where what is done is added up, as it is done.
    report : callable
        Called with the `Totals` whenever they change, and now and then in between.
    """

    def __init__(self, assignment: Assignment, totals: Totals, report: Callable[[Totals], None]) -> None:
        self.totals = totals
        self._assignment = assignment
        self._report = report
        self._shards: deque[tuple[Shard, int]] = deque()
        self._label_tasks: deque[tuple[LabelTask, int]] = deque()
        self._in_flight: dict[Any, _Flight] = {}
        self._numbers = itertools.count()
        self._pool = ActorPool(assignment.model_location, assignment.config) if assignment.model else None
        self._metrics = Metrics()
        self._suspects: list[Shard | LabelTask] = []
        self._stopping = False

    def stop(self) -> None:
        """Start nothing more: `run` returns when what is in flight has ended."""
        self._stopping = True

    def run(self, shards: list[Shard], label_tasks: list[LabelTask]) -> Totals:
        """Work until all is done, or what was in flight when `stop` was called.

        Raises
        ------
        EarmarkError
            If the run cannot go on: parts cannot be written, the model cannot be loaded, workers die
            whatever they are given, or another run took the tables over.
        """
        self._shards.extend((shard, 1) for shard in shards)
        self._label_tasks.extend((task, 1) for task in label_tasks)
        while self._in_flight or (not self._stopping and (self._shards or self._label_tasks)):
            if not self._stopping:
                self._submit()
            waited_for = [*self._in_flight, *(self._pool.starting if self._pool else ())]
            ready, _ = ray.wait(waited_for, num_returns=1, timeout=0.5)
            for ref in ready:
                self._collect(ref)
            self._observe()
            if self._pool is not None:
                self.totals.actors = max(self.totals.actors, self._pool.n_actors)
                self.totals.waiting_for_actors = bool(self._label_tasks and not self._pool.is_up)
            self._report(self.totals)
        self._fail_suspects()
        return self.totals

    def _observe(self) -> None:
        shards = sum(isinstance(flight.work, Shard) for flight in self._in_flight.values())
        self.totals.timeline.observe(
            cpus=cpus_and_gpus()[0],
            actors=self._pool.n_actors if self._pool is not None else 0,
            shards_left=len(self._shards) + shards,
            parts_left=len(self._label_tasks) + len(self._in_flight) - shards,
        )

    def _submit(self) -> None:
        assignment = self._assignment
        cpus = max(1, cpus_and_gpus()[0])
        featurizing = sum(isinstance(flight.work, Shard) for flight in self._in_flight.values())
        # Twice the CPUs: a worker finds its next shard waiting, and an autoscaler sees that more is wanted.
        while self._shards and featurizing < 2 * cpus:
            shard, attempt = self._shards.popleft()
            ref = start_featurize(
                shard, assignment.tables, assignment.spec, assignment.lease, assignment.config.track_timeout_s
            )
            self._in_flight[ref] = _Flight(shard, attempt, next(self._numbers))
            featurizing += 1
        if self._pool is None:
            return
        self._pool.size()
        while self._label_tasks and (actor := self._pool.take()) is not None:
            task, attempt = self._label_tasks.popleft()
            ref = actor.label.remote(
                task,
                assignment.tables,
                assignment.lease,
                assignment.config.segment_labels,
                assignment.config.min_confidence,
            )
            self._in_flight[ref] = _Flight(task, attempt, next(self._numbers), actor)

    def _collect(self, ref: Any) -> None:
        if self._pool is not None and ref in self._pool.starting:
            self._pool.started(ref)
            return
        flight = self._in_flight.pop(ref)
        if self._pool is not None:
            self._pool.done(flight.actor)
        try:
            result = ray.get(ref)
        except _CRASHES as error:
            self._crashed(self._at_work(flight), error)
        except _LOST:
            lost = self._at_work(flight)
            self._put_back(lost.work, lost.attempt)
        except ray_errors.RayTaskError as error:
            if isinstance(error.cause, EarmarkError):
                raise error.cause from None
            self._retry(flight, error.cause)
        except ray_errors.RayError as error:
            raise EarmarkError(f"Ray cannot run the work: {last_line(error)}") from error
        else:
            self._fail_suspects()
            self._add(flight.work, result)

    def _at_work(self, flight: _Flight) -> _Flight:
        """What the worker was doing that died or is out of reach, given one flight that it took along.

        An actor is replaced, and what had only been waiting for it is put back: it is not to blame.
        """
        if flight.actor is None or self._pool is None:
            return flight
        self._pool.lost(flight.actor)
        lost = {ref: other for ref, other in self._in_flight.items() if other.actor == flight.actor}
        for ref in lost:
            del self._in_flight[ref]
        first, *waiting = sorted([flight, *lost.values()], key=lambda other: other.number)
        for other in waiting:
            self._put_back(other.work, other.attempt)
        return first

    def _add(self, work: Shard | LabelTask, result: ShardResult | LabelResult) -> None:
        totals = self.totals
        totals.failed += result.n_failed
        totals.seconds.update(result.seconds)
        tracks = {"failed": result.n_failed}
        if isinstance(result, ShardResult) and isinstance(work, Shard):
            totals.featurized += result.n_featurized
            totals.audio_s += result.audio_s
            totals.slowest = slowest_of([*totals.slowest, *result.slowest])
            totals.timeline.worked("featurizing", sum(result.seconds.values()))
            tracks["featurized"] = result.n_featurized
            if result.n_featurized and self._assignment.model is not None:
                self._label_tasks.append((self._label_task(work, self._assignment.model), 1))
        elif isinstance(result, LabelResult):
            totals.labelled += result.n_labelled
            totals.genres.update(result.genres)
            totals.rejected += result.n_rejected
            totals.timeline.worked("labelling", sum(result.seconds.values()))
            tracks["labelled"] = result.n_labelled
        self._metrics.add(tracks, result.seconds)

    def _label_task(self, shard: Shard, model: str) -> LabelTask:
        assignment = self._assignment
        return LabelTask(
            name=shard.name,
            run=assignment.run,
            run_date=assignment.run_date,
            model=model,
            part=shard.parts(assignment.tables)["features"],
            feature_set=assignment.spec.feature_set,
            tracks=shard.tracks.select(["track_id", "uri", "etag", "attempts"]),
        )

    def _retry(self, flight: _Flight, error: Exception) -> None:
        """Parts could not be read or written, as a rule: the store may be back in a moment."""
        if flight.attempt < _ATTEMPTS:
            self._put_back(flight.work, flight.attempt + 1)
        elif isinstance(error, pa.ArrowException) and isinstance(flight.work, LabelTask):
            raise EarmarkError(
                f"the part {flight.work.part} is damaged ({storage.reason(error)}); remove it and run again, "
                "its tracks are then featurized again"
            ) from error
        elif isinstance(error, OSError):
            raise EarmarkError(
                f"the parts of shard {flight.work.name} cannot be read or written: {storage.reason(error)}; "
                "run again when the store is well, what is done stays done"
            ) from error
        else:
            # Not the store, but something in the work itself: found as a crash is.
            self._crashed(flight, error)

    def _crashed(self, flight: _Flight, error: Exception) -> None:
        """A worker died. Halve the shard until the track that kills workers stands alone."""
        n_tracks = flight.work.tracks.num_rows
        if n_tracks == 1 and flight.attempt >= _ATTEMPTS:
            # Not yet a failure, which would be remembered: while nothing succeeds, it may not be the track.
            self._suspects.append(flight.work)
            if len(self._suspects) >= _CRASHES_IN_A_ROW:
                reason = f"({len(self._suspects)} tracks in a row): {last_line(error)}"
                raise EarmarkError(f"workers die whatever they are given {reason}") from error
        elif n_tracks == 1:
            self._put_back(flight.work, flight.attempt + 1)
        else:
            # The halves have names of their own, so what the whole may have written must go first.
            self._delete_parts(flight.work)
            middle = n_tracks // 2
            for suffix, start, stop in (("a", 0, middle), ("b", middle, n_tracks)):
                tracks = copied(flight.work.tracks, start, stop)
                self._put_back(replace(flight.work, name=flight.work.name + suffix, tracks=tracks), 1)

    def _put_back(self, work: Shard | LabelTask, attempt: int) -> None:
        if isinstance(work, Shard):
            self._shards.appendleft((work, attempt))
        else:
            self._label_tasks.appendleft((work, attempt))

    def _delete_parts(self, work: Shard | LabelTask) -> None:
        self._assignment.lease.check()
        for part in work.parts(self._assignment.tables).values():
            with storage.explained(part, "remove"):
                storage.delete(part)

    def _fail_suspects(self) -> None:
        for work in self._suspects:
            self._fail(work)
        self._suspects.clear()

    def _fail(self, work: Shard | LabelTask) -> None:
        """Write the failure of the single track that kills its worker."""
        self._delete_parts(work)
        track = work.tracks.to_pylist()[0]
        error: TrackError
        if isinstance(work, Shard):
            limit = self._assignment.config.track_timeout_s
            error = DecoderCrashedError(
                f"{track['uri']}: the process that decoded it died, or took longer than {limit:g} s, "
                f"{_ATTEMPTS} times"
            )
            model = None
        else:
            error = LabelerCrashedError(
                f"{track['uri']}: the process that labelled it died {_ATTEMPTS} times"
            )
            model = work.model
        failure = Failure(track["track_id"], track["uri"], track["etag"], track["attempts"] + 1, error, model)
        parts = work.parts(self._assignment.tables)
        rows = {"failures": failure_rows([failure])}
        if isinstance(work, Shard):
            rows = {"tracks": track_rows(from_table(work.tracks), {}, work.listed_at)} | rows
        for table, table_rows in rows.items():
            self._assignment.lease.check()
            with storage.explained(parts[table], "write"):
                storage.write_bytes(parts[table], encode_part(table_rows))
        self.totals.failed += 1
        self._metrics.add({"failed": 1}, {})
