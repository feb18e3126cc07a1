"""Spark reads the tables and what is published, as a user's notebook does. Needs PySpark and Java."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.demo.demo_catalog import N_BROKEN, write_demo_catalog
from tests.e2e.earmark import ask, read_table, succeed

pyspark_sql = pytest.importorskip("pyspark.sql", reason="pyspark is not installed")
pytestmark = [
    pytest.mark.thorough,
    pytest.mark.usefixtures("on_running_ray"),
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java"),
]
N_TRACKS = 4


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory, on_running_ray: None) -> Path:
    """Labels of two models, one of them an ensemble, and tags, failures, segments and embeddings."""
    folder = tmp_path_factory.mktemp("spark") / "it's ours"
    write_demo_catalog(folder / "music", n_tracks=N_TRACKS, duration_s=12)
    options = ("--embeddings", "--segment-labels", "--max-failure-rate", "1")
    succeed("run", folder / "music", folder / "tables", *options)
    succeed("run", folder / "music", folder / "tables", "--model", "gtzan+default", *options[2:])
    return folder / "tables"


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A session with a catalog of its own."""
    folder = tmp_path_factory.mktemp("warehouse")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        patch.setenv("SPARK_LOCAL_DIRS", str(folder))
        builder = pyspark_sql.SparkSession.builder.master("local[2]")
        builder = builder.config("spark.sql.warehouse.dir", str(folder / "warehouse"))
        builder = builder.config("spark.ui.enabled", "false").config("spark.sql.session.timeZone", "UTC")
        session = builder.getOrCreate()
        yield session
        session.stop()


def rows_of(frame: Any) -> list[dict[str, Any]]:
    """The rows of a data frame of Spark or pandas, in an order of their own."""
    found = frame.collect() if hasattr(frame, "collect") else frame.to_dict("records")
    rows = [row.asDict(recursive=True) if hasattr(row, "asDict") else row for row in found]
    return sorted(rows, key=lambda row: (row.get("model", ""), row["uri"]))


def test_the_printed_sql_makes_tables_with_all_rows_and_the_current_labels(spark: Any, tables: Path) -> None:
    """A statement that only a parser has seen fails in the notebook of whoever pasted it."""
    statements = ask("ddl", tables, "--dialect", "spark").split(";\n")
    for statement in statements:
        if statement.strip():
            spark.sql(statement)
    for table in ("tracks", "features", "labels", "segment_labels", "embeddings", "failures"):
        expected = read_table(tables, table)
        assert len(expected) > 0
        # All columns are decoded: a type that does not fit fails only then.
        assert len(spark.table(table).collect()) == len(expected), table
    found = rows_of(spark.table("current_labels"))
    assert len(found) == 2 * N_TRACKS
    for model in {row["model"] for row in found}:
        printed = json.loads(ask("labels", tables, "--model", model, "--format", "json"))
        wanted = {row["uri"]: (row["genre"], row["confidence"]) for row in printed}
        labels = {row["uri"]: (row["genre"], row["confidence"]) for row in found if row["model"] == model}
        assert labels.keys() == wanted.keys()
        for uri, (genre, confidence) in labels.items():
            assert genre == wanted[uri][0]
            assert confidence == pytest.approx(wanted[uri][1], abs=1e-6)
    segments = [row.asDict() for row in spark.table("current_segment_labels").collect()]
    assert len(segments) == len(read_table(tables, "segment_labels"))
    assert set(segments[0]) == set(read_table(tables, "segment_labels").columns)
    failed = rows_of(spark.table("failures"))
    assert len({row["uri"] for row in failed}) == N_BROKEN


def test_what_is_published_as_parquet_is_one_table(spark: Any, tables: Path, tmp_path: Path) -> None:
    """Whoever has a lake reads one table, without a window function."""
    succeed("publish", tables, tmp_path / "lake", "--format", "parquet", "--model", "default")
    found = rows_of(spark.read.parquet(os.fspath(tmp_path / "lake")))
    expected = rows_of(pd.read_parquet(tmp_path / "lake"))
    assert len(found) == N_TRACKS
    for name in ("track_id", "uri", "genre", "confidence", "artist", "title", "duration_s", "run"):
        assert [row[name] for row in found] == [row[name] for row in expected], name
