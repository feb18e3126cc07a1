"""Inspection: each part is read once, for its footer, the keys of its rows and a look at its values."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, replace
from functools import cache

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage import storage
from pipeline.storage.arrow_buffers import arrow_buffer
from pipeline.storage.errors import is_store_error
from pipeline.storage.read_and_parse import read_and_parse
from pipeline.storage.retry import RetryBudget
from pipeline.tables.maintenance.verify.embedding_values import (
    VECTOR_COLUMNS,
    find_invalid_vectors,
    first_length,
)
from pipeline.tables.maintenance.verify.label_values import LABEL_COLUMNS, find_invalid_labels
from pipeline.tables.maintenance.verify.rows import COLUMNS
from pipeline.tables.objects import StoredObject, StoredObjects, partition_values
from pipeline.tables.parts import WIDE, complete
from pipeline.tables.read_ahead import AHEAD, read_ahead
from pipeline.tables.tables import explain_read_errors, is_damage, stored_schema

_WHOLE_BYTES = 1 << 20
_BATCH_ROWS = 1 << 13
_MAX_FAILING_S = 60.0
"""If no part could be read for this many seconds, the store is down and the rest are not tried."""
_VALUES = {"labels": LABEL_COLUMNS, "embeddings": VECTOR_COLUMNS}
_KEYS_OF_WIDE, _KEYS_OF_OTHERS = 1 / 8, 4.0
"""Bytes of keys in memory, for each byte of a part: at most, as far as parts were seen."""


@dataclass(frozen=True, slots=True)
class PartFacts:
    """What a part says of itself, or what is wrong with it.

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
    vector_length : int or None
        The numbers in the first vector of a part of ``embeddings/`` that has any; 0 if none has, None if
        the part has no rows.
    suspect : bool
        Whether some labels do not fit these genres, or some vectors are invalid or of another length.
    damaged, mismatch : str or None
        Why it is not valid Parquet, or does not match its table.
    unreadable : str or None
        Why it could not be read; its content may be fine.
    """

    table: str
    part: StoredObject
    rows: int = 0
    genres: tuple[str, ...] | None = None
    vector_length: int | None = None
    suspect: bool = False
    damaged: str | None = None
    mismatch: str | None = None
    unreadable: str | None = None

    @property
    def sound(self) -> bool:
        """Whether the part is intact and matches its table."""
        return self.damaged is None and self.mismatch is None and self.unreadable is None


Inspected = tuple[PartFacts, pa.Table | None]
"""A part's facts and, if it is sound, the columns of its rows that `rows.COLUMNS` names."""


class _DamagedRowsError(Exception):
    """The footer of a part is intact, but its rows are not.

    Attributes
    ----------
    damage : Exception
        What Arrow said.
    """

    def __init__(self, damage: Exception) -> None:
        super().__init__(str(damage))
        self.damage = damage


def inspect_parts(stored: StoredObjects, skipped: Iterable[str], *, deep: bool) -> Iterator[Inspected]:
    """Read the footer, keys and values of each part once, some ahead of time; yield them in order of paths.

    Parameters
    ----------
    stored : StoredObjects
        The objects under the root.
    skipped : iterable of str
        Paths of parts to skip.
    deep : bool
        Read all data, one row group at a time.

    Raises
    ------
    EarmarkError
        If rows of a part cannot be read though its footer can; with `deep`, the part counts as damaged.
    """
    leave = set(skipped)
    work = [
        (table, part) for table, parts in stored.parts.items() for part in parts if part.path not in leave
    ]
    budget = RetryBudget(_MAX_FAILING_S)

    def inspect(item: tuple[str, StoredObject]) -> Inspected:
        if budget.is_exhausted:
            reason = f"nothing could be read for {_MAX_FAILING_S:.0f} s before it"
            return PartFacts(*item, unreadable=reason), None
        facts, rows = _inspect_part(stored, *item, deep=deep)
        budget.record(failed=facts.unreadable is not None)
        return facts, rows

    def size_of(item: tuple[str, StoredObject]) -> int:
        table, part = item
        return int(part.size * (_KEYS_OF_WIDE if table in WIDE and not deep else _KEYS_OF_OTHERS))

    # A local disk answers at once: more than a few parts ahead of time would only take memory.
    n_ahead = min(AHEAD, 2 * (os.cpu_count() or 1)) if storage.is_local(stored.tables.root) else AHEAD
    for _, inspected in read_ahead(work, inspect, size_of, n_ahead):
        yield inspected


def _inspect_part(stored: StoredObjects, table: str, part: StoredObject, *, deep: bool) -> Inspected:
    try:
        return _open_part(stored.location(part), PartFacts(table, part), deep=deep)
    except _DamagedRowsError as error:
        if deep:
            return PartFacts(table, part, damaged=_first_line(error)), None
        with explain_read_errors(stored.tables, table):
            raise error.damage from None
    except Exception as error:
        if is_damage(error):
            return PartFacts(table, part, damaged=_first_line(error)), None
        if not is_store_error(error):
            raise
        gone = isinstance(error, FileNotFoundError)
        reason = "it was deleted after it was listed" if gone else _first_line(error)
        return PartFacts(table, part, unreadable=reason), None


