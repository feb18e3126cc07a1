"""Hold the lease for a command that changes tables without a run: compact, vacuum, purge."""

import contextlib
from collections.abc import Iterator

from jobs.console.messages import Say
from jobs.engine import lease as leases
from jobs.engine.lease import Lease
from pipeline.tables.maintenance.compact.compaction_log import recover_compactions
from pipeline.tables.runs import new_run_name
from pipeline.tables.tables import Tables


@contextlib.contextmanager
def maintaining(tables: Tables, command: str, say: Say) -> Iterator[Lease]:
    """Hold the lease of tables during a ``with`` block, without the merges that a killed compaction left.

    These are finished or undone first, because old and merged parts of an unfinished one hold the same rows.

    Parameters
    ----------
    tables : Tables
        The tables.
    command : str
        Name of the command, recorded in the lease.
    say : callable
        Prints a message for the user.

    Raises
    ------
    LeaseHeldError
        If a run holds the lease.
    """
    name = f"{command}-{new_run_name()}"
    with leases.hold(tables.root, name, say=say) as lease:
        if recovered := recover_compactions(tables, lease.check):
            say(f"finished or undid merges of a killed compaction ({recovered})")
        yield lease
