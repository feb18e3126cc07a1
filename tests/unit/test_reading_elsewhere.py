"""The tables read without Earmark: pandas, Polars, DuckDB, and the SQL for Spark and Athena."""

import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
import sqlglot
from sqlglot import exp

import earmark
from jobs.cli.commands.labels import ddl
from pipeline.shards.rows import track_rows
from pipeline.storage import storage
from pipeline.tables.current import current_labels
from pipeline.tables.ddl import Dialect, generate_ddl, sql_type
from pipeline.tables.tables import Tables, encode_part
from schemas.report import Counts
from schemas.tables import PARTITIONS, SCHEMAS, TRACKS
from tests.conftest import ROOT
from tests.table_history import TableHistory, refs, uri
from tests.table_history import tracks as track_versions
from tests.trend_tables import MODEL, add_night, write_trend_tables

KINDS = {
    "string": "STRING", "bool": "BOOLEAN", "int16": "SMALLINT", "int32": "INT", "int64": "BIGINT",
    "float": "FLOAT", "double": "DOUBLE", "timestamp[us, tz=UTC]": "TIMESTAMP",
    "map<string, string>": "MAP<STRING, STRING>",
    "list<element: float>": "ARRAY<FLOAT>", "list<item: float>": "ARRAY<FLOAT>",
}  # fmt: skip
"""Arrow types as they print, and what Spark and Athena call them."""


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Tables in which tracks are gone, changed and labeled twice; their folder's name needs quoting."""
    made = Tables(str(tmp_path_factory.mktemp("it's here")))
    write_trend_tables(made, 300, seed=5)
    add_night(made)
    return made


@pytest.fixture(scope="module")
def expected(tables: Tables) -> dict[str, str]:
    """The genre of each track that holds a label now, by uri."""
    rows = current_labels(tables, MODEL)
    assert rows.num_rows == 280
    return dict(zip(rows["uri"].to_pylist(), rows["genre"].to_pylist(), strict=True))


def test_pandas(tables: Tables, expected: dict[str, str]) -> None:
    """The example in the README for pandas would give an analyst tracks twice, or ones that are gone."""
    root = tables.root
    tracks = (
        pd.read_parquet(f"{root}/tracks").sort_values("listed_at").drop_duplicates("track_id", keep="last")
    )
    labels = pd.read_parquet(f"{root}/labels").query("model == @MODEL").sort_values("labeled_at")
    current = labels.drop_duplicates(["track_id", "etag"], keep="last").merge(
        tracks.loc[tracks["present"], ["track_id", "etag"]]
    )
    assert dict(zip(current["uri"], current["genre"], strict=True)) == expected


def test_polars(tables: Tables, expected: dict[str, str]) -> None:
    """The example in the README for Polars would give an analyst tracks twice, or ones that are gone."""
    root = tables.root
    tracks = (
        pl.scan_parquet(f"{root}/tracks", hive_partitioning=True)
        .sort("listed_at")
        .unique("track_id", keep="last", maintain_order=True)
        .filter("present")
    )
    current = (
        pl.scan_parquet(f"{root}/labels", hive_partitioning=True)
        .filter(pl.col("model") == MODEL)
        .join(tracks, on=["track_id", "etag"], how="semi")
        .sort("labeled_at")
        .unique("track_id", keep="last", maintain_order=True)
        .collect()
    )
    assert dict(zip(current["uri"], current["genre"], strict=True)) == expected


def test_the_type_of_the_day_can_be_chosen(tables: Tables) -> None:
    """Two readers would differ about a column, and what the documentation names against it would not help."""
    labels = f"{tables.root}/labels"
    guessed = pl.scan_parquet(labels, hive_partitioning=True).collect_schema()
    chosen = pl.scan_parquet(labels, hive_partitioning=True, try_parse_hive_dates=False).collect_schema()
    assert (guessed["run_date"], chosen["run_date"]) == (pl.Date(), pl.String())
    parts = f"{tables.root}/labels/*/*/*.parquet"
    sql = "select typeof(run_date) from read_parquet(?{}) limit 1"
    options = ("", ", hive_types = {'run_date': varchar}")
    found = [duckdb.execute(sql.format(each), [parts]).fetchall() for each in options]
    assert found == [[("DATE",)], [("VARCHAR",)]]
    assert pd.read_parquet(f"{tables.root}/labels").dtypes["run_date"] == "category"


def test_duckdb_views(tables: Tables, expected: dict[str, str]) -> None:
    """`earmark ddl --dialect duckdb` would make views that give other labels than `earmark labels`."""
    database = duckdb.connect()
    database.execute(generate_ddl(tables, "duckdb"))
    found = database.execute("select uri, genre from current_labels where model = ?", [MODEL]).fetchall()
    assert len(found) == len(expected)
    assert dict(found) == expected
    columns = [row[0] for row in database.execute("describe labels").fetchall()]
    assert columns == [*SCHEMAS["labels"].names, *PARTITIONS["labels"]]
    kinds = {row[0]: row[1] for row in database.execute("describe labels").fetchall()}
    assert (kinds["model"], kinds["run_date"]) == ("VARCHAR", "VARCHAR")


