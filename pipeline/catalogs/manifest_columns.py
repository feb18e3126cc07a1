"""Converts the columns of a manifest to those of a listing."""

import contextlib
import json
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalogs.manifest_file import plain_name
from pipeline.catalogs.track_refs import NOT_READABLE, drop_impossible
from schemas.errors import MisuseError
from schemas.tables import LISTING, TIMESTAMP

_MISSING = ("", "nan", "null", "none", "na", "n/a", "<na>")
"""How programs write a missing value, in lower case."""
_NO_SIZES = pa.array(_MISSING)
_NO_VERSIONS = pa.array([*_MISSING, *NOT_READABLE])
"""Also Earmark's own etags for files that could not be looked up: they may exist by now."""

_CHUNK_ROWS = 1 << 17


def to_text(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as text, with "" for nulls."""
    return pc.fill_null(column.cast(pa.string()).combine_chunks(), "")


_FACTS = {
    "size": "size",
    "etag": "etag",
    "modifiedat": "modified_at",
    "lastmodified": "modified_at",
    "lastmodifieddate": "modified_at",
}


def rename_facts(table: pa.Table) -> pa.Table:
    """Rename the columns of sizes, etags and times to those of a listing, if there are sizes and etags."""
    meant = {name: _FACTS.get(plain_name(name), name) for name in table.column_names}
    names = list(meant.values())
    if not {"size", "etag"} <= set(names) or len(set(names)) < len(names):
        return table
    return table.rename_columns(names)


def parse_sizes(column: pa.ChunkedArray, location: str) -> pa.Array:
    """Return sizes in bytes, null where missing.

    Raises
    ------
    MisuseError
        If one is not a number of bytes; the message names the row.
    """
    written = pc.utf8_trim_whitespace(to_text(_without_artifacts(column)))
    written = pc.if_else(pc.is_in(pc.utf8_lower(written), _NO_SIZES), "", written)
    sound = pc.match_substring_regex(written, r"^(\d{1,18}(\.0*)?)?$")
    wrong = pc.index(sound, False).as_py()
    if wrong >= 0:
        raise MisuseError(
            f"row {wrong + 1} of the manifest {location} has the size '{written[wrong]}', which is not a "
            "number of bytes; leave it empty to look it up in the store"
        )
    whole = pc.replace_substring_regex(written, r"\.0*$", "")
    return pc.if_else(pc.equal(whole, ""), None, whole).cast(pa.int64())


def parse_etags(column: pa.ChunkedArray) -> pa.Array:
    """Return entity tags without their quotes, null where missing."""
    tags = pc.utf8_trim(pc.utf8_trim_whitespace(to_text(column)), '"')
    return pc.if_else(pc.is_in(pc.utf8_lower(tags), _NO_VERSIONS), pa.scalar(None, pa.string()), tags)


def parse_times(table: pa.Table) -> pa.Array:
    """Return the column ``modified_at`` as timestamps, null where missing or not a valid time."""
    if "modified_at" not in table.column_names:
        return pa.nulls(table.num_rows, TIMESTAMP)
    return drop_impossible(_to_times(table["modified_at"]))


def _to_times(written: pa.ChunkedArray) -> pa.Array:
    column = written.combine_chunks()
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)  # without the nanoseconds
        return pc.assume_timezone(column, "UTC") if column.type.tz is None else column.cast(TIMESTAMP)
    text = pc.utf8_trim_whitespace(to_text(written))
    sound = pc.match_substring_regex(
        text, r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$"
    )
    likely = pc.if_else(sound, text, pa.scalar(None, pa.string()))
    try:
        return likely.cast(TIMESTAMP)
    except pa.ArrowInvalid:  # one looks like a time but is invalid, such as February 30
        return pa.array([None if each is None else _time(each) for each in likely.to_pylist()], TIMESTAMP)


def _time(written: str) -> datetime | None:
    try:
        return datetime.fromisoformat(written)
    except ValueError:
        return None


def pack_columns(table: pa.Table) -> pa.ChunkedArray:
    """Pack all columns into one of maps from column name to text, without nulls; null for an empty map."""
    kind = LISTING.field("carried").type
    if not table.num_columns:
        return pa.chunked_array([pa.nulls(table.num_rows, kind)])
    # Of whole columns: a value must not depend on the rows beside it.
    columns = [_without_artifacts(_without_dictionary(column)) for column in table.columns]
    table = pa.table(columns, table.column_names)
    starts = range(0, table.num_rows, _CHUNK_ROWS)
    return pa.chunked_array([_maps(table.slice(start, _CHUNK_ROWS), kind) for start in starts], kind)


def _maps(table: pa.Table, kind: pa.MapType) -> pa.Array:
    n_rows, n_columns = table.num_rows, table.num_columns
    values = pa.concat_arrays([_to_strings(column) for column in table.columns])
    # The values lie column by column; take them row by row.
    order = np.arange(n_columns) * n_rows + np.arange(n_rows)[:, None]
    values = values.take(pa.array(order.ravel()))
    there = values.is_valid().to_numpy(zero_copy_only=False)
    counts = there.reshape(n_rows, n_columns).sum(axis=1)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    names = pa.array(table.column_names, pa.string())
    keys = names.take(pa.array(np.tile(np.arange(n_columns), n_rows)[there]))
    is_empty = np.append(counts == 0, False)
    return pa.MapArray.from_arrays(pa.array(offsets, mask=is_empty), keys, values.drop_null(), type=kind)


def _without_dictionary(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _to_strings(column: pa.ChunkedArray) -> pa.Array:
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return column.cast(pa.string()).combine_chunks()
    to_text = _to_json if pa.types.is_nested(kind) else str
    try:
        values = column.to_pylist()
    except (OverflowError, ValueError):  # a date that Python has not, as for infinity
        return column.cast(pa.string()).combine_chunks()
    return pa.array([None if value is None else to_text(value) for value in values], pa.string())


def _to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _without_artifacts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return whole numbers and dates as such: pandas stores integers with gaps as floats, and dates as times.

    Columns of other types, or with a fraction or a time of day in any row, are returned as they are, but
    without NaN.
    """
    with contextlib.suppress(pa.ArrowInvalid):
        if pa.types.is_floating(column.type):
            is_nan = pc.is_nan(column.cast(pa.float64()))
            column = pc.if_else(is_nan, pa.scalar(None, column.type), column)
            return column.cast(pa.float64()).cast(pa.int64())
        if pa.types.is_timestamp(column.type) and column.type.tz is None:
            dates = column.cast(pa.date32())
            return dates if dates.cast(column.type).equals(column) else column
    return column
