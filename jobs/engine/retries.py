"""What becomes of an attempt that failed: a retry, two halves, the quarantine, or the end of the run."""

import time
from collections import Counter
from dataclasses import replace

from ray import exceptions as ray_errors

from jobs.engine.actor_pool import last_line
from jobs.engine.assignment import Assignment
from jobs.engine.attempts import Attempt
from jobs.engine.environment import Origin, installation_error
from jobs.engine.node_faults import NodeFaults
from jobs.engine.quarantine import Quarantine, write_failure
from jobs.engine.tally import Tally
from jobs.engine.work_queues import WorkQueues
from pipeline.log import get_logger
from pipeline.shards.isolation import MAX_KILLS
from pipeline.shards.label_part import LabelTask
from pipeline.storage import storage
from pipeline.storage.errors import is_store_error, is_transient
from pipeline.storage.retry import add_jitter, patient
from pipeline.tables.tables import is_damage
from schemas.errors import EarmarkError, EnvironmentFaultError, LabelError, StoreError

log = get_logger(__name__)

CRASHES = (ray_errors.WorkerCrashedError, ray_errors.OutOfMemoryError, ray_errors.ActorDiedError)
"""Errors of a worker that died."""
_ATTEMPTS = 3
"""Attempts at a shard that cannot be read or written."""
_PAUSES_S = (2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0)
"""Pauses between attempts while a store is overloaded or out of reach: two minutes, as for reading tracks."""


class Retries:
    """Decides what follows a failed attempt, and puts what is left to do back into the queues.

    Parameters
    ----------
    assignment : Assignment
        Says where failures are written.
    queues : WorkQueues
        Where work that is tried again waits.
    quarantine : Quarantine
        Where tracks wait that seem to be to blame.
    faults : NodeFaults
        Counts the faults of nodes.
    tally : Tally
        Counts the failures that are written.
    """

    def __init__(
        self,
        assignment: Assignment,
        queues: WorkQueues,
        quarantine: Quarantine,
        faults: NodeFaults,
        tally: Tally,
    ) -> None:
        self._assignment = assignment
        self._queues = queues
        self._quarantine = quarantine
        self._faults = faults
        self._tally = tally
        self._is_installation_checked = False

    def handle_node_fault(self, attempt: Attempt, origin: Origin, fault: EnvironmentFaultError) -> None:
        """Handle a failure of known-good input: retry in a new process; if it fails there, blame the node.

        A worker runs many tasks, and a track of an earlier task may have damaged it.
        """
        if attempt.isolated:
            self._faults.record(type(attempt.work), origin, fault)
            self.retry(attempt.avoiding(origin.node))
        else:
            log.info(
                "worker failed on known-good input, trying a new process",
                node=origin.address,
                error=fault,
                **attempt.log_fields(),
            )
            self.retry(replace(attempt, isolated=True))

    def retry(self, attempt: Attempt) -> bool:
        """Put an attempt back, after a pause if the store does not yet delete what the last one has left.

        Returns
        -------
        bool
            Whether the store did what it was asked for.

        Raises
        ------
        EarmarkError
            If the store refuses, or fails for too long.
        """
        try:
            with patient(0):  # the attempt waits, and other work goes on
                self._queues.retry(attempt)
        except StoreError as error:
            self.handle_error(attempt, error, None)
            return False
        return True

    def handle_error(self, attempt: Attempt, error: Exception, origin: Origin | None) -> None:
        """Handle an error, usually of a store, which may recover: retry, then fail or halve the work.

        Parameters
        ----------
        attempt : Attempt
            What failed.
        error : Exception
            Why.
        origin : Origin or None
            Where, unless it was here; another node is preferred for the next attempt.
        """
        work, n_failed = attempt.work, attempt.errors + attempt.stalls + 1
        where = {} if origin is None else {"node": origin.address}
        log.warning("work failed", attempt=n_failed, error=error, **where, **attempt.log_fields())
        again = attempt if origin is None else attempt.avoiding(origin.node)
        if is_transient(error) and attempt.stalls < len(_PAUSES_S):
            due = time.monotonic() + add_jitter(_PAUSES_S[attempt.stalls])
            self._queues.later.append((due, replace(again, stalls=attempt.stalls + 1)))
        elif attempt.errors + 1 < _ATTEMPTS:
            self.retry(replace(again, errors=attempt.errors + 1))
        elif isinstance(work, LabelTask) and is_damage(error):
            raise EarmarkError(
                f"the part {work.part} is damaged ({storage.reason(error)}); remove it and run again, which "
                "featurizes its tracks again"
            ) from error
        elif is_store_error(error):
            on_node = "" if origin is None else f" on node {origin.address}"
            raise EarmarkError(
                f"the parts of shard {work.name} in {self._assignment.tables.root} cannot be read or "
                f"written{on_node}: {storage.reason(error)}; once this is fixed, run again: finished work is "
                "kept"
            ) from error
        else:
            # Not the store but something in the work itself: halve it until a single track is left.
            if not self._is_installation_checked and (ours := installation_error()) is not None:
                raise ours from error
            self._is_installation_checked = True
            self._split(attempt, error)

    def handle_death(self, attempt: Attempt, error: Exception) -> None:
        """Handle the death of a worker: isolate the work first, then retry, then halve it."""
        log.warning(
            "worker died, isolating its tracks",
            attempt=attempt.deaths + 1,
            isolated=attempt.isolated,
            error=last_line(error),
            **attempt.log_fields(),
        )
        if not attempt.isolated:
            self.retry(replace(attempt, isolated=True))
            return
        self._quarantine.record_death(attempt.work, error)
        if attempt.deaths + 1 < MAX_KILLS:
            self.retry(replace(attempt, deaths=attempt.deaths + 1))
        else:
            self._split(attempt, error)

    def handle_label_error(self, attempt: Attempt, error: LabelError, node: str) -> None:
        """Handle tracks that failed in an isolated process in which known-good features pass."""
        if attempt.work.tracks.num_rows > 1:
            self._split(attempt, error)
        elif not attempt.confirming:
            self.retry(replace(attempt, confirming=True, avoided=frozenset({node})))
        else:
            write_failure(attempt.work, error, self._assignment)
            self._tally.add_failures(Counter({type(error).__name__: 1}))

    def _split(self, attempt: Attempt, error: Exception) -> None:
        """Halve a shard or label task until only the track that fails is left."""
        if self._queues.halve(attempt):
            log.info("work halved", error=last_line(error), **attempt.log_fields())
            return
        if isinstance(attempt.work, LabelTask) and not attempt.isolated:
            self._queues.put_back(Attempt(attempt.work, isolated=True))
        else:
            # Not recorded as a failure yet: until other work succeeds, the track may not be to blame.
            self._quarantine.hold(attempt.work, error, killed=isinstance(error, CRASHES))
