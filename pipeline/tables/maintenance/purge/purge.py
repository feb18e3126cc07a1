"""Purge tracks: rewrite the parts that hold rows of them, and the files of runs that name them.

A purge is a compaction that leaves rows out, so readers and crashes meet the same states as with one: see
`pipeline.tables.maintenance.compact.replacement`. Its record (`pending`) is written first and removed last.
Every step may be done twice, so a purge that was killed is finished by doing all steps again.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.storage import storage
from pipeline.tables.key_files import INDEX_FOLDER
from pipeline.tables.maintenance.compact.replacement import replace_parts
from pipeline.tables.maintenance.purge.pending import (
    PURGE_FOLDER,
    PendingPurge,
    location_of,
    write_pending,
)
from pipeline.tables.maintenance.purge.run_files import clean_run_files
from pipeline.tables.maintenance.purge.selection import TracesInTables, find_traces
from pipeline.tables.objects import (
    LEFTOVER_PREFIX,
    StoredObjects,
    group_by_partition,
    list_objects,
    remove_objects,
)
from pipeline.tables.tables import Tables
from schemas.report import Purged, RunReport


@dataclass(frozen=True, slots=True)
class PurgedFrom:
    """What is removed from one place: a table, or the files of one kind in ``_runs/``.

    Attributes
    ----------
    place : str
        The table or the kind of files.
    removed : int
        Rows, mentions or lines.
    objects : int
        Objects that are rewritten for it.
    """

    place: str
    removed: int
    objects: int


def plan_purge(stored: StoredObjects, traces: TracesInTables) -> list[PurgedFrom]:
    """Return what `carry_out` would remove, without writing anything.

    Raises
    ------
    EarmarkError
        If a file cannot be read.
    """
    removed: Counter[str] = Counter()
    objects: Counter[str] = Counter()
    for cleaned in clean_run_files(stored, traces, {}):
        removed[cleaned.kind] += cleaned.removed
        objects[cleaned.kind] += 1
    return [
        *(PurgedFrom(table, traces.rows[table], len(parts)) for table, parts in traces.parts.items()),
        *(PurgedFrom(f"_runs ({kind})", removed[kind], n) for kind, n in sorted(objects.items())),
    ]


def begin(
    stored: StoredObjects, traces: TracesInTables, reports: Sequence[RunReport], check: storage.Check
) -> PendingPurge:
    """Write the record of a purge. The caller holds the lease."""
    pending = PendingPurge(
        track_ids=tuple(sorted(traces.track_ids)),
        uris=tuple(sorted(traces.uris)),
        purged=_add_up(traces.by_run, reports),
    )
    with storage.explain_errors(stored.tables.root, "write the record of the purge to"):
        write_pending(stored.tables, pending, check)
    return pending


def carry_out(
    tables: Tables,
    pending: PendingPurge,
    reports: Sequence[RunReport],
    check: storage.Check,
    rewrite_page: Callable[[RunReport], None],
) -> None:
    """Do all steps of a purge, even those that were done before it was killed, and remove its record.

    Parameters
    ----------
    tables : Tables
        The tables, whose lease the caller holds, and in which no compaction is unfinished.
    pending : PendingPurge
        The record of the purge.
    reports : sequence of RunReport
        The reports of all runs.
    check : callable
        Called before each step that changes the tables.
    rewrite_page : callable
        Writes the page of a run again, from a report that no longer names the tracks.

    Raises
    ------
    EarmarkError
        If the store refuses, or a part is damaged; the record stays, and the next purge begins with it.
    """
    stored = list_objects(tables)
    traces = find_traces(stored, frozenset(pending.track_ids), pending.uris)
    # Of a run that took place after the purge was killed, nothing is recorded.
    purged = _add_up(traces.by_run, reports) | pending.purged
    with storage.explain_errors(tables.root, "remove traces from"):
        # First, since the parts that are written next may need their room.
        leftovers = [entry for entry in stored.objects if entry.name.startswith(LEFTOVER_PREFIX)]
        copies = [*stored.below(INDEX_FOLDER), *leftovers]
        remove_objects([stored.location(entry) for entry in copies], check)
    groups = group_by_partition(chain(*traces.parts.values()))
    replace_parts(tables, groups, check=check, keep=_make_filter(traces))
    with storage.explain_errors(tables.root, "remove traces from"):
        for cleaned in clean_run_files(stored, traces, purged):
            # First the page: it is made again for as long as the report names the tracks.
            if cleaned.report is not None:
                check()
                rewrite_page(cleaned.report)
            storage.write_bytes(stored.location(cleaned.entry), cleaned.data, check=check)
        storage.delete(location_of(tables), check=check)
    if storage.is_local(tables.root):
        with contextlib.suppress(OSError):
            Path(storage.split(tables.root)[1], PURGE_FOLDER).rmdir()


def _add_up(by_run: dict[str, Purged], reports: Sequence[RunReport]) -> dict[str, Purged]:
    """Add what earlier purges removed to what this one does."""
    before = {report.run: report.purged for report in reports}
    return {run: before.get(run, Purged()) + purged for run, purged in by_run.items()}


def _make_filter(traces: TracesInTables) -> Callable[[pa.Table], pa.Table]:
    ids = pa.array(sorted(traces.track_ids), pa.string())

    def keep(rows: pa.Table) -> pa.Table:
        return rows.filter(pc.invert(pc.is_in(rows["track_id"], ids)))

    return keep
