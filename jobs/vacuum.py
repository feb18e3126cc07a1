"""``earmark vacuum``: list data that no run refers to anymore, and delete it on request."""

from jobs.console.messages import Say
from jobs.maintaining import maintaining
from pipeline.tables.index import update_index
from pipeline.tables.maintenance.vacuum import Removal, VacuumOptions, plan_vacuum, remove_planned
from pipeline.tables.objects import list_objects
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables


def vacuum_job(
    tables: Tables,
    options: VacuumOptions,
    *,
    delete: bool,
    say: Say,
) -> list[Removal]:
    """List what can be deleted; with `delete`, delete it under the lease.

    Parameters
    ----------
    tables : Tables
        The tables.
    options : VacuumOptions
        What to include.
    delete : bool
        Delete the objects instead of only listing them.
    say : callable
        Prints a message for the user.

    Returns
    -------
    list of Removal
        What can be deleted, or was deleted.

    Raises
    ------
    LeaseHeldError
        If a run holds the lease.
    EarmarkError
        If the store fails.
    """
    if not delete:
        stored = list_objects(tables)
        return plan_vacuum(stored, read_reports(tables), options)
    with maintaining(tables, "vacuum", say) as lease:
        stored = list_objects(tables)
        removals = plan_vacuum(stored, read_reports(tables), options)
        remove_planned(stored, removals, options, lease.check)
        if removals:
            update_index(tables, lease.check)
    return removals
