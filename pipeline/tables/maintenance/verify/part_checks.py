"""Checks of the parts themselves: readable Parquet with the table's columns, where parts belong."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage import storage
from pipeline.storage.arrow_source import in_arrows_memory
from pipeline.storage.errors import is_store_error
from pipeline.storage.parsed import read_parsed
from pipeline.storage.retry import ShardPatience
from pipeline.tables.maintenance.compact.log import FOLDER, Journal
from pipeline.tables.maintenance.verify.findings import Finding, name_finding
from pipeline.tables.objects import LEFTOVER_PREFIX, Inventory, StoredObject, partition_values
from pipeline.tables.tables import is_damage, stored_schema
from schemas.tables import PARTITIONS

_WHOLE_BYTES = 1 << 20
_AT_ONCE = 16
_PATIENCE_S = 60.0
"""After so many seconds in which no part could be read, the others are not tried: the store is away."""


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
    damaged, misfit : str or None
        Why it is no Parquet, or does not fit its table.
    out_of_reach : str or None
        Why it could not be read, which says nothing of what it holds.
    """

    table: str
    part: StoredObject
    rows: int = 0
    genres: tuple[str, ...] | None = None
    damaged: str | None = None
    misfit: str | None = None
    out_of_reach: str | None = None

    @property
    def sound(self) -> bool:
        """Whether the part can be read as one of its table."""
        return self.damaged is None and self.misfit is None and self.out_of_reach is None


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
    patience = ShardPatience(_PATIENCE_S)

    def look(item: tuple[str, StoredObject]) -> PartFacts:
        if patience.is_over:
            return PartFacts(*item, out_of_reach=f"nothing could be read for {_PATIENCE_S:.0f} s before it")
        facts = _read(inventory, *item, deep=deep)
        patience.note(failed=facts.out_of_reach is not None)
        return facts

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(look, work))


def _read(inventory: Inventory, table: str, part: StoredObject, *, deep: bool) -> PartFacts:
    try:
        schema, rows = _opened(inventory.location(part), part.size, deep=deep)
    except Exception as error:
        reason = storage.reason(error).splitlines()[0]
        if is_damage(error):
            return PartFacts(table, part, damaged=reason)
        if not is_store_error(error):
            raise
        gone = isinstance(error, FileNotFoundError)
        return PartFacts(table, part, out_of_reach="it is gone since it was listed" if gone else reason)
    metadata = schema.metadata or {}
    try:
        genres = tuple(json.loads(metadata[b"genres"])) if table == "labels" else None
        misfit = _column_misfit(schema, stored_schema(table)) or _set_misfit(table, part, metadata)
    except KeyError as error:
        return PartFacts(table, part, rows, misfit=f"lacks the metadata key {error}")
    except (ValueError, TypeError):
        return PartFacts(table, part, rows, misfit="has metadata that is no JSON")
    return PartFacts(table, part, rows, genres, misfit=misfit)


def _opened(location: str, size: int, *, deep: bool) -> tuple[pa.Schema, int]:
    """The schema and the number of rows of a part; what seems damaged is read again, all of it."""
    try:
        whole_bytes = storage.WHOLE_OBJECT_BYTES if deep else _WHOLE_BYTES
        with storage.open_binary(location, size, whole_bytes=whole_bytes) as binary:
            return _looked_at(pq.ParquetFile(binary), deep=deep)
    except Exception as error:
        if not is_damage(error):
            raise
    return read_parsed(location, lambda data: _looked_at(pq.ParquetFile(in_arrows_memory(data)), deep=deep))


def _looked_at(file: pq.ParquetFile, *, deep: bool) -> tuple[pa.Schema, int]:
    if deep:
        for group in range(file.num_row_groups):
            file.read_row_group(group)
    return file.schema_arrow, file.metadata.num_rows


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
    """Parts that are damaged, or do not fit their table."""
    findings = []
    for table in PARTITIONS:
        of_table = [fact for fact in facts if fact.table == table]
        damaged = [f"{fact.part.path}: {fact.damaged}" for fact in of_table if fact.damaged]
        misfits = [f"{fact.part.path} {fact.misfit}" for fact in of_table if fact.misfit]
        findings += name_finding(
            "unreadable part",
            table,
            "these parts are damaged: they were read whole and are no Parquet; remove them and run again",
            damaged,
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
