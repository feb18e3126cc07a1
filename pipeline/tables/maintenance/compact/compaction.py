"""Compaction: merge the small parts of a partition into a few large ones with the same rows."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from pipeline.storage import storage
from pipeline.tables.maintenance.compact.replacement import replace_parts
from pipeline.tables.objects import (
    StoredObject,
    StoredObjects,
    days_ago,
    group_by_partition,
    partition_values,
)
from schemas.tables import PARTITIONS

MAX_RUN_BYTES = 4 << 30
"""Largest total size of parts that a run merges at its end: the features of 28,000 tracks."""
RUN_PART_BYTES = 5 << 20
"""Parts of this size stay as they are at the end of a run: copying features takes as much CPU as writing them
did (3 % of all), and such parts are large enough to be listed and read."""


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
        groups = {
            folder: parts
            for folder, parts in group_by_partition(stored.parts[table]).items()
            if max(part.modified_at for part in parts) <= cutoff
        }
        plans.append(_plan_table(stored, table, groups, target_bytes))
    return plans


def plan_run_compaction(
    stored: StoredObjects, run: str, *, target_bytes: int, without: Collection[str]
) -> list[TableCompaction]:
    """Select the parts of one run to merge: a partition qualifies if the run wrote several small parts to it.

    Parts of `RUN_PART_BYTES` or more stay. A partition to which the run wrote more than `MAX_RUN_BYTES` in
    smaller ones is left out, because one process merges it while the cluster waits, and so are the tables in
    `without`.
    """
    plans = []
    for table in PARTITIONS:
        own = [
            part
            for part in stored.parts[table]
            if table not in without and part.size < RUN_PART_BYTES and _is_of_run(part, run)
        ]
        groups = {
            folder: parts
            for folder, parts in group_by_partition(own).items()
            if sum(part.size for part in parts) <= MAX_RUN_BYTES
        }
        plans.append(_plan_table(stored, table, groups, target_bytes))
    return plans


def _is_of_run(part: StoredObject, run: str) -> bool:
    """Return whether a run wrote a part: its partition says so, or else its name."""
    return partition_values(part).get("run") == run or part.name.startswith(f"{run}-")


def _plan_table(
    stored: StoredObjects, table: str, groups: dict[str, list[StoredObject]], target_bytes: int
) -> TableCompaction:
    """Of groups of parts, leave those that are smaller than half the target, if there are several."""
    small = {
        folder: [part for part in parts if part.size < target_bytes / 2] for folder, parts in groups.items()
    }
    several = {folder: parts for folder, parts in small.items() if len(parts) > 1}
    return TableCompaction(table, len(stored.parts[table]), several)


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
    groups = {folder: parts for plan in plans for folder, parts in plan.groups.items()}
    replace_parts(stored.tables, groups, target_bytes=target_bytes, check=check, progress=progress)
