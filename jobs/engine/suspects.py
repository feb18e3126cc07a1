"""Suspects: tracks that seem to kill the processes they are given to, until it is clear that it is them."""

from typing import Any

from jobs.engine.actor_pool import last_line
from jobs.engine.assignment import Assignment
from pipeline.shards.failures import Failure, failure_rows
from pipeline.shards.featurize_shard import Shard, write_failures
from pipeline.shards.isolation import MOST_KILLS
from pipeline.shards.label_part import LabelTask
from pipeline.stores import storage
from pipeline.tables.tables import encode_part
from schemas.errors import (
    DecoderCrashedError,
    EarmarkError,
    FeatureError,
    LabelerCrashedError,
    LabelError,
    TrackError,
)

_TRACKS_IN_A_ROW = 25
"""So many tracks that kill processes with nothing between that succeeds: it is not the tracks."""
_DEATHS_IN_A_ROW = 75
"""So many workers that die with nothing between that succeeds: it is the machines, or the environment."""
_CRASHED: dict[type, type[TrackError]] = {Shard: DecoderCrashedError, LabelTask: LabelerCrashedError}
_FAULTY: dict[type, type[TrackError]] = {Shard: FeatureError, LabelTask: LabelError}


class Suspects:
    """Tracks whose failure is not written, and so not remembered, before something else has succeeded.

    Parameters
    ----------
    assignment : Assignment
        Where failures go.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._suspects: list[tuple[Shard | LabelTask, tuple[TrackError, ...]]] = []
        self._deaths = 0

    def died(self, error: Exception) -> None:
        """Count a worker that died.

        Raises
        ------
        EarmarkError
            If all of them do.
        """
        self._deaths += 1
        if self._deaths >= _DEATHS_IN_A_ROW:
            self._give_up(f"{self._deaths} workers in a row", last_line(error))

    def add(self, work: Shard | LabelTask, errors: tuple[TrackError, ...]) -> None:
        """Suspect each track of a shard or label task.

        Raises
        ------
        EarmarkError
            If all tracks are suspects.
        """
        self._suspects.append((work, errors))
        n_tracks = sum(len(errors) for _, errors in self._suspects)
        if n_tracks >= _TRACKS_IN_A_ROW:
            self._give_up(f"{n_tracks} tracks in a row", str(errors[-1]))

    def blame(self, work: Shard | LabelTask, error: Exception, *, killed: bool) -> None:
        """Suspect a track that stands alone, for an error or for the worker's death.

        Raises
        ------
        EarmarkError
            If all tracks are suspects.
        """
        uri = work.tracks["uri"][0].as_py()
        if killed:
            reason = f"{uri}: its worker was killed {MOST_KILLS} times: {last_line(error)}"
            self.add(work, (_CRASHED[type(work)](reason),))
        else:
            self.add(work, (_FAULTY[type(work)](f"{uri}: {type(error).__name__}: {error}"),))

    def _give_up(self, what: str, reason: str) -> None:
        raise EarmarkError(f"workers die whatever they are given ({what}): {reason}")

    def fail(self) -> int:
        """Write the failures of the suspects, since others have succeeded; how many tracks these are."""
        self._deaths = 0
        n_tracks = 0
        for work, errors in self._suspects:
            with storage.explained(work.name, "write the failures of"):
                if isinstance(work, Shard):
                    write_failures(work, self._assignment.tables, errors, self._assignment.lease.check)
                else:
                    self._write_labelling(work, errors)
            n_tracks += len(errors)
        self._suspects.clear()
        return n_tracks

    def _write_labelling(self, task: LabelTask, errors: tuple[TrackError, ...]) -> None:
        tracks: list[dict[str, Any]] = task.tracks.to_pylist()
        rows = failure_rows(
            Failure(track["track_id"], track["uri"], track["etag"], track["attempts"] + 1, error, task.model)
            for track, error in zip(tracks, errors, strict=True)
        )
        part = task.parts(self._assignment.tables)["failures"]
        storage.write_bytes(part, encode_part(rows), check=self._assignment.lease.check)
