"""Compaction: merge the small parts of a partition into a few large ones with the same rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.storage import storage
from pipeline.tables.maintenance.compact.replacement import replace_parts
from pipeline.tables.objects import StoredObject, StoredObjects, days_ago, group_by_partition
from schemas.tables import PARTITIONS


@dataclass(frozen=True, slots=True)
class TableCompaction:
    """The plan for compacting one table.

    Attributes
    ----------
    table : str
        Name of the table.
    parts : int
        Number of parts in the table.
    groups : dict
        Parts to merge, by the folder of their partition.
    """

    table: str
    parts: int
    groups: dict[str, list[StoredObject]]

    @property
    def small(self) -> int:
        """Number of parts to merge."""
        return sum(len(group) for group in self.groups.values())

    @property
    def size(self) -> int:
        """Total size of the parts to merge, bytes."""
        return sum(part.size for group in self.groups.values() for part in group)


def plan_compaction(
    stored: StoredObjects, *, target_bytes: int, older_than_days: float
) -> list[TableCompaction]:
    """Select the parts to merge.

    A partition qualifies if it has several parts smaller than half the target and has not changed for
    `older_than_days`. Parts of different partitions are never merged.
    """
    cutoff = days_ago(older_than_days)
    plans = []
    for table in PARTITIONS:
        groups = {}
        for folder, parts in group_by_partition(stored.parts[table]).items():
            small = [part for part in parts if part.size < target_bytes / 2]
            if len(small) > 1 and max(part.modified_at for part in parts) <= cutoff:
                groups[folder] = small
        plans.append(TableCompaction(table, len(stored.parts[table]), groups))
    return plans


def compact(
    stored: StoredObjects,
    plans: Sequence[TableCompaction],
    *,
    target_bytes: int,
    check: storage.Check,
    progress: Callable[[int], None] = lambda n_done: None,
) -> None:
    """Carry out the plans. The caller holds the lease of the tables.

    Parameters
    ----------
    stored : StoredObjects
        The objects that the plans were made from, listed under that lease.
    plans : sequence of TableCompaction
        The parts to merge.
    target_bytes : int
        Approximate size of merged parts.
    check : callable
        Called before each step that changes the tables; raises if another process may be changing them.
    progress : callable
        Called with the number of parts merged so far.

    Raises
    ------
    EarmarkError
        If a part cannot be read or written; parts already merged stay merged.
    """
    before = 0
    for plan in plans:
        replace_parts(
            stored.tables,
            plan.groups,
            target_bytes=target_bytes,
            check=check,
            progress=lambda n_done, before=before: progress(before + n_done),  # type: ignore[misc]
        )
        before += plan.small
