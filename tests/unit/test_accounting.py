"""The account at the end of a run, counted in the tables."""

import contextlib
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jobs.engine.assignment import Totals
from jobs.run import planned_run
from jobs.run.accounting import account_for
from jobs.run.request import make_job
from jobs.run.run import run_job
from pipeline.shards.segment_rows import embedding_rows
from pipeline.tables.objects import list_objects
from pipeline.tables.runs import read_reports
from schemas.config import RunConfig
from schemas.errors import EarmarkError
from tests.table_history import MODEL, TableHistory, tracks


@pytest.fixture
def history(tmp_path: Path) -> TableHistory:
    history = TableHistory(tmp_path / "tables")
    history.run(tracks(8), failing=tracks(4, start=8), shard_tracks=2)
    return history


@pytest.mark.parametrize("table", ["labels", "failures"])
def test_parts_that_a_listing_shows_late_are_waited_for(history: TableHistory, table: str) -> None:
    """A store that lists a part a second after it was written must not fail the night as not balanced."""
    (report,) = read_reports(history.tables)
    last = Path(history.tables.root, list_objects(history.tables).parts[table][-1].path)
    hidden = last.rename(last.with_name(f".{last.name}"))
    showing = threading.Timer(0.7, hidden.rename, [last])
    showing.start()
    counts = account_for(history.tables, report, Totals(labeled=8, failed=4)).counts
    showing.join()
    assert (counts.labeled, counts.failed, counts.left) == (8, 4, 0)


def test_genres_of_as_many_tracks_are_in_the_order_of_their_names(history: TableHistory) -> None:
    """Two runs over the same music print and record their genres in different orders."""
    (report,) = read_reports(history.tables)
    genres = Counter({"rock": 1, "metal": 2, "country": 2, "blues": 3})
    report = account_for(history.tables, report, Totals(labeled=8, failed=4, genres=genres))
    assert list(report.genres) == ["blues", "country", "metal", "rock"]


def test_what_workers_did_not_write_is_not_waited_for(
    history: TableHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every run that is interrupted, or fails, would end a quarter of a minute later."""
    (report,) = read_reports(history.tables)
    report = report.model_copy(update={"counts": report.counts.model_copy(update={"listed": 20})})
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("waits"))
    assert account_for(history.tables, report, Totals(labeled=8, failed=4)).counts.left == 8


def test_a_damaged_part_of_failures_is_said(history: TableHistory) -> None:
    """A run that finds its account damaged must say which table it is, not that something internal failed."""
    (report,) = read_reports(history.tables)
    part = Path(history.tables.root, list_objects(history.tables).parts["failures"][0].path)
    part.write_bytes(part.read_bytes()[:-40])
    with pytest.raises(EarmarkError, match=r"a part of .*failures cannot be read"):
        account_for(history.tables, report, Totals(labeled=8, failed=4))


def test_only_the_parts_of_the_run_are_opened(history: TableHistory) -> None:
    """Each night would open every part of labels and failures that was ever written."""
    history.run(tracks(4, start=20), failing=tracks(2, start=30))
    first, second = read_reports(history.tables)
    mine = {"labels": f"/{second.run}-", "failures": f"run={second.run}/"}
    for table, named in mine.items():
        for part in list_objects(history.tables).parts[table]:
            if named not in part.path:
                Path(history.tables.root, part.path).write_bytes(b"damaged")
    counts = account_for(history.tables, second, Totals(labeled=4, failed=2)).counts
    assert (counts.labeled, counts.failed, counts.left) == (4, 2, 0)
    with pytest.raises(EarmarkError, match="cannot be read"):
        account_for(history.tables, first, Totals(labeled=8, failed=4))


def test_tracks_that_had_a_label_and_got_embeddings_are_counted(history: TableHistory) -> None:
    """The night that adds embeddings to an old catalog would end as not balanced; or hide a double vector."""
    run = history.run(tracks(4, start=20))
    report = read_reports(history.tables)[-1]
    counts = report.counts.model_copy(update={"listed": 6})
    report = report.model_copy(update={"config": {"embeddings": True}, "counts": counts})

    def embed(name: str, track_ids: list[str]) -> None:
        segments = [
            {
                "track_id": each,
                "etag": "1",
                "segment": number,
                "start_s": 0.0,
                "n_frames": 4,
                "range_db": 80.0,
            }
            for each in track_ids
            for number in range(3)
        ]
        rows = embedding_rows(segments, np.ones((len(segments), 2), np.float32))
        history.write("embeddings", name, rows, model=MODEL, run=run)

    embed("000000", [*tracks(4, start=20), *tracks(2)])
    accounted = account_for(history.tables, report, Totals(labeled=4, embedded=2))
    counts = accounted.counts
    assert (counts.labeled, counts.embedded, counts.failed, counts.left) == (4, 2, 0, 0)
    assert accounted.balanced
    embed("000001", list(tracks(1, start=20)))
    assert not account_for(history.tables, report, Totals(labeled=4, embedded=2)).balanced


@pytest.mark.parametrize("in_the_way", [("labels",), ("_runs",), ("labels", "_runs")])
def test_what_fails_after_the_work_does_not_hide_why_the_work_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_the_way: tuple[str, ...]
) -> None:
    """The node that cannot write is to be repaired, and the error names a report that was not written."""
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "track.mp3").touch()
    tables = tmp_path / "tables"

    @contextlib.contextmanager
    def fail(config: RunConfig) -> Iterator[None]:
        for name in in_the_way:
            shutil.rmtree(tables / name, ignore_errors=True)
            (tables / name).touch()
        raise EarmarkError("node 10.0.0.1 cannot do the work")
        yield

    monkeypatch.setattr(planned_run, "connected", fail)
    job = make_job("run", str(tmp_path / "music"), str(tables), RunConfig())
    with pytest.raises(EarmarkError, match=r"node 10\.0\.0\.1"):
        run_job(job, lambda sentence: None)
    if "_runs" not in in_the_way:
        (report,) = read_reports(job.tables)
        assert (report.outcome, report.error) == ("failed", "node 10.0.0.1 cannot do the work")
