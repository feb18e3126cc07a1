"""Tables on the disk: the rows of a listing that is too large for the memory of a small head node."""

import gc
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.storage import table_on_disk
from pipeline.storage.table_on_disk import collect_on_disk, sort_on_disk
from schemas.errors import EarmarkError

SCHEMA = pa.schema(
    [("name", pa.string()), ("size", pa.int64()), ("carried", pa.map_(pa.string(), pa.string()))]
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.none() | st.text(),
            "size": st.none() | st.integers(-(2**63), 2**63 - 1),
            "carried": st.none() | st.lists(st.tuples(st.text(), st.text()), max_size=2),
        }
    ),
    max_size=5,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def batch(*rows: Mapping[str, object]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), SCHEMA)


@given(st.lists(ROWS, max_size=4))
def test_a_table_has_the_rows_of_its_batches(groups: list[list[dict[str, object]]]) -> None:
    """Fails: tracks of a large catalog are lost, or get another's version."""
    batches = [batch(*rows) for rows in groups]
    assert collect_on_disk(batches, SCHEMA).equals(pa.Table.from_batches(batches, SCHEMA))


@given(st.lists(ROWS, max_size=4), st.integers(1, 4))
def test_a_sorted_table_is_that_of_arrow(groups: list[list[dict[str, object]]], at_once: int) -> None:
    """Fails: labels of a large catalog are exported in another order, or under another track's name."""
    found = [row for rows in groups for row in rows]
    rows = [{**row, "name": f"{row.get('name')}-{number}"} for number, row in enumerate(found)]
    table = collect_on_disk([batch(*rows[:3]), batch(*rows[3:])], SCHEMA)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_on_disk, "_ROWS_AT_ONCE", at_once)
        assert sort_on_disk(table, "name").equals(table.sort_by("name"))


def test_a_sorted_table_is_not_in_memory_either(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails: an export of the labels needs as much memory as there are labels."""
    monkeypatch.setattr(table_on_disk, "_ROWS_AT_ONCE", 1_000)
    rows = batch(*({"name": f"{number * 7919 % 10_000:04}" + "x" * 1000} for number in range(10_000)))
    table = collect_on_disk([rows], SCHEMA)
    del rows
    before = pa.total_allocated_bytes()
    ordered = sort_on_disk(table, "name")
    assert pa.total_allocated_bytes() - before < table.nbytes / 10
    assert ordered["name"][17].as_py().startswith("0017x")
    assert list(folder.iterdir()) == []


def test_the_rows_are_not_in_memory_and_leave_no_file(folder: Path) -> None:
    """Fails: a listing of gigabytes fills the memory of the head, or its disk night after night."""
    rows = batch(*({"name": "x" * 1000, "size": number} for number in range(10_000)))
    before = pa.total_allocated_bytes()
    table = collect_on_disk([rows] * 10, SCHEMA)
    assert pa.total_allocated_bytes() - before < rows.nbytes
    assert list(folder.iterdir()) == []
    assert table["size"][-1].as_py() == 9_999
    assert "earmark-rows" in Path("/proc/self/maps").read_text()
    del table
    gc.collect()
    assert "earmark-rows" not in Path("/proc/self/maps").read_text()


_KILLED = """
import os, sys, pyarrow as pa
from pipeline.storage.table_on_disk import collect_on_disk

def pages():
    yield pa.record_batch({"a": [1]})
    print(len(os.listdir(os.environ["TMPDIR"])), flush=True)
    os.kill(os.getpid(), 9)

collect_on_disk(pages(), pa.schema([("a", pa.int64())]))
"""


def test_what_a_killed_listing_leaves_is_removed_by_the_next(folder: Path) -> None:
    """Fails: each night that is killed while it lists leaves gigabytes on the disk of the head."""
    environment = os.environ | {"TMPDIR": str(folder)}
    killed = subprocess.run([sys.executable, "-c", _KILLED], env=environment, capture_output=True, text=True)
    assert (killed.returncode, killed.stdout) == (-9, "1\n")
    assert collect_on_disk([batch({"name": "a"})], SCHEMA).num_rows == 1
    assert list(folder.iterdir()) == []


def test_a_full_disk_is_named(folder: Path) -> None:
    """Fails: the user looks for the fault in the catalog."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(EarmarkError, match="free space there, or set TMPDIR") as caught:
            collect_on_disk([batch({"name": "x" * 1000, "size": 1})] * 1000, SCHEMA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(folder) in str(caught.value)
    assert list(folder.iterdir()) == []


def test_errors_of_the_listing_stay_what_they_are(folder: Path) -> None:
    """Fails: a folder that cannot be read is reported as a full disk."""

    def pages() -> Iterator[pa.RecordBatch]:
        yield batch({"name": "a"})
        raise PermissionError(13, "Permission denied", "/music/private")

    with pytest.raises(PermissionError):
        collect_on_disk(pages(), SCHEMA)
    assert list(folder.iterdir()) == []