def _first_line(error: Exception) -> str:
    return storage.reason(error).splitlines()[0]


def _open_part(location: str, facts: PartFacts, *, deep: bool) -> Inspected:
    """Read a part: small ones whole, others by ranges. One that seems damaged is read again as a whole."""

    def parse(data: bytes) -> Inspected:
        return _read_part(pq.ParquetFile(arrow_buffer(data)), facts, deep=deep)

    size = facts.part.size
    try:
        if size <= (_WHOLE_BYTES if facts.table in WIDE and not deep else storage.WHOLE_OBJECT_BYTES):
            return parse(storage.read_bytes(location))
        with storage.open_binary(location, size, whole_bytes=0) as binary:
            return _read_part(pq.ParquetFile(binary), facts, deep=deep)
    except Exception as error:
        if not (isinstance(error, _DamagedRowsError) or is_damage(error)):
            raise
    return read_and_parse(location, parse)


def _read_part(file: pq.ParquetFile, facts: PartFacts, *, deep: bool) -> Inspected:
    schema = file.schema_arrow
    facts = _check_schema(schema, replace(facts, rows=file.metadata.num_rows))
    if deep:
        _read_everything(file)
    return _read_rows(file, set(schema.names), facts) if facts.sound else (facts, None)


def _check_schema(schema: pa.Schema, facts: PartFacts) -> PartFacts:
    """Hold the columns and the metadata of a part against those of its table."""
    table, metadata = facts.table, schema.metadata or {}
    try:
        genres = _parse_genres(metadata[b"genres"]) if table == "labels" else None
        mismatch = _compare_columns(schema, stored_schema(table)) or _compare_feature_set(facts, metadata)
    except KeyError as error:
        return replace(facts, mismatch=f"lacks the metadata key {error}")
    except (ValueError, TypeError):
        return replace(facts, mismatch="has metadata that is not valid JSON")
    return replace(facts, genres=genres, mismatch=mismatch)


def _parse_genres(text: bytes) -> tuple[str, ...]:
    genres = tuple(json.loads(text))
    if not genres or not all(isinstance(name, str) for name in genres):
        raise ValueError("not a list of names")
    return genres


def _compare_columns(schema: pa.Schema, wanted: pa.Schema) -> str | None:
    """Return what is wrong with a part's columns, or None.

    Nullable columns may be missing or unknown: they were added by a later version.
    """
    if schema.equals(wanted):
        return None
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


def _compare_feature_set(facts: PartFacts, metadata: dict[bytes, bytes]) -> str | None:
    """Return an error if the spec of a part of ``features/`` does not hash to the feature set in its path."""
    if facts.table != "features":
        return None
    canonical = json.dumps(json.loads(metadata[b"feature_spec"]), sort_keys=True)
    named = hashlib.sha256(canonical.encode()).hexdigest()[:10]
    here = partition_values(facts.part)["feature_set"]
    return None if named == here else f"holds the feature set {named}"


def _read_everything(file: pq.ParquetFile) -> None:
    with _name_damage():
        for group in range(file.num_row_groups):
            file.read_row_group(group)


def _read_rows(file: pq.ParquetFile, held: Set[str], facts: PartFacts) -> Inspected:
    """Read the keys of a part, and look at its values."""
    names = COLUMNS[facts.table]
    wanted = _schema_of_columns(facts.table)
    there = [name for name in wanted.names if name in held]
    keys: list[pa.RecordBatch] = []
    with _name_damage():
        for batch in file.iter_batches(_BATCH_ROWS, columns=there, use_threads=False):
            rows = complete(batch, wanted)
            facts = _look_at_values(rows, facts)
            keys.append(rows.select(names))
    return facts, pa.Table.from_batches(keys, pa.schema([wanted.field(name) for name in names]))


@cache
def _schema_of_columns(table: str) -> pa.Schema:
    """Return the columns to read of a table, in the order that parts have them."""
    names = {*COLUMNS[table], *_VALUES.get(table, ())}
    return pa.schema([field.remove_metadata() for field in stored_schema(table) if field.name in names])


@contextlib.contextmanager
def _name_damage() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not is_damage(error):
            raise
        raise _DamagedRowsError(error) from error


def _look_at_values(rows: pa.RecordBatch, facts: PartFacts) -> PartFacts:
    if facts.genres is not None and not facts.suspect:
        return replace(facts, suspect=bool(find_invalid_labels(rows, facts.genres).any()))
    if facts.table == "embeddings" and rows.num_rows:
        length = facts.vector_length or first_length(rows)
        suspect = facts.suspect or bool(find_invalid_vectors(rows, length).any())
        return replace(facts, vector_length=length, suspect=suspect)
    return facts