def test_labels_and_failures_of_a_moved_catalog_are_where_it_is_now(tmp_path: Path) -> None:
    """Playlists would name files that are gone, and tags could not be written: a run finds nothing to do."""
    history = TableHistory(tmp_path)
    history.run(track_versions(9), failing={"broken": "1"})
    moved = {"t0001": "/zzz/t0001.mp3", "t0006": "/elsewhere/6.mp3", "broken": "/elsewhere/broken.mp3"}
    rows = track_rows(refs([(name, "1") for name in moved]), {}, history.now + timedelta(days=1)).to_pylist()
    rows = [row | {"uri": moved[row["track_id"]]} for row in rows]
    history.write("tracks", "listing", pa.Table.from_pylist(rows, TRACKS), run="20260109T030000-0000")
    opened = earmark.open_tables(tmp_path)
    labels = opened.labels()
    where = {name: uri(name) for name in track_versions(9)} | moved
    assert opened.failures()["uri"].to_pylist() == [where.pop("broken")]
    assert labels["uri"].to_pylist() == sorted(where.values())
    assert dict(zip(labels["track_id"].to_pylist(), labels["uri"].to_pylist(), strict=True)) == where
    database = duckdb.connect()
    database.execute(generate_ddl(history.tables, "duckdb"))
    assert dict(database.execute("select track_id, uri from current_labels").fetchall()) == where


def test_a_table_whose_parts_were_removed_has_no_view(tmp_path: Path) -> None:
    """After `--keep-features none`, or a purge of all failures, DuckDB would refuse the whole SQL."""
    made = Tables(str(tmp_path / "tables"))
    write_trend_tables(made, 20, seed=5)
    Path(made.folder("features"), "feature_set=0123456789", "run=x").mkdir(parents=True)
    database = duckdb.connect()
    database.execute(generate_ddl(made, "duckdb"))
    views = {
        row[0]
        for row in database.execute("select view_name from duckdb_views() where not internal").fetchall()
    }
    assert "current_labels" in views
    assert "features" not in views


