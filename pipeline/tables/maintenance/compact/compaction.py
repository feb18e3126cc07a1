"""Compaction: the small parts of a partition become a few large ones, with the same rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.storage import storage
from pipeline.tables.maintenance.compact.replacement import replace_parts
from pipeline.tables.objects import StoredObject, StoredObjects, days_ago, group_by_partition
from schemas.tables import PARTITIONS


@dataclass(frozen=True, slots=True)
class TableCompaction:
    """What there is to compact in a table.

    Attributes
    ----------
    table : str
        Name of the table.
    parts : int
        Parts that the table has.
    groups : dict
        Parts to merge, by the folder of their partition.
    """

    table: str
    parts: int
    groups: dict[str, list[StoredObject]]

    @property
    def small(self) -> int:
        """Parts to merge."""
        return sum(len(group) for group in self.groups.values())

    @property
    def size(self) -> int:
        """Bytes of the parts to merge."""
        return sum(part.size for group in self.groups.values() for part in group)


def plan_compaction(
    stored: StoredObjects, *, target_bytes: int, older_than_days: float
) -> list[TableCompaction]:
    """Pick the parts to merge.

    These are parts of less than half the target, where a partition has several of them and nothing in it
    has changed for `older_than_days`. Parts of different partitions are never merged.
    """
    newest = days_ago(older_than_days)
    plans = []
    for table in PARTITIONS:
        groups = {}
        for folder, parts in group_by_partition(stored.parts[table]).items():
            small = [part for part in parts if part.size < target_bytes / 2]
            if len(small) > 1 and max(part.modified_at for part in parts) <= newest:
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
    """Merge what was planned; the caller holds the lease of the tables.

    Parameters
    ----------
    stored : Inventory
        What the plans were made from, listed under that lease.
    plans : sequence of TableCompaction
        What to merge.
    target_bytes : int
        About how large merged parts are to become.
    check : callable
        Called before each step that changes the tables; raises if others may be at work on them.
    progress : callable
        Gets the number of parts that have been merged, now and then.

    Raises
    ------
    EarmarkError
        If a part cannot be read or written; what was merged stays merged.
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
