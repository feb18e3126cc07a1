"""Checks of the part files: readable Parquet, with the columns of their table, in the right place."""

from collections.abc import Iterable, Sequence

from pipeline.tables.maintenance.compact.compaction_log import LOG_FOLDER, LogEntry
from pipeline.tables.maintenance.verify.findings import Finding, report_names
from pipeline.tables.maintenance.verify.inspection import PartFacts
from pipeline.tables.objects import LEFTOVER_PREFIX, StoredObjects, partition_values
from schemas.tables import PARTITIONS


def find_bad_parts(facts: Sequence[PartFacts]) -> list[Finding]:
    """Find parts that are damaged or do not match their table."""
    findings = []
    for table in PARTITIONS:
        of_table = [fact for fact in facts if fact.table == table]
        damaged = [f"{fact.part.path}: {fact.damaged}" for fact in of_table if fact.damaged]
        mismatches = [f"{fact.part.path} {fact.mismatch}" for fact in of_table if fact.mismatch]
        findings += report_names(
            "unreadable part",
            table,
            "damaged parts: they were read completely and are not valid Parquet; delete them and run again",
            damaged,
        )
        findings += report_names(
            "wrong schema", table, "parts that do not belong to this table; move them away", mismatches
        )
    return findings


def find_stray_objects(stored: StoredObjects, runs: Iterable[str]) -> list[Finding]:
    """Find objects that do not belong where they are.

    Parameters
    ----------
    stored : StoredObjects
        The objects under the root.
    runs : iterable of str
        Names of the runs that have a report.
    """
    known = set(runs)
    strays = [entry for entry in stored.strays if not entry.hidden]
    hidden = [
        entry
        for entry in stored.strays
        if entry.hidden and not entry.name.startswith(LEFTOVER_PREFIX) and entry.size
    ]
    orphans = [
        part.path
        for table in PARTITIONS
        for part in stored.parts[table]
        if "run" in PARTITIONS[table] and partition_values(part)["run"] not in known
    ]
    leftovers = [entry.path for entry in stored.objects if entry.name.startswith(LEFTOVER_PREFIX)]
    return [
        *report_names(
            "stray file",
            "tables",
            "files that readers mistake for parts; move them away",
            [e.path for e in strays],
        ),
        *report_names("unknown run", "tables", "parts of runs that have no report", orphans),
        *report_names(
            "hidden file", "tables", "files that readers skip", [e.path for e in hidden], fault=False
        ),
        *report_names(
            "leftover",
            "tables",
            "temporary files of killed writers, invisible to readers; 'earmark vacuum' removes them",
            leftovers,
            fault=False,
        ),
    ]


def find_killed_compactions(stored: StoredObjects, log: Sequence[LogEntry]) -> tuple[list[Finding], set[str]]:
    """Find killed compactions, and the parts that they replaced but did not remove."""
    paths = {entry.path for entry in stored.objects}
    replaced = {
        f"{entry.partition}/{name}"
        for entry in log
        if entry.merged is None or f"{entry.partition}/{entry.merged}" in paths
        for name in entry.sources
    } & paths
    begun = [entry.path for entry in stored.below(LOG_FOLDER)]
    findings = report_names(
        "duplicated by compaction",
        "tables",
        "a compaction was killed or is running: raw readers see the rows of these parts twice, readers that "
        "take the newest row see them once; 'earmark compact' removes these parts",
        replaced,
        passing=True,
    )
    if not replaced:
        findings = report_names(
            "killed compaction",
            LOG_FOLDER,
            "a compaction was killed or is running; readers are not affected, 'earmark compact' cleans up",
            begun,
            fault=False,
        )
    return findings, replaced
