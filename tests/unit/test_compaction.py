"""Compaction: fewer parts with the same rows, at any moment and after any crash."""

import errno
import multiprocessing
import os
import resource
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from jobs.compact import compact_job, plan_compact_job
from pipeline.storage import storage
from pipeline.tables.index import update_index
from pipeline.tables.keys import KEY_COLUMNS, open_keys
from pipeline.tables.maintenance.compact import replacement
from pipeline.tables.maintenance.compact.atomic_swap import swap
from pipeline.tables.maintenance.compact.compaction import compact, plan_compaction
from pipeline.tables.maintenance.compact.compaction_log import LOG_FOLDER, LogEntry, recover_compactions
from pipeline.tables.maintenance.compact.replacement import replace_parts
from pipeline.tables.objects import list_objects
from pipeline.tables.tables import Tables
from schemas.errors import EarmarkError, StoreError
from schemas.tables import PARTITIONS
from tests.table_history import MODEL, SPEC, TableHistory, tracks

TABLES = tuple(PARTITIONS)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> TableHistory:
    made = TableHistory(tmp_path_factory.mktemp("original"))
    made.model()
    made.run(tracks(40), failing=tracks(6, start=40), shard_tracks=4)
    made.run(tracks(10, etag="2"), shard_tracks=2, unchanged=36)
    return made


@pytest.fixture
def history(original: TableHistory, tmp_path: Path) -> TableHistory:
    return original.copy(tmp_path / "tables")


def rows(tables: Tables, table: str) -> Counter[str]:
    """Return the multiset of a table's rows, as pandas reads them."""
    folder = Path(tables.folder(table))
    if not folder.exists():
        return Counter()
    return Counter(repr(row) for row in pq.read_table(folder).to_pylist())


def all_rows(tables: Tables) -> dict[str, Counter[str]]:
    return {table: rows(tables, table) for table in TABLES}


def n_parts(tables: Tables) -> dict[str, int]:
    return {table: len(parts) for table, parts in list_objects(tables).parts.items()}


def compact_all(tables: Tables, check: Callable[[], None] = lambda: None, target: int = 128 << 20) -> None:
    recover_compactions(tables, check)
    stored = list_objects(tables)
    plans = plan_compaction(stored, target_bytes=target, older_than_days=0)
    compact(stored, plans, target_bytes=target, check=check)


def without_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacement, "swap", lambda first, second: False)


