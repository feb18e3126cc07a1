"""A run merges its own parts at its end, where that is safe, and its rows stay what they were."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.engine import lease as leases
from jobs.run import merging
from jobs.run.merging import merge_parts_of_run
from jobs.run.request import Job
from pipeline.models.bundle import ModelBundle
from pipeline.storage import storage
from pipeline.tables.current import current_labels
from pipeline.tables.keys import Keys
from pipeline.tables.maintenance.compact import compaction, replacement
from pipeline.tables.maintenance.verify.verification import verify
from pipeline.tables.objects import list_objects
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables
from schemas.config import RunConfig
from schemas.errors import EarmarkError
from tests.table_history import MODEL, TableHistory, tracks
from tests.unit.test_compaction import all_rows, n_parts

pytestmark = pytest.mark.slow

SMALL = {"tracks": 6, "features": 5, "labels": 5, "segment_labels": 0, "embeddings": 0, "failures": 1}
MERGED = {"tracks": 1, "features": 1, "labels": 1, "segment_labels": 0, "embeddings": 0, "failures": 1}


@pytest.fixture
def history(tmp_path: Path) -> TableHistory:
    """Two runs on two days: the second labels 20 tracks in five shards and fails on one."""
    made = TableHistory(tmp_path / "tables")
    made.model()
    made.run(tracks(8))
    made.run(tracks(20, etag="2"), failing=tracks(1, start=20), shard_tracks=4, unchanged=0)
    return made


@pytest.fixture
def held(history: TableHistory) -> Iterator[leases.HeldLease]:
    with leases.hold_for_workers(history.tables.root, "the-run", say=print) as held:
        yield held


def merge(tables: Tables, held: leases.HeldLease, **settings: object) -> dict[str, int]:
    """Merge the parts of the last run; how many parts it has afterwards."""
    job = Job("run", "/music", tables, RunConfig(**settings), ModelBundle.load("gtzan"))
    (report,) = read_reports(tables, last=1)
    merge_parts_of_run(job, report, held)
    return parts_of_last_run(tables)


def parts_of_last_run(tables: Tables) -> dict[str, int]:
    (report,) = read_reports(tables, last=1)
    stored = list_objects(tables).parts
    return {
        table: sum(f"run={report.run}" in part.path or part.name.startswith(report.run) for part in parts)
        for table, parts in stored.items()
    }


def test_a_night_leaves_one_part_a_table(history: TableHistory, held: leases.HeldLease) -> None:
    """Ten thousand new tracks would leave two hundred objects, and every reader would open each, for ever."""
    before, total = all_rows(history.tables), n_parts(history.tables)
    assert parts_of_last_run(history.tables) == SMALL
    assert merge(history.tables, held) == MERGED
    assert all_rows(history.tables) == before
    merged = {table: SMALL[table] - MERGED[table] for table in SMALL}
    assert n_parts(history.tables) == {table: total[table] - merged[table] for table in total}, (
        "parts of the run before stay, also those of its day"
    )
    assert not verify(history.tables, read_reports(history.tables)).faulty


def test_no_dictionary_of_log_mels_is_tried(history: TableHistory, held: leases.HeldLease) -> None:
    """A fifth of the time to write features, and to merge them, goes into a dictionary that is not used."""

    def encodings() -> list[dict[str, tuple[str, ...]]]:
        parts = Path(history.tables.folder("features")).rglob("*.parquet")
        groups = [pq.read_metadata(part).row_group(0) for part in parts]
        return [
            {group.column(number).path_in_schema: group.column(number).encodings for number in range(8)}
            for group in groups
        ]

    before = encodings()
    assert merge(history.tables, held) == MERGED
    merged = encodings()
    assert len(merged) < len(before)
    for written in before + merged:
        assert "RLE_DICTIONARY" in written["track_id"]
        assert "RLE_DICTIONARY" not in written["log_mel"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"part_mb": 0}, SMALL),
        ({"keep_features": "30"}, MERGED | {"features": SMALL["features"]}),
    ],
    ids=["part_mb = 0", "keep_features = 30"],
)
def test_what_the_settings_leave_alone(
    history: TableHistory, held: leases.HeldLease, settings: dict[str, object], expected: dict[str, int]
) -> None:
    """Features are removed part by part: in a merged part, one track that failed would keep all others."""
    assert merge(history.tables, held, **settings) == expected


def test_after_a_worker_was_lost_nothing_is_merged(history: TableHistory, held: leases.HeldLease) -> None:
    """It may still write a part that was merged, and its rows would be there twice."""
    held.is_settled = False
    assert merge(history.tables, held) == SMALL


def test_features_of_a_large_run_are_left_to_compact(
    history: TableHistory, held: leases.HeldLease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster would wait for hours while one process copies a terabyte."""
    stored = list_objects(history.tables).parts
    monkeypatch.setattr(compaction, "MAX_RUN_BYTES", sum(part.size for part in stored["tracks"]))
    left = merge(history.tables, held)
    assert left == MERGED | {"features": SMALL["features"]}


