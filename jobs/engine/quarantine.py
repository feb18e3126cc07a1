"""Quarantine: tracks that seem to kill or break their worker, until it is clear that they are to blame."""

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
"""Consecutive deaths of workers, without any finished work of the kind, that fail the run."""
_CRASHED: dict[type, type[TrackError]] = {Shard: DecoderCrashedError, LabelTask: LabelerCrashedError}
_FAULTY: dict[type, type[TrackError]] = {Shard: FeatureError, LabelTask: LabelError}
_DOING: dict[type, str] = {Shard: "featurized", LabelTask: "labeled"}


class Quarantine:
    """Tracks whose failure is recorded only after other work of the same kind has succeeded.

    Parameters
    ----------
    assignment : Assignment
        Says where failures are written.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._held: list[tuple[Work, TrackError]] = []
        self._deaths: Counter[type] = Counter()
        self._succeeded: set[type] = set()

    def record_death(self, work: Work, error: Exception) -> None:
        """Count a worker that died.

        Raises
        ------
        EarmarkError
            If too many die in a row.
        """
        kind = type(work)
        self._deaths[kind] += 1
        if self._deaths[kind] >= _DEATHS_IN_A_ROW:
            raise EarmarkError(
                f"workers keep dying on any input ({self._deaths[kind]} in a row): {last_line(error)}; "
                "make sure that the nodes have enough memory, and run again"
            )

    def hold(self, work: Work, error: Exception, *, killed: bool) -> None:
        """Quarantine a single track, for an error or for the death of its worker."""
        uri = work.tracks["uri"][0].as_py()
        if killed:
            reason = f"{uri}: its worker was killed {MAX_KILLS} times: {last_line(error)}"
            failure = _CRASHED[type(work)](reason)
        else:
            failure = _FAULTY[type(work)](f"{uri}: {type(error).__name__}: {error}")
        log.info("track quarantined", shard=work.name, track=uri, error=failure)
        self._held.append((work, failure))

    def record_success(self, work: Work) -> Counter[str]:
        """Note that work of a kind succeeded; record its failures and return their number by error type."""
        self._succeeded.add(type(work))
        del self._deaths[type(work)]
        return self._release(type(work))

    def end(self) -> Counter[str]:
        """Decide at the end of a run, and return the number of tracks that fail by error type.

        Raises
        ------
        EarmarkError
            If no work of the kind succeeded, so that no track can be blamed.
        """
        failures = sum((self._release(kind) for kind in self._succeeded), Counter[str]())
        if self._held:
            work, error = self._held[0]
            raise EarmarkError(
                f"no track could be {_DOING[type(work)]}, so no single track can be blamed: {error}; make "
                "sure that the nodes work, and run again"
            )
        return failures

    def _release(self, kind: type) -> Counter[str]:
        """Write the failures of one kind of work and return their number by error type."""
        bad = [(work, error) for work, error in self._held if type(work) is kind]
        self._held = [(work, error) for work, error in self._held if type(work) is not kind]
        if bad:
            log.info("quarantined tracks have failed", tracks=len(bad))
        for work, error in bad:
            write_failure(work, error, self._assignment)
        return Counter(type(error).__name__ for _, error in bad)


def write_failure(work: Work, error: TrackError, assignment: Assignment) -> None:
    """Write the failure of the only track of a shard or label task.

    Raises
    ------
    EarmarkError
        If it cannot be written.
    """
    with storage.explain_errors(work.name, "write the failures of"):
        if isinstance(work, Shard):
            write_failures(work, assignment.tables, error, assignment.lease.check)
        else:
            write_label_failures(work, assignment.tables, error, assignment.lease.check)
