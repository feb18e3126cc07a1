"""The engine: shards to Ray tasks, their parts to a pool of actors, both at once and bounded.

Whatever dies, every track ends once. A worker that dies costs a retry of its shard in two halves, until the
file that kills it stands alone and becomes a failure; parts have fixed names, so nothing is written twice.
"""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray import exceptions as ray_errors

from jobs.assignment import Assignment, Totals
from jobs.cluster import cpus_and_gpus, plan_actors
from jobs.metrics import Metrics
from jobs.workers import start_featurize, start_labeler
from pipeline import storage
from pipeline.failures import Failure, failure_rows
from pipeline.featurize_shard import Shard, ShardResult, track_rows
from pipeline.label_part import LabelResult, LabelTask
from pipeline.planning import copied
from pipeline.tables import encode_part
from pipeline.track_refs import from_table
from schemas.errors import DecoderCrashedError, EarmarkError, LabelerCrashedError, TrackError

_CRASHES = (
    ray_errors.WorkerCrashedError,
    ray_errors.NodeDiedError,
    ray_errors.OutOfMemoryError,
    ray_errors.ActorDiedError,
    ray_errors.ActorUnavailableError,
    ray_errors.OwnerDiedError,
)
_ATTEMPTS = 3
"""Times a shard is tried that cannot be written, and a single track that kills its worker."""
_CRASHES_IN_A_ROW = 25
"""So many tracks that kill their workers with none between that does not: it is not the tracks."""
_PARTS_PER_ACTOR = 2
_SIZE_POOL_EVERY_S = 15.0
_ASK_AGAIN_S = 0.5


@dataclass(frozen=True)
class _Flight:
    """Work in flight: a shard, or a label task with its actor."""

    work: Shard | LabelTask
    actor: Any = None
    attempt: int = 1