def test_parts_that_are_large_enough_stay(
    history: TableHistory, held: leases.HeldLease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On two cores, copying the features of thousands of tracks took 7 % of the run."""
    smallest = min(part.size for part in list_objects(history.tables).parts["features"])
    monkeypatch.setattr(compaction, "RUN_PART_BYTES", smallest)
    assert merge(history.tables, held)["features"] == SMALL["features"]


def test_parts_that_cannot_be_merged_stay_as_they_are(history: TableHistory, held: leases.HeldLease) -> None:
    """All labels are written: a full disk, or a damaged part of features, must not fail the run."""
    (report,) = read_reports(history.tables, last=1)
    features = next(Path(history.tables.folder("features")).rglob(f"run={report.run}/*.parquet"))
    features.write_bytes(features.read_bytes()[:-9])
    left = merge(history.tables, held)
    assert left["features"] == SMALL["features"]
    assert left["tracks"] == MERGED["tracks"]


def test_a_merge_on_a_store_that_fails_is_waited_for(
    history: TableHistory, held: leases.HeldLease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was given up may still arrive: a purge in between would be undone by it."""
    monkeypatch.setattr(leases.HeldLease, "is_local", False)
    monkeypatch.setattr(merging, "compact", _fail)
    assert merge(history.tables, held) == SMALL
    assert not held.is_settled
    monkeypatch.undo()
    assert merge(history.tables, held) == SMALL, "and not merged later"


def _fail(*arguments: object, **options: object) -> None:
    raise EarmarkError("the store does not answer")


def test_a_lost_lease_ends_the_run(
    history: TableHistory, held: leases.HeldLease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run writes now: nothing of this one may follow."""

    def lose(*arguments: object, **options: object) -> None:
        raise leases.LeaseLostError("another run has taken over")

    monkeypatch.setattr(merging, "compact", lose)
    with pytest.raises(leases.LeaseLostError):
        merge(history.tables, held)


def test_who_reads_while_parts_are_merged_reads_again(
    history: TableHistory, held: leases.HeldLease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`earmark labels` at the end of the night would say that a table does not exist."""
    expected = current_labels(history.tables, MODEL)
    load = Keys.load
    merged: list[dict[str, int]] = []

    def load_late(self: Keys, *names: str) -> None:
        if not merged:
            merged.append(merge(history.tables, held))
        load(self, *names)

    monkeypatch.setattr(Keys, "load", load_late)
    assert current_labels(history.tables, MODEL).equals(expected)
    assert merged == [MERGED]


def test_a_killed_merge_is_finished_first(
    history: TableHistory, held: leases.HeldLease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On S3, rows that a killed merge left twice would be merged into one part, and stay."""
    monkeypatch.setattr(replacement, "swap", lambda first, second: False)
    before = all_rows(history.tables)

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(replacement, "finish_replacement", die)
        with pytest.raises(KeyboardInterrupt):
            merge(history.tables, held)
    (entry,) = Path(history.tables.root, "_compaction").glob("*.json")
    assert json.loads(entry.read_text())["sources"]
    assert all_rows(history.tables) != before, "there for a moment: rows twice"
    assert merge(history.tables, held)["tracks"] <= 1
    assert all_rows(history.tables) == before
    assert not storage.exists(str(entry))
