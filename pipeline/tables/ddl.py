"""The tables in SQL: statements that let other engines read them, out of the schemas that write them."""

from collections.abc import Callable
from typing import Literal

import pyarrow as pa

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.storage import storage
from pipeline.tables.tables import Tables
from schemas.tables import LABELS, PARTITIONS, SCHEMAS, features_schema

Dialect = Literal["duckdb", "spark", "athena"]

_SCALARS: tuple[tuple[Callable[[pa.DataType], bool], str], ...] = (
    (pa.types.is_string, "STRING"),
    (pa.types.is_boolean, "BOOLEAN"),
    (pa.types.is_int16, "SMALLINT"),
    (pa.types.is_int32, "INT"),
    (pa.types.is_int64, "BIGINT"),
    (pa.types.is_float32, "FLOAT"),
    (pa.types.is_float64, "DOUBLE"),
    (pa.types.is_timestamp, "TIMESTAMP"),
    (pa.types.is_large_binary, "BINARY"),
)

CURRENT_LABELS = """\
CREATE OR REPLACE VIEW current_labels AS
SELECT {columns}
FROM (
    SELECT
        labels.*,
        ROW_NUMBER() OVER (
            PARTITION BY labels.model, labels.track_id ORDER BY labels.labeled_at DESC
        ) AS label_age
    FROM labels
    JOIN (
        SELECT
            track_id,
            etag,
            present,
            ROW_NUMBER() OVER (PARTITION BY track_id ORDER BY listed_at DESC) AS listing_age
        FROM tracks
    ) AS listed
        ON labels.track_id = listed.track_id AND labels.etag = listed.etag
    WHERE listed.listing_age = 1 AND listed.present
) AS dated
WHERE label_age = 1;
"""
"""The labels that hold now, of every model: what `pipeline.tables.current.current_labels` gives of one."""


def ddl(tables: Tables, dialect: Dialect) -> str:
    """Statements that make the tables and the view ``current_labels``.

    Parameters
    ----------
    tables : Tables
        Those that are there are made.
    dialect : str
        ``duckdb`` (views), ``spark`` (Spark SQL) or ``athena`` (Athena and Hive).

    Returns
    -------
    str
        SQL, one statement after the other, each ended by a semicolon.
    """
    there = [table for table in SCHEMAS if storage.exists(tables.folder(table))]
    make = {"duckdb": _duckdb, "spark": _spark, "athena": _athena}[dialect]
    statements = [make(table, tables.folder(table)) for table in there]
    if {"tracks", "labels"} <= set(there):
        columns = ", ".join([*LABELS.names, *PARTITIONS["labels"]])
        statements.append(CURRENT_LABELS.format(columns=columns))
    return "\n".join(statements)


def _duckdb(table: str, folder: str) -> str:
    columns = ", ".join([*_schema(table).names, *PARTITIONS[table]])
    kinds = ", ".join(f"'{name}': VARCHAR" for name in PARTITIONS[table])
    files = _quoted(storage.join(folder, *["*"] * len(PARTITIONS[table]), "*.parquet"))
    options = f"hive_partitioning = true, hive_types = {{{kinds}}}, union_by_name = true"
    # Parts written before a column was there lack it: a query of no rows names it, with its type.
    later = [
        f"NULL::{_duckdb_type(field.type)} AS {field.name}" for field in SCHEMAS[table] if field.nullable
    ]
    rows = f"SELECT * FROM read_parquet({files}, {options})"  # noqa: S608 - all of it is ours, or quoted
    if later:
        rows += f"\nUNION ALL BY NAME SELECT {', '.join(later)} WHERE false"
    return f"CREATE OR REPLACE VIEW {table} AS\nSELECT {columns}\nFROM (\n{rows}\n);\n"


def _spark(table: str, folder: str) -> str:
    columns = [_column(field) for field in _schema(table)]
    columns += [f"  {name} STRING" for name in PARTITIONS[table]]
    return (
        f"CREATE TABLE IF NOT EXISTS {table} (\n{_lines(columns)}\n)\nUSING PARQUET\n"
        f"PARTITIONED BY ({', '.join(PARTITIONS[table])})\nLOCATION {_quoted(folder)};\n\n"
        f"MSCK REPAIR TABLE {table};\n"
    )


def _athena(table: str, folder: str) -> str:
    columns = [_column(field) for field in _schema(table)]
    partitions = ", ".join(f"{name} STRING" for name in PARTITIONS[table])
    return (
        f"CREATE EXTERNAL TABLE IF NOT EXISTS {table} (\n{_lines(columns)}\n)\n"
        f"PARTITIONED BY ({partitions})\nSTORED AS PARQUET\nLOCATION {_quoted(f'{folder}/')};\n\n"
        f"MSCK REPAIR TABLE {table};\n"
    )


def _schema(table: str) -> pa.Schema:
    """The columns in the files of a table, the descriptors among them."""
    return features_schema(DESCRIPTOR_NAMES) if table == "features" else SCHEMAS[table]


def _column(field: pa.Field) -> str:
    """A column with its description, whose apostrophes each engine would have quoted in its own way."""
    description = (field.metadata or {}).get(b"description", b"").decode().replace("'", "’")
    return f"  {field.name} {sql_type(field.type)} COMMENT '{description}'"


def sql_type(kind: pa.DataType) -> str:
    """The type that Hive and Spark have for an Arrow type.

    Raises
    ------
    TypeError
        If there is none among those that the tables use.
    """
    for is_kind, name in _SCALARS:
        if is_kind(kind):
            return name
    if pa.types.is_list(kind):
        return f"ARRAY<{sql_type(kind.value_type)}>"
    if pa.types.is_map(kind):
        return f"MAP<{sql_type(kind.key_type)}, {sql_type(kind.item_type)}>"
    if pa.types.is_struct(kind):
        return f"STRUCT<{', '.join(f'{field.name}: {sql_type(field.type)}' for field in kind)}>"
    raise TypeError(f"no SQL type is known for {kind}")


def _duckdb_type(kind: pa.DataType) -> str:
    """The type that DuckDB has for an Arrow type."""
    if pa.types.is_list(kind):
        return f"{_duckdb_type(kind.value_type)}[]"
    if pa.types.is_map(kind):
        return f"MAP({_duckdb_type(kind.key_type)}, {_duckdb_type(kind.item_type)})"
    if pa.types.is_struct(kind):
        return f"STRUCT({', '.join(f'{field.name} {_duckdb_type(field.type)}' for field in kind)})"
    name = sql_type(kind)
    return {"STRING": "VARCHAR", "BINARY": "BLOB", "TIMESTAMP": "TIMESTAMPTZ"}.get(name, name)


def _lines(columns: list[str]) -> str:
    return ",\n".join(columns)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
