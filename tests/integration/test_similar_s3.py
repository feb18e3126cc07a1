"""Similar tracks of tables in a bucket: each part is fetched once, and replaced parts are noticed."""

from pathlib import Path

import pytest

import earmark
from pipeline.storage import storage
from pipeline.storage.cache_folder import CACHE_VARIABLE
from pipeline.storage.requests import take_requests
from tests.table_history import TableHistory, tracks

pytestmark = pytest.mark.s3


def test_parts_are_fetched_once(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question would fetch gigabytes again, or be answered from what was there before."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    history = TableHistory(f"{bucket}/tables")
    run = history.run(tracks(4))
    history.embed("000000", {"t0000": [[1, 0]], "t0001": [[1, 1]]}, run=run)
    second = history.embed("000001", {"t0002": [[1, 2]], "t0003": [[0, 1]]}, run=run)
    opened = earmark.open_tables(history.tables.root)
    assert opened.similar("t0000")["track_id"].to_pylist() == ["t0001", "t0002", "t0003"]
    copies = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.arrow")}
    assert len(copies) == 2
    take_requests()
    again = opened.similar("t0000")
    assert again["track_id"].to_pylist() == ["t0001", "t0002", "t0003"]
    requests = take_requests()
    assert requests["GET"] > 0
    assert "PUT" not in requests, "who asks may not be allowed to write"
    storage.delete(second)
    history.embed("000001", {"t0002": [[1, 0]], "t0003": [[0, 1]]}, run=run)
    assert opened.similar("t0000")["track_id"].to_pylist() == ["t0002", "t0001", "t0003"]
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.arrow")}
    assert len(after.items() & copies.items()) == 2, "a copy was made again"
    assert len(after) == 3
