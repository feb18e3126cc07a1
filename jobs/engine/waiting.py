"""Queues of waiting work: shards and suspects for tasks, parts for actors."""

from collections import deque
from dataclasses import replace

from jobs.engine.assignment import Assignment
from jobs.engine.flights import Try
from pipeline.catalogs.planning import copy_rows
from pipeline.shards.featurize_shard import Shard
from pipeline.shards.label_part import LabelTask
from pipeline.storage import storage


class Waiting:
    """Work that is not started yet, for tasks and for actors; retries go first.

    Parameters
    ----------
    assignment : Assignment
        Says where parts are written.

    Attributes
    ----------
    for_tasks, for_actors : deque of Try
    """

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self.for_tasks: deque[Try] = deque()
        self.for_actors: deque[Try] = deque()

    def __bool__(self) -> bool:
        return bool(self.for_tasks or self.for_actors)

    def put_back(self, tried: Try) -> None:
        """Put work at the front of its queue."""
        by_actor = isinstance(tried.work, LabelTask) and not tried.isolated
        (self.for_actors if by_actor else self.for_tasks).appendleft(tried)

    def again(self, tried: Try) -> None:
        """Delete what a try may have written and put it back; the next try may write fewer parts."""
        self._delete_parts(tried.work)
        self.put_back(replace(tried, retried=True))

    def halve(self, tried: Try) -> bool:
        """Put back both halves of a shard or label task; return False if it is a single track."""
        work, n_tracks = tried.work, tried.work.tracks.num_rows
        self._delete_parts(work)
        if n_tracks == 1:
            return False
        middle = n_tracks // 2
        for suffix, start, stop in (("a", 0, middle), ("b", middle, n_tracks)):
            half = replace(work, name=work.name + suffix, tracks=copy_rows(work.tracks, start, stop))
            self.put_back(replace(tried, work=half, errors=0, deaths=0, retried=False))
        return True

    def _delete_parts(self, work: Shard | LabelTask) -> None:
        for part in work.parts(self._assignment.tables).values():
            with storage.explain_errors(part, "remove"):
                storage.delete(part, check=self._assignment.lease.check)
