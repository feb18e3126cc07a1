"""The database of the keys: what does not fit into its memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.tables import database
from pipeline.tables.database import Database, open_connection
from pipeline.tables.objects import list_objects
from pipeline.tables.tables import Tables
from schemas.errors import EarmarkError

LARGE = "SELECT len(list(i || ' is the number of a track')) AS n FROM range(2_000_000) AS numbers (i)"
"""A query that cannot spill, of about 100 MB."""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setattr(database, "MEMORY_MB", 32)
    with open_connection() as (connection, scratch):
        yield Database(list_objects(Tables(str(tmp_path))), connection, scratch)


def test_a_query_gets_the_memory_that_it_needs(small: Database) -> None:
    """`earmark status` and `labels` of ten million tracks would fail, and speak of a full disk."""
    assert small.query(LARGE)["n"].to_pylist() == [2_000_000]
    small.define("kept", LARGE)
    small.insert("kept", LARGE)
    assert small.count("FROM kept") == 2


def test_a_stream_gets_the_memory_that_it_needs(small: Database) -> None:
    """The places of the labels, and what the index merges, are streamed."""
    assert small.stream(LARGE).read_all()["n"].to_pylist() == [2_000_000]


def test_a_query_that_needs_too_much_is_explained(small: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command would take the memory of the whole machine, until the system kills others."""
    monkeypatch.setattr(database, "MOST_MEMORY_MB", 64)
    with pytest.raises(EarmarkError, match="do not fit into memory and"):
        small.define("kept", LARGE)
    assert small.count("SELECT 1") == 1
