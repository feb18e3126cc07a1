"""Joins in memory by any columns, and whole tables: what the slow oracles work with."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pipeline.tables.tables import VERSION_KEY, Tables, select_rows, stored_schema
from schemas.tables import PARTITIONS


def read_whole(tables: Tables, table: str) -> pa.Table:
    """Read all rows and columns of a table."""
    return tables.read(table, list(dict.fromkeys((*stored_schema(table).names, *PARTITIONS[table]))))


def keep_newest(rows: pa.Table, by: str, *, key: Sequence[str] = ("track_id",)) -> pa.Table:
    """Keep the row with the greatest value of `by` for each key, or the last of several such rows."""
    ordered = _number(rows, [*key, by]).sort_by([(by, "ascending"), ("__row", "ascending")])
    picked = ordered.group_by(list(key), use_threads=False).aggregate([("__row", "last")])["__row_last"]
    return select_rows(rows, picked)


def anti_join(rows: pa.Table, taken: pa.Table, key: Sequence[str] = VERSION_KEY) -> pa.Table:
    """Return the rows of the first table whose key is not in the second, in their order."""
    return _join(rows, taken, list(key), "left anti")


def semi_join(rows: pa.Table, wanted: pa.Table, key: Sequence[str] = VERSION_KEY) -> pa.Table:
    """Return the rows of the first table whose key is in the second, in their order."""
    return _join(rows, wanted, list(key), "left semi")


def _join(rows: pa.Table, other: pa.Table, keys: list[str], kind: str) -> pa.Table:
    return select_rows(rows, _number(rows, keys).join(other.select(keys), keys, join_type=kind)["__row"])


def _number(rows: pa.Table, columns: list[str]) -> pa.Table:
    return rows.select(columns).append_column("__row", pa.array(np.arange(rows.num_rows)))
