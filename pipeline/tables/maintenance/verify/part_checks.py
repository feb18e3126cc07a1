"""Checks of the part files: readable Parquet, with the columns of their table, in the right place."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage import storage
from pipeline.storage.arrow_buffers import arrow_buffer
from pipeline.storage.errors import is_store_error
from pipeline.storage.read_and_parse import read_and_parse
from pipeline.storage.retry import RetryBudget
from pipeline.tables.maintenance.compact.compaction_log import LOG_FOLDER, LogEntry
from pipeline.tables.maintenance.verify.findings import Finding, report_names
from pipeline.tables.objects import LEFTOVER_PREFIX, StoredObject, StoredObjects, partition_values
from pipeline.tables.tables import is_damage, stored_schema
from schemas.tables import PARTITIONS

_WHOLE_BYTES = 1 << 20
_READ_THREADS = 16
_MAX_FAILING_S = 60.0
"""If no part could be read for this many seconds, the store is down and the rest are not tried."""


@dataclass(frozen=True, slots=True)
class PartFacts:
    """What the footer of a part says, or what is wrong with the part.

    Attributes
    ----------
    table : str
        The table that the part belongs to.
    part : StoredObject
        The part.
    rows : int
        Number of rows.
    genres : tuple of str or None
        The genres in the metadata of a part of ``labels/``.
    damaged, mismatch : str or None
        Why it is not valid Parquet, or does not match its table.
    unreadable : str or None
        Why it could not be read; its content may be fine.
    """

    table: str
    part: StoredObject
    rows: int = 0
    genres: tuple[str, ...] | None = None
    damaged: str | None = None
    mismatch: str | None = None
    unreadable: str | None = None

    @property
    def sound(self) -> bool:
        """Whether the part is intact and matches its table."""
        return self.damaged is None and self.mismatch is None and self.unreadable is None


def inspect_parts(stored: StoredObjects, skipped: Iterable[str], *, deep: bool) -> list[PartFacts]:
    """Read the footer of each part, or all of its data.

    Parameters
    ----------
    stored : StoredObjects
        The objects under the root.
    skipped : iterable of str
        Paths of parts to skip.
    deep : bool
        Read all data, one row group at a time.
    """
    leave = set(skipped)
    work = [
        (table, part) for table, parts in stored.parts.items() for part in parts if part.path not in leave
    ]
    budget = RetryBudget(_MAX_FAILING_S)

    def inspect(item: tuple[str, StoredObject]) -> PartFacts:
        if budget.is_exhausted:
            return PartFacts(*item, unreadable=f"nothing could be read for {_MAX_FAILING_S:.0f} s before it")
        facts = _inspect_part(stored, *item, deep=deep)
        budget.record(failed=facts.unreadable is not None)
        return facts

    with ThreadPoolExecutor(_READ_THREADS) as pool:
        return list(pool.map(inspect, work))


def _inspect_part(stored: StoredObjects, table: str, part: StoredObject, *, deep: bool) -> PartFacts:
    try:
        schema, rows = _open_part(stored.location(part), part.size, deep=deep)
    except Exception as error:
        reason = storage.reason(error).splitlines()[0]
        if is_damage(error):
            return PartFacts(table, part, damaged=reason)
        if not is_store_error(error):
            raise
        gone = isinstance(error, FileNotFoundError)
        return PartFacts(table, part, unreadable="it was deleted after it was listed" if gone else reason)
    metadata = schema.metadata or {}
    try:
        genres = tuple(json.loads(metadata[b"genres"])) if table == "labels" else None
        mismatch = _compare_columns(schema, stored_schema(table)) or _compare_feature_set(
            table, part, metadata
        )
    except KeyError as error:
        return PartFacts(table, part, rows, mismatch=f"lacks the metadata key {error}")
    except (ValueError, TypeError):
        return PartFacts(table, part, rows, mismatch="has metadata that is not valid JSON")
    return PartFacts(table, part, rows, genres, mismatch=mismatch)


def _open_part(location: str, size: int, *, deep: bool) -> tuple[pa.Schema, int]:
    """Return the schema and number of rows of a part. A part that seems damaged is read again as a whole."""
    try:
        whole_bytes = storage.WHOLE_OBJECT_BYTES if deep else _WHOLE_BYTES
        with storage.open_binary(location, size, whole_bytes=whole_bytes) as binary:
            return _read_part(pq.ParquetFile(binary), deep=deep)
    except Exception as error:
        if not is_damage(error):
            raise
    return read_and_parse(location, lambda data: _read_part(pq.ParquetFile(arrow_buffer(data)), deep=deep))


def _read_part(file: pq.ParquetFile, *, deep: bool) -> tuple[pa.Schema, int]:
    if deep:
        for group in range(file.num_row_groups):
            file.read_row_group(group)
    return file.schema_arrow, file.metadata.num_rows


def _compare_columns(schema: pa.Schema, wanted: pa.Schema) -> str | None:
    """Return what is wrong with a part's columns, or None.

    Nullable columns may be missing or unknown: they were added by a later version.
    """
    for field in schema:
        if field.name not in wanted.names:
            if field.nullable:
                continue
            return f"has the unknown column {field.name}"
        if not _is_of_type(field.type, wanted.field(field.name).type):
            return f"has {field.name} as {field.type} instead of {wanted.field(field.name).type}"
    missing = [field.name for field in wanted if not field.nullable and field.name not in schema.names]
    return f"lacks the column {missing[0]}" if missing else None


def _is_of_type(kind: pa.DataType, wanted: pa.DataType) -> bool:
    """Return whether a column has the wanted type; lists of a fixed size are lists too."""
    if pa.types.is_fixed_size_list(kind) and pa.types.is_list(wanted):
        return bool(kind.value_type == wanted.value_type)
    return bool(kind == wanted)


def _compare_feature_set(table: str, part: StoredObject, metadata: dict[bytes, bytes]) -> str | None:
    """Return an error if the spec of a part of ``features/`` does not hash to the feature set in its path."""
    if table != "features":
        return None
    canonical = json.dumps(json.loads(metadata[b"feature_spec"]), sort_keys=True)
    named = hashlib.sha256(canonical.encode()).hexdigest()[:10]
    here = partition_values(part)["feature_set"]
    return None if named == here else f"holds the feature set {named}"


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
