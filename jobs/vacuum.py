"""``earmark vacuum``: say what no run refers to any more, and remove it when asked to."""

from collections.abc import Callable
from datetime import UTC, datetime

from jobs.engine import lease as leases
from jobs.engine.interrupts import interruptible
from pipeline.tables.maintenance.compact.log import recover_compactions
from pipeline.tables.maintenance.vacuum import Removal, VacuumOptions, plan_vacuum, remove_planned
from pipeline.tables.objects import list_objects
from pipeline.tables.runs import new_run_name, read_reports
from pipeline.tables.tables import Tables


def vacuum_job(
    tables: Tables,
    options: VacuumOptions,
    *,
    delete: bool,
    say: Callable[[str], None],
) -> list[Removal]:
    """Find what can go, and with `delete` remove it under the lease.

    Parameters
    ----------
    tables : Tables
        The tables.
    options : VacuumOptions
        What can go.
    delete : bool
        Whether it is removed; by default nothing is written.
    say : callable
        Gets sentences for the person who waits.

    Returns
    -------
    list of Removal
        What can go, or went.

    Raises
    ------
    LeaseHeldError
        If a run is at work on the tables.
    EarmarkError
        If the store refuses.
    """
    if not delete:
        stored = list_objects(tables)
        return plan_vacuum(stored, read_reports(tables), options)
    name = f"vacuum-{new_run_name(datetime.now(UTC))}"
    with interruptible(), leases.hold(tables.root, name, say=say) as lease:
        # First of all: of what it left half done, old and merged parts hold the same rows.
        if recovered := recover_compactions(tables, lease.check):
            say(f"finished or undid what a killed compaction had begun ({recovered})")
        stored = list_objects(tables)
        removals = plan_vacuum(stored, read_reports(tables), options)
        remove_planned(stored, removals, options, lease.check)
    return removals