class Engine:
    """Runs a plan's shards and label tasks to the end.

    Parameters
    ----------
    assignment : Assignment
        What the workers need to know.
    report : callable
        Called with the `Totals` whenever they change, and now and then in between.
    """

    def __init__(self, assignment: Assignment, report: Callable[[Totals], None]) -> None:
        self.totals = Totals()
        self._assignment = assignment
        self._report = report
        self._shards: deque[tuple[Shard, int]] = deque()
        self._label_tasks: deque[tuple[LabelTask, int]] = deque()
        self._in_flight: dict[Any, _Flight] = {}
        self._starting: dict[Any, Any] = {}
        self._load: Counter[Any] = Counter()
        self._metrics = Metrics()
        self._sized_at = 0.0
        self._crashes = 0
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
                self._size_pool()
                self._submit()
            waited_for = [*self._in_flight, *self._starting]
            ready, _ = ray.wait(waited_for, num_returns=1, timeout=0.5)
            for ref in ready:
                self._collect(ref)
            self.totals.waiting_for_actors = bool(self._label_tasks and not self._load)
            self._report(self.totals)
        return self.totals

    @property
    def n_actors(self) -> int:
        """Actors that were started."""
        return len(self._load) + len(self._starting)

    def _size_pool(self) -> None:
        """Start the actors that the cluster has room for; it may have grown since the last look."""
        if self._assignment.model is None or time.monotonic() - self._sized_at < _SIZE_POOL_EVERY_S:
            return
        self._sized_at = time.monotonic()
        plan = plan_actors(self._assignment.config, *cpus_and_gpus())
        for _ in range(plan.n_actors - self.n_actors):
            actor = start_labeler(
                self._assignment.model_location,
                batch_size=plan.batch_size,
                num_cpus=plan.num_cpus,
                num_gpus=plan.num_gpus,
            )
            self._starting[actor.ready.remote()] = actor

    def _submit(self) -> None:
        assignment = self._assignment
        cpus = max(1, cpus_and_gpus()[0])
        featurizing = sum(isinstance(flight.work, Shard) for flight in self._in_flight.values())
        # Twice the CPUs: a worker finds its next shard waiting, and an autoscaler sees that more is wanted.
        while self._shards and featurizing < 2 * cpus:
            shard, attempt = self._shards.popleft()
            ref = start_featurize(shard, assignment.tables, assignment.spec, assignment.lease)
            self._in_flight[ref] = _Flight(shard, attempt=attempt)
            featurizing += 1
        while self._label_tasks and self._load:
            actor, load = min(self._load.items(), key=lambda item: item[1])
            if load >= _PARTS_PER_ACTOR:
                return
            task, attempt = self._label_tasks.popleft()
            ref = actor.label.remote(
                task, assignment.tables, assignment.lease, assignment.config.segment_labels
            )
            self._in_flight[ref] = _Flight(task, actor, attempt)
            self._load[actor] += 1

    def _collect(self, ref: Any) -> None:
        if ref in self._starting:
            self._actor_started(ref)
            return
        flight = self._in_flight.pop(ref)
        if flight.actor in self._load:
            self._load[flight.actor] -= 1
        try:
            result = ray.get(ref)
        except _CRASHES as error:
            if flight.actor in self._load:
                # Ray restarts it; until it answers again it gets no work, which would only fail at once.
                del self._load[flight.actor]
                self._starting[flight.actor.ready.remote()] = flight.actor
            self._crashed(flight, error)
        except EarmarkError:
            raise
        except ray_errors.RayTaskError as error:
            self._retry(flight, error)
        else:
            self._crashes = 0
            self._add(flight.work, result)

    def _actor_started(self, ref: Any) -> None:
        actor = self._starting.pop(ref)
        try:
            ray.get(ref)
        except ray_errors.ActorUnavailableError:
            time.sleep(_ASK_AGAIN_S)
            self._starting[actor.ready.remote()] = actor
            return
        except ray_errors.RayError as error:
            raise EarmarkError(f"the model cannot be loaded on the cluster: {_last_line(error)}") from error
        self._load[actor] = 0

    def _add(self, work: Shard | LabelTask, result: ShardResult | LabelResult) -> None:
        totals = self.totals
        totals.failed += result.n_failed
        totals.seconds.update(result.seconds)
        tracks = {"failed": result.n_failed}
        if isinstance(result, ShardResult) and isinstance(work, Shard):
            totals.featurized += result.n_featurized
            totals.audio_s += result.audio_s
            tracks["featurized"] = result.n_featurized
            if result.n_featurized and self._assignment.model is not None:
                self._label_tasks.append((self._label_task(work, self._assignment.model), 1))
        elif isinstance(result, LabelResult):
            totals.labelled += result.n_labelled
            totals.genres.update(result.genres)
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
        """Parts could not be read or written: the store may be back in a moment."""
        if flight.attempt >= _ATTEMPTS:
            raise EarmarkError(
                f"the parts of shard {flight.work.name} cannot be read or written: {_last_line(error)}; "
                "run again when the store is well, what is done stays done"
            ) from error
        self._put_back(flight.work, flight.attempt + 1)

    def _crashed(self, flight: _Flight, error: Exception) -> None:
        """A worker died. Halve the shard until the track that kills workers stands alone."""
        n_tracks = flight.work.tracks.num_rows
        if n_tracks == 1 and flight.attempt >= _ATTEMPTS:
            self._crashes += 1
            if self._crashes >= _CRASHES_IN_A_ROW:
                reason = f"({self._crashes} times in a row): {_last_line(error)}"
                raise EarmarkError(f"workers die whatever they are given {reason}") from error
            self._fail(flight.work)
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

    def _fail(self, work: Shard | LabelTask) -> None:
        """Write the failure of the single track that kills its worker."""
        self._delete_parts(work)
        track = work.tracks.to_pylist()[0]
        error: TrackError
        if isinstance(work, Shard):
            error = DecoderCrashedError(f"{track['uri']}: the process that decoded it died {_ATTEMPTS} times")
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


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
