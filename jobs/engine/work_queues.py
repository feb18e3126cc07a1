"""Queues of waiting work: shards and suspects for tasks, parts for actors."""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from jobs.engine.assignment import Assignment
from jobs.engine.attempts import Attempt
from pipeline.catalogs.cutting import copy_rows
from pipeline.shards.featurize_shard import Shard
from pipeline.shards.label_part import LabelTask
from pipeline.storage import storage


class WorkQueues:
    """Work that is not started yet, for tasks and for actors; retries go first.

    Parameters
    ----------
    assignment : Assignment
        Says where parts are written.

    Attributes
    ----------
    for_tasks, for_actors : deque of Attempt
    later : list of (float, Attempt)
        Attempts that wait for a store, each with the time, by `time.monotonic`, at which they are due.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self.for_tasks: deque[Attempt] = deque()
        self.for_actors: deque[Attempt] = deque()
        self.later: list[tuple[float, Attempt]] = []

    def __len__(self) -> int:
        return len(self.for_tasks) + len(self.for_actors) + len(self.later)

    def take_due(self) -> list[Attempt]:
        """Take the attempts that have waited long enough."""
        now = time.monotonic()
        due = [attempt for at, attempt in self.later if at <= now]
        self.later = [(at, attempt) for at, attempt in self.later if at > now]
        return due

    def wait_longer(self, attempts: Iterable[Attempt]) -> None:
        """Let attempts that were due wait for as long as the last one that waits."""
        latest = max((at for at, _ in self.later), default=0.0)
        self.later += [(latest, attempt) for attempt in attempts]

    def put_back(self, attempt: Attempt) -> None:
        """Put work at the front of its queue."""
        by_actor = isinstance(attempt.work, LabelTask) and not attempt.isolated
        (self.for_actors if by_actor else self.for_tasks).appendleft(attempt)

    def retry(self, attempt: Attempt) -> None:
        """Delete what an attempt may have written and put it back; the next one may write fewer parts.

        Raises
        ------
        StoreError
            If the store does not delete it.
        """
        self._delete_parts(attempt.work)
        self.put_back(replace(attempt, retried=True))

    def halve(self, attempt: Attempt) -> bool:
        """Delete what an attempt may have written, and put back both halves of its shard or label task.

        Returns
        -------
        bool
            Whether there are halves: a single track has none, and is not put back.

        Raises
        ------
        StoreError
            If the store does not delete it.
        """
        work, n_tracks = attempt.work, attempt.work.tracks.num_rows
        self._delete_parts(work)
        if n_tracks == 1:
            return False
        middle = n_tracks // 2
        for suffix, start, stop in (("a", 0, middle), ("b", middle, n_tracks)):
            half = replace(work, name=work.name + suffix, tracks=copy_rows(work.tracks, start, stop))
            self.put_back(replace(attempt, work=half, errors=0, deaths=0, stalls=0, retried=False))
        return True

    def _delete_parts(self, work: Shard | LabelTask) -> None:
        for part in work.parts(self._assignment.tables).values():
            with storage.explain_errors(part, "remove"):
                storage.delete(part, check=self._assignment.lease.check)
