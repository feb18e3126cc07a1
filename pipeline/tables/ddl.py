"""SQL statements, generated from the schemas, that let other engines read the tables."""

import re
from collections.abc import Callable
from typing import Literal

import pyarrow as pa

from pipeline.storage import storage
from pipeline.tables.objects import list_objects
from pipeline.tables.tables import Tables, stored_schema
from schemas.tables import LABELS, PARTITIONS, SCHEMAS

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
        listed.uri AS present_uri,
        ROW_NUMBER() OVER (
            PARTITION BY labels.model, labels.track_id ORDER BY labels.labeled_at DESC
        ) AS label_age
    FROM labels
    JOIN (
        SELECT
            track_id,
            etag,
            uri,
            present,
            ROW_NUMBER() OVER (PARTITION BY track_id ORDER BY listed_at DESC) AS listing_age
        FROM tracks
    ) AS listed
        ON labels.track_id = listed.track_id AND labels.etag = listed.etag
    WHERE listed.listing_age = 1 AND listed.present
) AS dated
WHERE label_age = 1;
"""
"""The current labels of every model, with the uri where the track is now; those of one model are returned by
`pipeline.tables.current.current_labels`."""

CURRENT_SEGMENT_LABELS = """\
CREATE OR REPLACE VIEW current_segment_labels AS
SELECT {columns}
FROM segment_labels
JOIN current_labels
    ON segment_labels.model = current_labels.model
    AND segment_labels.track_id = current_labels.track_id
    AND segment_labels.etag = current_labels.etag
    AND segment_labels.run = current_labels.run;
"""
"""The segments of the current labels, without what killed runs left: that has the name of another run."""


def generate_ddl(tables: Tables, dialect: Dialect) -> str:
    """Generate statements that create the tables and the views of the current labels and of their segments.

    Parameters
    ----------
    tables : Tables
        The tables; those without parts are skipped.
    dialect : str
        ``duckdb`` (views), ``spark`` (Spark SQL) or ``athena`` (Athena and Hive).

    Returns
    -------
    str
        SQL statements, each terminated by a semicolon.
    """
    parts = list_objects(tables).parts
    existing = [table for table in SCHEMAS if parts[table]]  # a folder stays after its last part is removed
    generate = {"duckdb": _generate_duckdb, "spark": _generate_spark, "athena": _generate_athena}[dialect]
    statements = [generate(table, tables.folder(table)) for table in existing]
    if {"tracks", "labels"} <= set(existing):
        names = [*LABELS.names, *PARTITIONS["labels"]]
        columns = ", ".join("present_uri AS uri" if name == "uri" else name for name in names)
        statements.append(CURRENT_LABELS.format(columns=columns))
        if "segment_labels" in existing:
            names = [*SCHEMAS["segment_labels"].names, *PARTITIONS["segment_labels"]]
            columns = ", ".join(f"segment_labels.{name}" for name in names)
            statements.append(CURRENT_SEGMENT_LABELS.format(columns=columns))
    return "\n".join(statements)


def _generate_duckdb(table: str, folder: str) -> str:
    columns = ", ".join([*stored_schema(table).names, *PARTITIONS[table]])
    kinds = ", ".join(f"'{name}': VARCHAR" for name in PARTITIONS[table])
    literal = re.sub(r"[\[*?]", r"[\g<0>]", folder)  # in the name of the folder they are no wildcards
    files = _quote(storage.join(literal, *["*"] * len(PARTITIONS[table]), "*.parquet"))
    options = f"hive_partitioning = true, hive_types = {{{kinds}}}, union_by_name = true"
    # Parts written before a column was there lack it: a query of no rows names it, with its type.
    later = [
        f"NULL::{_duckdb_type(field.type)} AS {field.name}" for field in SCHEMAS[table] if field.nullable
    ]
    rows = f"SELECT * FROM read_parquet({files}, {options})"  # noqa: S608 - all of it is ours, or quoted
    if later:
        rows += f"\nUNION ALL BY NAME SELECT {', '.join(later)} WHERE false"
    return f"CREATE OR REPLACE VIEW {table} AS\nSELECT {columns}\nFROM (\n{rows}\n);\n"


def _generate_spark(table: str, folder: str) -> str:
    columns = [_define_column(field) for field in _hive_columns(table)]
    columns += [f"  {name} STRING" for name in PARTITIONS[table]]
    lines = ",\n".join(columns)
    return _note_left_out(table) + (
        f"CREATE TABLE IF NOT EXISTS {table} (\n{lines}\n)\nUSING PARQUET\n"
        f"PARTITIONED BY ({', '.join(PARTITIONS[table])})\nLOCATION {_quote_spark(folder)};\n\n"
        f"MSCK REPAIR TABLE {table};\n"
    )


def _generate_athena(table: str, folder: str) -> str:
    lines = ",\n".join(_define_column(field) for field in _hive_columns(table))
    partitions = ", ".join(f"{name} STRING" for name in PARTITIONS[table])
    return _note_left_out(table) + (
        f"CREATE EXTERNAL TABLE IF NOT EXISTS {table} (\n{lines}\n)\n"
        f"PARTITIONED BY ({partitions})\nSTORED AS PARQUET\nLOCATION {_quote(f'{folder}/')};\n\n"
        f"MSCK REPAIR TABLE {table};\n"
    )


def _hive_columns(table: str) -> list[pa.Field]:
    """Return the columns that Spark and Athena can read: neither has a type for 16-bit floats."""
    return [field for field in stored_schema(table) if not _is_half(field.type)]


def _is_half(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) and pa.types.is_float16(kind.value_type))


def _note_left_out(table: str) -> str:
    """Return a comment about columns that are left out; "" if there are none."""
    left_out = [field.name for field in stored_schema(table) if _is_half(field.type)]
    return "".join(f"-- without {name}: 16-bit floats, which DuckDB and pandas read\n" for name in left_out)


def _define_column(field: pa.Field) -> str:
    """Define a column, with its description as a comment."""
    # Engines escape apostrophes differently, so the comment uses a typographic one.
    description = (field.metadata or {}).get(b"description", b"").decode().replace("'", "’")
    return f"  {field.name} {sql_type(field.type)} COMMENT '{description}'"


def sql_type(kind: pa.DataType) -> str:
    """Return the Hive and Spark type for an Arrow type.

    Raises
    ------
    TypeError
        If the type is not one that the tables use.
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
    """Return the DuckDB type for an Arrow type."""
    if pa.types.is_list(kind):
        return f"{_duckdb_type(kind.value_type)}[]"
    if pa.types.is_map(kind):
        return f"MAP({_duckdb_type(kind.key_type)}, {_duckdb_type(kind.item_type)})"
    if pa.types.is_struct(kind):
        return f"STRUCT({', '.join(f'{field.name} {_duckdb_type(field.type)}' for field in kind)})"
    name = sql_type(kind)
    return {"STRING": "VARCHAR", "BINARY": "BLOB", "TIMESTAMP": "TIMESTAMPTZ"}.get(name, name)


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _quote_spark(text: str) -> str:
    r"""Return a string literal of Spark, for which ``\`` escapes; before 4.0, ``''`` is no quote in it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
