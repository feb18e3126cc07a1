"""Quarantine: tracks whose worker dies of them, or breaks on them, until it is clear that it is them."""

from collections import Counter

from jobs.engine.actor_pool import last_line
from jobs.engine.assignment import Assignment
from pipeline.log import get_logger
from pipeline.shards.featurize_shard import Shard, write_failures
from pipeline.shards.isolation import MAX_KILLS
from pipeline.shards.label_part import LabelTask, write_label_failures
from pipeline.storage import storage
from schemas.errors import (
    DecoderCrashedError,
    EarmarkError,
    FeatureError,
    LabelerCrashedError,
    LabelError,
    TrackError,
)

log = get_logger(__name__)

Work = Shard | LabelTask

_DEATHS_IN_A_ROW = 75
"""So many workers that die with no work of their kind done between: it is the machines."""
_CRASHED: dict[type, type[TrackError]] = {Shard: DecoderCrashedError, LabelTask: LabelerCrashedError}
_FAULTY: dict[type, type[TrackError]] = {Shard: FeatureError, LabelTask: LabelError}
_DOING: dict[type, str] = {Shard: "featurized", LabelTask: "labeled"}


class Quarantine:
    """Tracks whose failure is not written, and so not remembered, before other work of the kind succeeds.

    Parameters
    ----------
    assignment : Assignment
        Where failures go.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._held: list[tuple[Work, TrackError]] = []
        self._deaths: Counter[type] = Counter()
        self._succeeded: set[type] = set()

    def died(self, work: Work, error: Exception) -> None:
        """Count a worker that died.

        Raises
        ------
        EarmarkError
            If all of them do.
        """
        kind = type(work)
        self._deaths[kind] += 1
        if self._deaths[kind] >= _DEATHS_IN_A_ROW:
            raise EarmarkError(
                f"workers die whatever they are given ({self._deaths[kind]} in a row): {last_line(error)}; "
                "see that the machines have enough memory, and run again"
            )

    def hold(self, work: Work, error: Exception, *, killed: bool) -> None:
        """Take in a track that stands alone, for an error or for the worker's death."""
        uri = work.tracks["uri"][0].as_py()
        if killed:
            reason = f"{uri}: its worker was killed {MAX_KILLS} times: {last_line(error)}"
            failure = _CRASHED[type(work)](reason)
        else:
            failure = _FAULTY[type(work)](f"{uri}: {type(error).__name__}: {error}")
        log.info("track is in quarantine", shard=work.name, track=uri, error=failure)
        self._held.append((work, failure))

    def succeeded(self, work: Work) -> int:
        """Note that tracks were featurized, or labeled; how many tracks of that kind fail therefore."""
        self._succeeded.add(type(work))
        del self._deaths[type(work)]
        return self._release(type(work))

    def end(self) -> int:
        """Decide at the end of a run; how many tracks fail.

        Raises
        ------
        EarmarkError
            If no track was featurized, or labeled, that could show that the others are to blame.
        """
        n_tracks = sum(self._release(kind) for kind in self._succeeded)
        if self._held:
            work, error = self._held[0]
            raise EarmarkError(
                f"no track could be {_DOING[type(work)]}, so that none can be called bad: {error}; see that "
                "the machines are in order, and run again"
            )
        return n_tracks

    def _release(self, kind: type) -> int:
        """Write the failures of one kind of work."""
        bad = [(work, error) for work, error in self._held if type(work) is kind]
        self._held = [(work, error) for work, error in self._held if type(work) is not kind]
        if bad:
            log.info("quarantine is decided: its tracks have failed", tracks=len(bad))
        for work, error in bad:
            write_failure(work, error, self._assignment)
        return len(bad)


def write_failure(work: Work, error: TrackError, assignment: Assignment) -> None:
    """Write the failure of the track that a shard or a label task consists of.

    Raises
    ------
    EarmarkError
        If it cannot be written.
    """
    with storage.explain_errors(work.name, "write the failures of"):
        if isinstance(work, Shard):
            write_failures(work, assignment.tables, (error,), assignment.lease.check)
        else:
            write_label_failures(work, assignment.tables, error, assignment.lease.check)
