"""Hold the lease for a command that changes tables without a run: compact, vacuum, purge."""

import contextlib
from collections.abc import Iterator
from functools import partial

from jobs.console.messages import Say
from jobs.engine import lease as leases
from jobs.engine.lease import Lease
from pipeline.storage.errors import is_full
from pipeline.tables.index import remove_index
from pipeline.tables.maintenance.compact.compaction_log import recover_compactions
from pipeline.tables.runs import new_run_name
from pipeline.tables.tables import Tables
from schemas.errors import StoreError


@contextlib.contextmanager
def maintaining(tables: Tables, command: str, say: Say) -> Iterator[Lease]:
    """Hold the lease of tables during a ``with`` block, without the merges that a killed compaction left.

    These are finished or undone first, because old and merged parts of an unfinished one hold the same rows.
    On a full disk, which has no room for the lease either, the index goes, so that vacuum can free some.

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
    EarmarkError
        If the store fails, or there is no room even without the index.
    """
    with contextlib.ExitStack() as stack:
        hold = partial(leases.hold, tables.root, f"{command}-{new_run_name()}", say=say)
        try:
            lease = stack.enter_context(hold())
        except StoreError as error:
            if not is_full(error) or not remove_index(tables):
                raise
            say("the disk is full: the index was removed to make room; the next run adds it again")
            lease = stack.enter_context(hold())
        if recovered := recover_compactions(tables, lease.check):
            say(f"finished or undid merges of a killed compaction ({recovered})")
        yield lease