def test_tables_without_rows_have_no_sql(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed, and nobody knows whether the command worked."""
    TableHistory(tmp_path).report("20260109T030000-0000", Counts(listed=0))
    ddl(str(tmp_path))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "have no rows yet" in printed.err


def test_the_views_of_tables_whose_folder_has_wildcards(tmp_path: Path) -> None:
    """``music [lossless]`` is a folder that many have; as a pattern it matches nothing."""
    made = Tables(str(tmp_path / "a [b]*?"))
    write_trend_tables(made, 20, seed=5)
    database = duckdb.connect()
    database.execute(generate_ddl(made, "duckdb"))
    assert database.execute("select count(*) from labels").fetchall() != [(0,)]


def test_the_readmes_sql(tables: Tables, expected: dict[str, str]) -> None:
    """Whoever copies the SQL of the README would get other labels than `earmark labels` prints."""
    text = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(r"```sql\n(.*?)```", text, flags=re.S)
    assert blocks
    sql = blocks[0].replace("TABLES", tables.root.replace("'", "''")).replace("MODEL", MODEL)
    found = duckdb.execute(sql).fetchall()
    assert len(found) == len(expected)
    assert sorted(row[1] for row in found) == sorted(expected.values())


@pytest.mark.parametrize("dialect", ["spark", "athena"])
def test_other_engines_tables_are_the_schemas(tables: Tables, dialect: Dialect) -> None:
    """Spark or Athena would refuse the statement, or read a column that is not there or of another type."""
    statements = [
        each for each in sqlglot.parse(generate_ddl(tables, dialect), read=dialect) if each is not None
    ]
    made = {s.this.this.name: s for s in statements if isinstance(s, exp.Create) and s.kind == "TABLE"}
    assert set(made) == {"tracks", "labels"}
    for table, statement in made.items():
        columns = {
            c.name: c.args["kind"].sql("spark")
            for c in statement.this.expressions
            if isinstance(c, exp.ColumnDef)
        }
        inside = [*SCHEMAS[table].names, *(PARTITIONS[table] if dialect == "spark" else ())]
        assert list(columns) == inside
        for field in SCHEMAS[table]:
            if not pa.types.is_list(field.type) or not pa.types.is_struct(field.type.value_type):
                assert columns[field.name] == KINDS[str(field.type)], field
        sql = statement.sql(dialect)
        assert f"/{table}" in sql
        assert all(name in sql.partition("PARTITIONED BY")[2] for name in PARTITIONS[table])
    assert "STRUCT<genre: STRING, probability: FLOAT>" in generate_ddl(tables, dialect)


def test_spark_finds_folders_with_odd_names(tables: Tables, tmp_path: Path) -> None:
    """Spark takes a backslash for the beginning of an escape; before 4.0, a doubled quote ends a text."""
    odd = Tables(str(tmp_path / "it's a \\new one"))
    shutil.copytree(tables.root, odd.root)
    sql = generate_ddl(odd, "spark")
    assert re.findall(r"LOCATION '(.*)';", sql)[-1].endswith(r"/it\'s a \\new one/labels")
    (created,) = (s for s in sqlglot.parse(sql, read="spark") if "labels" in str(s) and "LOCATION" in str(s))
    assert created is not None
    (place,) = created.find_all(exp.LocationProperty)
    assert place.this.this == odd.folder("labels")


@pytest.mark.parametrize("dialect", ["spark", "athena"])
def test_other_engines_view_gives_the_current_labels(
    tables: Tables, expected: dict[str, str], dialect: Dialect
) -> None:
    """The view would parse in Spark or Athena and give wrong labels there.

    Neither runs here: the view's text is translated from their dialect, and DuckDB runs it over the tables.
    """
    statements = [
        each for each in sqlglot.parse(generate_ddl(tables, dialect), read=dialect) if each is not None
    ]
    (view,) = (s for s in statements if isinstance(s, exp.Create) and s.kind == "VIEW")
    database = duckdb.connect()
    database.execute(generate_ddl(tables, "duckdb"))
    database.execute("drop view current_labels")
    database.execute(view.sql("duckdb"))
    found = database.execute("select uri, genre from current_labels where model = ?", [MODEL]).fetchall()
    assert len(found) == len(expected)
    assert dict(found) == expected


@pytest.fixture(scope="module")
def segments(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tables, set[str]]:
    """The same tables with segment labels, some of them left by a killed run; and the current tracks."""
    made = Tables(str(tmp_path_factory.mktemp("segments") / "tables"))
    shutil.copytree(tables.root, made.root)
    labels = made.read("labels", ["track_id", "etag", "run"]).to_pylist()
    runs = {(label["track_id"], label["etag"], run) for label in labels for run in (label["run"], "killed")}
    rows = [
        {"track_id": track, "etag": etag, "segment": number, "start_s": 10.0 * number, "genre": "rock",
         "confidence": 0.5, "run": run}
        for track, etag, run in sorted(runs)
        for number in range(2)
    ]  # fmt: skip
    part = made.part("segment_labels", "0", model=MODEL, run_date="2026-01-01")
    storage.write_bytes(part, encode_part(pa.Table.from_pylist(rows, SCHEMAS["segment_labels"])))
    return made, set(current_labels(made, MODEL)["track_id"].to_pylist())


def assert_each_segment_once(database: duckdb.DuckDBPyConnection, sql: str, expected: set[str]) -> None:
    found = database.execute(f"select track_id, segment, run from ({sql})").fetchall()
    assert {track for track, _, _ in found} == expected
    assert len(found) == 2 * len(expected)
    assert "killed" not in {run for _, _, run in found}


@pytest.mark.parametrize("dialect", ["duckdb", "spark", "athena"])
def test_the_view_of_segment_labels_leaves_out_what_killed_runs_left(
    segments: tuple[Tables, set[str]], dialect: Dialect
) -> None:
    """Who counts segments by genre would count those of some tracks twice."""
    made, expected = segments
    database = duckdb.connect()
    database.execute(generate_ddl(made, "duckdb"))
    statements = sqlglot.parse(generate_ddl(made, dialect), read=dialect)
    views = [s for s in statements if isinstance(s, exp.Create) and s.this.name.startswith("current_")]
    database.execute("drop view current_segment_labels")
    database.execute(views[-1].sql("duckdb"))
    assert_each_segment_once(database, "from current_segment_labels", expected)
    columns = [row[0] for row in database.execute("describe current_segment_labels").fetchall()]
    assert columns == [*SCHEMAS["segment_labels"].names, *PARTITIONS["segment_labels"]]


def test_the_sql_for_segment_labels(segments: tuple[Tables, set[str]]) -> None:
    """Whoever copies the SQL of the documentation would get segments twice."""
    made, expected = segments
    text = (ROOT / "docs" / "tables.md").read_text("utf-8")
    (sql,) = re.findall(r"```sql\n(select segment_labels.*?)```", text, flags=re.S)
    database = duckdb.connect()
    database.execute(generate_ddl(made, "duckdb"))
    assert_each_segment_once(database, sql, expected)


def test_parts_have_the_types_that_the_statements_say(tables: Tables) -> None:
    """Athena reads Parquet by declared types: another one in the file fails at query time only."""
    for table in ("tracks", "labels"):
        stored = ds.dataset(tables.folder(table), partitioning="hive").schema
        for field in SCHEMAS[table]:
            assert sql_type(stored.field(field.name).type) == sql_type(field.type)


def test_the_command(tables: Tables) -> None:
    """`earmark ddl` would print something beside SQL, which `psql`-like tools then choke on."""
    earmark = Path(sys.executable).with_name("earmark")
    done = subprocess.run([earmark, "ddl", tables.root], capture_output=True, text=True, check=True)
    assert done.stdout == generate_ddl(tables, "duckdb")
    assert done.stderr == ""
