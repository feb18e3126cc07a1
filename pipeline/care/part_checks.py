"""Checks of the parts themselves: readable Parquet with the table's columns, where parts belong."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.care.findings import Finding, name_finding
from pipeline.care.inventory import LEFTOVER_PREFIX, Inventory, StoredObject, partition_values
from pipeline.care.journal import FOLDER, Journal
from pipeline.stores import storage
from pipeline.tables.tables import stored_schema
from schemas.tables import PARTITIONS

_WHOLE_BYTES = 1 << 20
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class PartFacts:
    """What a part's footer says, or what is wrong with the part.

    Attributes
    ----------
    table : str
        Its table.
    part : StoredObject
        The part.
    rows : int
        Its rows.
    genres : tuple of str or None
        The taxonomy in the metadata of a part of ``labels/``.
    unreadable, misfit : str or None
        Why it cannot be read, or does not fit its table.
    """

    table: str
    part: StoredObject
    rows: int = 0
    genres: tuple[str, ...] | None = None
    unreadable: str | None = None
    misfit: str | None = None

    @property
    def sound(self) -> bool:
        """Whether the part can be read as one of its table."""
        return self.unreadable is None and self.misfit is None


def read_parts(inventory: Inventory, skipped: Iterable[str], *, deep: bool) -> list[PartFacts]:
    """Look at the footer of each part, or at all its pages.

    Parameters
    ----------
    inventory : Inventory
        The parts.
    skipped : iterable of str
        Paths of parts that are passed over.
    deep : bool
        Read all data, a row group at a time.
    """
    leave = set(skipped)
    work = [
        (table, part) for table, parts in inventory.parts.items() for part in parts if part.path not in leave
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda item: _read(inventory, *item, deep=deep), work))


def _read(inventory: Inventory, table: str, part: StoredObject, *, deep: bool) -> PartFacts:
    location = inventory.location(part)
    whole_bytes = storage.WHOLE_OBJECT_BYTES if deep else _WHOLE_BYTES
    try:
        with storage.open_binary(location, part.size, whole_bytes=whole_bytes) as binary:
            file = pq.ParquetFile(binary)
            if deep:
                for group in range(file.num_row_groups):
                    file.read_row_group(group)
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except (OSError, pa.ArrowException) as error:
        return PartFacts(table, part, unreadable=storage.reason(error).splitlines()[0])
    metadata = schema.metadata or {}
    try:
        genres = tuple(json.loads(metadata[b"genres"])) if table == "labels" else None
        misfit = _column_misfit(schema, stored_schema(table)) or _set_misfit(table, part, metadata)
    except KeyError as error:
        return PartFacts(table, part, rows, misfit=f"lacks the metadata key {error}")
    except (ValueError, TypeError):
        return PartFacts(table, part, rows, misfit="has metadata that is no JSON")
    return PartFacts(table, part, rows, genres, misfit=misfit)


def _column_misfit(schema: pa.Schema, wanted: pa.Schema) -> str | None:
    """What is wrong with a part's columns. Nullable ones may be lacking, or unknown: added later."""
    for field in schema:
        if field.name not in wanted.names:
            if field.nullable:
                continue
            return f"has the unknown column {field.name}"
        if field.type != wanted.field(field.name).type:
            return f"has {field.name} as {field.type} instead of {wanted.field(field.name).type}"
    lacking = [field.name for field in wanted if not field.nullable and field.name not in schema.names]
    return f"lacks the column {lacking[0]}" if lacking else None


def _set_misfit(table: str, part: StoredObject, metadata: dict[bytes, bytes]) -> str | None:
    """What is wrong with the place of a part of ``features/``: its spec must hash to its feature set."""
    if table != "features":
        return None
    canonical = json.dumps(json.loads(metadata[b"feature_spec"]), sort_keys=True)
    named = hashlib.sha256(canonical.encode()).hexdigest()[:10]
    here = partition_values(part)["feature_set"]
    return None if named == here else f"holds the feature set {named}"


def part_findings(facts: Sequence[PartFacts]) -> list[Finding]:
    """Parts that cannot be read, or do not fit their table."""
    findings = []
    for table in PARTITIONS:
        of_table = [fact for fact in facts if fact.table == table]
        unreadable = [f"{fact.part.path}: {fact.unreadable}" for fact in of_table if fact.unreadable]
        misfits = [f"{fact.part.path} {fact.misfit}" for fact in of_table if fact.misfit]
        findings += name_finding(
            "unreadable part",
            table,
            "these parts cannot be read; where one is damaged, remove it and run again",
            unreadable,
        )
        findings += name_finding(
            "wrong schema", table, "these parts are not of this table; move them away", misfits
        )
    return findings


def stray_findings(inventory: Inventory, runs: Iterable[str]) -> list[Finding]:
    """Objects that do not belong where they are.

    Parameters
    ----------
    inventory : Inventory
        The objects.
    runs : iterable of str
        Names of the runs that have a report.
    """
    known = set(runs)
    strays = [entry for entry in inventory.strays if not entry.hidden]
    hidden = [
        entry
        for entry in inventory.strays
        if entry.hidden and not entry.name.startswith(LEFTOVER_PREFIX) and entry.size
    ]
    orphans = [
        part.path
        for table in PARTITIONS
        for part in inventory.parts[table]
        if "run" in PARTITIONS[table] and partition_values(part)["run"] not in known
    ]
    leftovers = [entry.path for entry in inventory.objects if entry.name.startswith(LEFTOVER_PREFIX)]
    return [
        *name_finding(
            "stray file", "tables", "readers take these for parts; move them away", [e.path for e in strays]
        ),
        *name_finding("unknown run", "tables", "no run with a report wrote these parts", orphans),
        *name_finding(
            "hidden file", "tables", "readers pass over these", [e.path for e in hidden], fault=False
        ),
        *name_finding(
            "leftover",
            "tables",
            "writers that were killed left these, which no reader sees; 'earmark vacuum' removes them",
            leftovers,
            fault=False,
        ),
    ]


def journal_findings(inventory: Inventory, journals: Sequence[Journal]) -> tuple[list[Finding], set[str]]:
    """Compactions that were killed, and the parts that have been replaced but not removed yet."""
    paths = {entry.path for entry in inventory.objects}
    replaced = {
        f"{journal.partition}/{name}"
        for journal in journals
        if journal.merged is None or f"{journal.partition}/{journal.merged}" in paths
        for name in journal.sources
    } & paths
    begun = [entry.path for entry in inventory.below(FOLDER)]
    findings = name_finding(
        "doubled by compaction",
        "tables",
        "a compaction was killed, or is at work: raw readers see the rows of these parts twice, those that "
        "take the newest row see them once; 'earmark compact' removes them",
        replaced,
    )
    if not replaced:
        findings = name_finding(
            "killed compaction",
            FOLDER,
            "a compaction was killed, or is at work; readers see nothing of it, 'earmark compact' removes it",
            begun,
            fault=False,
        )
    return findings, replaced
