"""``earmark compact``: merge small parts of partitions that no longer change, under the lease."""

from dataclasses import dataclass

from jobs.console.messages import Say
from jobs.console.progress import show_progress
from jobs.maintaining import maintaining
from pipeline.tables.index import update_index
from pipeline.tables.maintenance.compact.compaction import TableCompaction, compact, plan_compaction
from pipeline.tables.objects import list_objects
from pipeline.tables.tables import Tables


@dataclass(frozen=True, slots=True)
class CompactedTable:
    """Parts and bytes of a table before and after compaction.

    Attributes
    ----------
    table : str
        Name of the table.
    merged : int
        Parts that were merged.
    partitions : int
        Partitions they were in.
    parts_before, parts_after : int
        Parts of the table.
    bytes_before, bytes_after : int
        Bytes of the table's parts.
    """

    table: str
    merged: int
    partitions: int
    parts_before: int
    parts_after: int
    bytes_before: int
    bytes_after: int


def plan_compact_job(tables: Tables, *, older_than_days: float, target_mb: int) -> list[TableCompaction]:
    """Return what `compact_job` would merge, without writing anything."""
    return plan_compaction(
        list_objects(tables), target_bytes=target_mb << 20, older_than_days=older_than_days
    )


def compact_job(tables: Tables, *, older_than_days: float, target_mb: int, say: Say) -> list[CompactedTable]:
    """Merge the small parts of partitions that have not changed for some days.

    Parameters
    ----------
    tables : Tables
        The tables.
    older_than_days : float
        Skip partitions that have changed within this many days.
    target_mb : int
        Approximate size of merged parts, in MiB.
    say : callable
        Prints a message for the user.

    Raises
    ------
    LeaseHeldError
        If a run holds the lease.
    EarmarkError
        If a part cannot be read or written; parts merged until then are kept.
    """
    with maintaining(tables, "compact", say) as lease:
        before = list_objects(tables)
        plans = plan_compaction(before, target_bytes=target_mb << 20, older_than_days=older_than_days)
        with show_progress("merging", sum(plan.small for plan in plans), unit="parts") as meter:
            compact(before, plans, target_bytes=target_mb << 20, check=lease.check, progress=meter.show)
        update_index(tables, lease.check)
        after = list_objects(tables)
    return [
        CompactedTable(
            table=plan.table,
            merged=plan.small,
            partitions=len(plan.groups),
            parts_before=plan.parts,
            parts_after=len(after.parts[plan.table]),
            bytes_before=sum(part.size for part in before.parts[plan.table]),
            bytes_after=sum(part.size for part in after.parts[plan.table]),
        )
        for plan in plans
    ]
