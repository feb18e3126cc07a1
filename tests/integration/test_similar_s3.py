"""Similar tracks of tables in a bucket: each part is fetched once, and replaced parts are noticed."""

from pathlib import Path

import numpy as np
import pytest

import earmark
from pipeline.shards.segment_rows import embedding_rows
from pipeline.storage import storage
from pipeline.storage.cache_folder import CACHE_VARIABLE
from pipeline.storage.requests import take_requests
from tests.table_history import MODEL, TableHistory, tracks

pytestmark = pytest.mark.s3


def write(history: TableHistory, part: str, vectors: dict[str, list[float]], run: str) -> str:
    rows = [
        {"track_id": name, "etag": "1", "segment": 0, "start_s": 0.0, "n_frames": 4, "range_db": 80.0}
        for name in vectors
    ]
    table = embedding_rows(rows, np.array([*vectors.values()], np.float32))
    history.write("embeddings", part, table, model=MODEL, run=run)
    return history.tables.part("embeddings", part, model=MODEL, run=run)


def test_parts_are_fetched_once(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question would fetch gigabytes again, or be answered from what was there before."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    history = TableHistory(f"{bucket}/tables")
    run = history.run(tracks(4))
    write(history, "000000", {"t0000": [1, 0], "t0001": [1, 1]}, run)
    second = write(history, "000001", {"t0002": [1, 2], "t0003": [0, 1]}, run)
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
    write(history, "000001", {"t0002": [1, 0], "t0003": [0, 1]}, run)
    assert opened.similar("t0000")["track_id"].to_pylist() == ["t0002", "t0001", "t0003"]
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.arrow")}
    assert len(after.items() & copies.items()) == 2, "a copy was made again"
    assert len(after) == 3