@pytest.fixture(params=["swap", "log"])
def protocol(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of replacing parts: by atomic swap on Linux disks, and with the compaction log elsewhere."""
    if request.param == "log":
        without_exchange(monkeypatch)
    return str(request.param)


def test_parts_are_merged_within_partitions_and_rows_stay(history: TableHistory, protocol: str) -> None:
    """Ten million tracks leave eighty thousand parts; compaction leaves a few, with the same rows."""
    before = all_rows(history.tables)
    compact_all(history.tables)
    assert all_rows(history.tables) == before
    assert n_parts(history.tables) == {
        "tracks": 2, "features": 2, "labels": 2, "segment_labels": 0, "embeddings": 0,
        "failures": 1,
    }  # fmt: skip
    assert not Path(history.tables.root, LOG_FOLDER).exists()
    (part, _) = sorted(Path(history.tables.folder("labels", model=MODEL)).rglob("*.parquet"))
    assert b"genres" in pq.read_schema(part).metadata
    (part, _) = sorted(Path(history.tables.folder("features")).rglob("*.parquet"))
    file = pq.ParquetFile(part)
    assert SPEC.model_dump_json().encode() == file.schema_arrow.metadata[b"feature_spec"]
    assert file.schema_arrow.field("log_mel").metadata[b"description"]


def test_a_second_compaction_finds_nothing_to_do(history: TableHistory) -> None:
    """A nightly compaction would write the same rows again every night."""
    target = 200_000
    compact_all(history.tables, target=target)
    stored = list_objects(history.tables)
    assert all(not plan.groups for plan in plan_compaction(stored, target_bytes=target, older_than_days=0))


@pytest.mark.parametrize("damaged", [False, True], ids=["whole", "damaged"])
def test_several_parts_are_built_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    """Log-mels of thousands of tracks are encoded again: on one core, a large machine waits for minutes."""
    history = TableHistory(tmp_path)
    history.run(tracks(60), shard_tracks=2, n_frames=387)
    parts = sorted(Path(history.tables.folder("features")).rglob("*.parquet"))
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    target = 4 * parts[0].stat().st_size
    before, threads = all_rows(history.tables), threading.active_count()
    if damaged:
        whole = parts[17].read_bytes()
        parts[17].write_bytes(whole[: len(whole) // 2])
        with pytest.raises(EarmarkError, match=f"{parts[17].name}.* cannot be merged"):
            compact_all(history.tables, target=target)
        parts[17].write_bytes(whole)
        assert not list(tmp_path.rglob("merged-*")), "what was built beside it is gone"
    compact_all(history.tables, target=target)
    assert all_rows(history.tables) == before
    assert n_parts(history.tables)["features"] < len(parts) / 2
    assert threading.active_count() == threads


def test_an_interrupt_ends_what_is_being_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is removed while threads write into it would stay, and Ctrl-C would wait for them."""
    history = TableHistory(tmp_path)
    history.run(tracks(60), shard_tracks=2, n_frames=387)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    before, threads = all_rows(history.tables), threading.active_count()
    left = []

    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    def remove(folder: Path, **options: object) -> None:
        left.append(threading.active_count() - threads)

    monkeypatch.setattr(replacement, "_publish", interrupt)
    monkeypatch.setattr(shutil, "rmtree", remove)
    with pytest.raises(KeyboardInterrupt):
        compact_all(history.tables, target=1_000_000)
    assert left == [0]
    monkeypatch.undo()
    assert all_rows(history.tables) == before


def test_merged_parts_reach_the_target_and_large_ones_are_left_alone(tmp_path: Path) -> None:
    """One part of a terabyte would be as bad for readers as a million small ones."""
    history = TableHistory(tmp_path)
    run = history.run(tracks(60), shard_tracks=2, n_frames=387)
    big = history.features(list(tracks(40, start=100).items()), 387)
    kept = Path(history.write("features", "big", big, feature_set=SPEC.feature_set, run=run))
    inode = kept.stat().st_ino
    compact_all(history.tables, target=3_500_000)
    sizes = {path.name: path.stat().st_size for path in kept.parent.iterdir()}
    assert kept.stat().st_ino == inode
    assert sorted(size > 3_400_000 for size in sizes.values()) == [False, True, True, True]
    assert max(sizes.values()) < 7_000_000
    merged = max(
        (path for path in kept.parent.iterdir() if path != kept), key=lambda path: path.stat().st_size
    )
    metadata = pq.read_metadata(merged)
    groups = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    assert (groups[0], max(groups)) == (64, 64)


def test_young_partitions_and_single_parts_are_left_alone(history: TableHistory) -> None:
    """A partition that is still being written to would be merged again and again."""
    assert all(not plan.groups for plan in plan_compact_job(history.tables, older_than_days=1, target_mb=128))
    plans = plan_compact_job(history.tables, older_than_days=0, target_mb=128)
    assert {plan.table: plan.small for plan in plans if plan.small} == {
        "tracks": 17, "features": 15, "labels": 15, "failures": 2,
    }  # fmt: skip


def test_parts_of_other_schemas_are_not_mixed(history: TableHistory, protocol: str) -> None:
    """Labels of another taxonomy would be read with the wrong genres' names."""
    run = "20260103T030000-0000"
    other = history.labels([("x1", "1")], run).replace_schema_metadata({"genres": '["a"]'})
    history.write("labels", f"{run}-zzz", other, model=MODEL, run_date="2026-01-03")
    before = all_rows(history.tables)
    compact_all(history.tables)
    assert all_rows(history.tables) == before
    parts = Path(history.tables.folder("labels", model=MODEL, run_date="2026-01-03")).iterdir()
    assert len({pq.read_schema(part).metadata[b"genres"] for part in parts}) == 2


def test_a_damaged_part_is_named_and_nothing_is_lost(history: TableHistory, protocol: str) -> None:
    """A part that cannot be read must stop the compaction, not disappear."""
    part = next(iter(sorted(Path(history.tables.folder("labels")).rglob("*.parquet"))))
    part.write_bytes(part.read_bytes()[:-40])
    names = {path.relative_to(history.tables.root) for path in Path(history.tables.root).rglob("*.parquet")}
    with pytest.raises(EarmarkError, match=f"{part.name} cannot be merged"):
        compact_all(history.tables)
    there = {path.relative_to(history.tables.root) for path in Path(history.tables.root).rglob("*.parquet")}
    assert {name for name in there if name.parts[0] == "labels"} == {
        name for name in names if name.parts[0] == "labels"
    }
    assert not list(Path(history.tables.root, LOG_FOLDER).glob("work-*"))


def test_a_merge_that_fails_leaves_no_file_open(history: TableHistory) -> None:
    """A program that compacts one bucket after the other would run out of files, and of the disk that the
    half-built parts take although their names are gone."""
    sources = list_objects(history.tables).parts["labels"]
    second = Path(history.tables.root, sources[1].path)
    second.write_bytes(second.read_bytes()[:-40])
    with pytest.raises(EarmarkError, match="cannot be merged") as caught:
        compact_all(history.tables)
    opened = [os.readlink(entry.path) for entry in os.scandir("/proc/self/fd") if os.path.islink(entry.path)]
    assert not [path for path in opened if "/building" in path], caught


@pytest.mark.parametrize("table", ["labels", "features"])
def test_a_full_disk_is_named(history: TableHistory, table: str) -> None:
    """``earmark compact`` ended in an internal error, or blamed the part that it was reading."""
    stored = list_objects(history.tables)
    plans = plan_compaction(stored, target_bytes=128 << 20, older_than_days=0)
    of_table = [plan for plan in plans if plan.table == table]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    try:
        with pytest.raises(StoreError, match=f"cannot build a merged part in .*{LOG_FOLDER}") as caught:
            compact(stored, of_table, target_bytes=128 << 20, check=lambda: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "verify" not in str(caught.value)
    assert list_objects(history.tables).objects == stored.objects


def test_leftovers_of_another_user_are_named(history: TableHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What root's killed compaction left ended each later one in an internal error."""

    def refuse(folder: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    Path(history.tables.root, LOG_FOLDER, "work-1").mkdir(parents=True)
    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(StoreError, match=f"a killed compaction left in .*{LOG_FOLDER}: access is denied"):
        recover_compactions(history.tables, lambda: None)


class _Reader(threading.Thread):
    """Reads the labels repeatedly in one way, and records what it saw and the errors it raised."""

    def __init__(self, read: Callable[[], Counter[tuple[str, str]]]) -> None:
        super().__init__()
        self._read = read
        self.stop = threading.Event()
        self.reading = threading.Lock()
        self.seen: list[Counter[tuple[str, str]]] = []
        self.errors: list[Exception] = []

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                with self.reading:
                    self.seen.append(self._read())
            except (OSError, duckdb.Error, pa.ArrowInvalid) as error:
                self.errors.append(error)


def _pandas(tables: Tables) -> Callable[[], Counter[tuple[str, str]]]:
    def read() -> Counter[tuple[str, str]]:
        frame = pd.read_parquet(tables.folder("labels"), columns=["track_id", "etag"])
        return Counter(zip(frame["track_id"], frame["etag"], strict=True))

    return read


def _duckdb(tables: Tables) -> Callable[[], Counter[tuple[str, str]]]:
    pattern = f"{tables.folder('labels')}/*/*/*.parquet"

    def read() -> Counter[tuple[str, str]]:
        sql = "select track_id, etag from read_parquet(?, hive_partitioning = true)"
        with duckdb.connect() as connection:
            return Counter(connection.execute(sql, [pattern]).fetchall())

    return read


@pytest.mark.slow
@pytest.mark.parametrize("reader", [_pandas, _duckdb])
def test_on_local_disk_no_reader_sees_a_double_or_a_gap(
    history: TableHistory, reader: Callable[[Tables], Callable[[], Counter[tuple[str, str]]]]
) -> None:
    """An analyst's query during the nightly compaction must be right or fail with an error."""
    expected = reader(history.tables)()
    thread = _Reader(reader(history.tables))
    thread.start()
    partition = Path(history.tables.folder("labels", model=MODEL, run_date="2026-01-02"))
    originals = {path.name: path.read_bytes() for path in partition.iterdir()}
    for _ in range(15):
        compact_all(history.tables)
        assert len(list(partition.iterdir())) == 1
        # Cut it up again, unseen by readers, so that the next round merges again.
        fresh = partition.parent.parent / "_fresh"
        fresh.mkdir()
        for name, data in originals.items():
            (fresh / name).write_bytes(data)
        with thread.reading:
            assert swap(fresh, partition)
        shutil.rmtree(fresh)
    thread.stop.set()
    thread.join()
    assert thread.seen
    assert all(seen == expected for seen in thread.seen)


def _killed_at(root: str, step: int, with_log: bool) -> None:
    """Compact in this process until its `step`-th write or removal, then die as if by kill -9."""
    left = step

    def die() -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    real_delete = storage.delete

    def delete(location: str, **options: Any) -> None:
        die()
        real_delete(location, **options)

    def exchange_then_die(first: Path, second: Path) -> bool:
        done = not with_log and swap(first, second)
        die()
        return done

    patch = pytest.MonkeyPatch()
    patch.setattr(storage, "delete", delete)
    patch.setattr(replacement, "swap", exchange_then_die)
    compact_all(Tables(root), die)


@pytest.mark.slow
@pytest.mark.parametrize("with_log", [False, True])
def test_a_compaction_killed_at_any_step_is_finished_by_the_next(tmp_path: Path, with_log: bool) -> None:
    """After kill -9 at any step no row is lost, and after the next compaction none is duplicated."""
    original = TableHistory(tmp_path / "original")
    original.run(tracks(12), failing=tracks(4, start=12), shard_tracks=4)
    expected = all_rows(original.tables)
    context = multiprocessing.get_context("fork")
    for step in range(1, 100):
        root = tmp_path / f"step-{step}"
        shutil.copytree(original.tables.root, root)
        process = context.Process(target=_killed_at, args=(str(root), step, with_log))
        process.start()
        process.join()
        tables = Tables(str(root))
        seen = all_rows(tables)
        for table in TABLES:
            # No gap, ever; doubles only where folders cannot be exchanged, and until the next compaction.
            assert set(seen[table]) == set(expected[table])
            if not with_log:
                assert seen[table] == expected[table]
        compact_all(tables)
        assert all_rows(tables) == expected
        assert not (root / LOG_FOLDER).exists()
        shutil.rmtree(root)
        if process.exitcode == 0:
            break
    assert process.exitcode == 0
    assert step > (20 if with_log else 6)


def test_a_damaged_merged_part_of_a_killed_compaction_is_named(history: TableHistory) -> None:
    """The message must name the file, and say what to do before rows are lost."""
    tables = history.tables
    sources = list_objects(tables).parts["failures"]
    folder = f"{tables.root}/{sources[0].folder}"
    names = tuple(part.name for part in sources)
    entry = LogEntry(partition=sources[0].folder, merged="merged-x.parquet", rows=6, sources=names)
    storage.write_bytes(entry.location(tables.root), entry.model_dump_json().encode())
    expected = all_rows(tables)
    whole = storage.read_bytes(f"{tables.root}/{sources[0].path}")
    for damaged in (b"", whole[:100], whole[:-4] + b"????"):
        storage.write_bytes(f"{folder}/merged-x.parquet", damaged)
        with pytest.raises(EarmarkError, match=r"merged-x\.parquet.* is damaged .*delete it and run again"):
            recover_compactions(tables, lambda: None)
    storage.delete(f"{folder}/merged-x.parquet")
    assert recover_compactions(tables, lambda: None) == 1
    assert all_rows(tables) == expected


@pytest.mark.parametrize(
    ("partition", "name"),
    [
        ("failures", "../../mine.txt"),
        ("..", "mine.txt"),
        ("failures/..", "mine.txt"),
        ("failures/run=1/../../..", "mine.txt"),
    ],
)
def test_a_log_from_others_removes_nothing_outside_the_tables(
    history: TableHistory, partition: str, name: str
) -> None:
    """A run on tables that somebody else gave would remove any file of its user."""
    mine = Path(history.tables.root).parent / "mine.txt"
    mine.write_text("mine")
    entry = LogEntry.model_construct(partition=partition, merged=None, rows=0, sources=(name,))
    storage.write_bytes(entry.location(history.tables.root), entry.model_dump_json().encode())
    with pytest.raises(EarmarkError, match=r"is not a valid entry of the compaction log.*move it out"):
        recover_compactions(history.tables, lambda: None)
    assert mine.exists()


def test_rows_that_are_not_kept_are_left_out(history: TableHistory, protocol: str) -> None:
    """When vacuum rewrites parts without rows of replaced content, exactly the other rows must remain."""
    stored = list_objects(history.tables)
    (first, _) = stored.parts["failures"]

    def keep(table: pa.Table) -> pa.Table:
        return table.filter(pc.equal(table["track_id"], "t0040"))

    replace_parts(
        history.tables,
        {first.folder: stored.parts["failures"]},
        target_bytes=1,
        check=lambda: None,
        keep=keep,
    )
    assert history.tables.read("failures", ["track_id"])["track_id"].to_pylist() == ["t0040"]
    assert n_parts(history.tables)["failures"] == 1


def test_the_job_works_under_the_lease_and_says_what_it_did(history: TableHistory) -> None:
    """A compaction during a run would change the tables under it; the lease must keep it out."""
    said: list[str] = []
    tables = {
        table.table: table
        for table in compact_job(history.tables, older_than_days=0, target_mb=128, say=said.append)
    }
    assert (tables["labels"].parts_before, tables["labels"].parts_after, tables["labels"].merged) == (
        15,
        2,
        15,
    )
    assert tables["labels"].bytes_after < tables["labels"].bytes_before
    assert storage.list_names(f"{history.tables.root}/_lease") == ["00000001.json"]
    assert not said


def test_merged_parts_are_in_the_index(history: TableHistory) -> None:
    """Otherwise every question reads the keys of the merged parts whole, until the next run."""
    update_index(history.tables, lambda: None)
    compact_job(history.tables, older_than_days=0, target_mb=128, say=lambda _: None)
    with open_keys(history.tables) as keys:
        keys.load(*KEY_COLUMNS)
        assert not sum(map(len, keys.fresh.values()))


def test_a_table_that_was_moved_to_another_disk_is_listed_through_its_link(
    history: TableHistory, tmp_path: Path
) -> None:
    """Readers follow it: if the listing did not, a run would do everything again, and purge miss rows."""
    before = list_objects(history.tables).objects
    root = Path(history.tables.root)
    (root / "labels").rename(tmp_path / "elsewhere")
    (root / "labels").symlink_to(tmp_path / "elsewhere")
    (root / "features" / "again").symlink_to(root)
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    assert list_objects(history.tables).objects == before
