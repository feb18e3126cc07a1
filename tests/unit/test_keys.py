"""The queries of the keys, with and without an index, against the functions that they replaced."""

import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.engine.lease import LeaseLostError
from pipeline.catalogs.catalog_changes import change_rows
from pipeline.catalogs.planning import Goal
from pipeline.tables import index
from pipeline.tables.current import (
    count_current,
    current_failures,
    current_labels,
    current_tracks,
    define_current_tracks,
    find_featurized,
    list_models,
)
from pipeline.tables.index import refresh_index
from pipeline.tables.keys import KEY_COLUMNS, open_keys
from pipeline.tables.maintenance.compact.replacement import replace_parts
from pipeline.tables.objects import group_by_partition, list_objects
from pipeline.tables.tables import Tables
from schemas.errors import DecodeError, EarmarkError, LabelError, NotFoundError, ReadError
from schemas.features import FeatureSpec
from schemas.tables import LISTING
from tests import slow_tables
from tests.plans import plan_tables
from tests.table_history import MODEL, TableHistory, tracks
from tests.unit.test_planning import History, listing

pytestmark = pytest.mark.slow

SPEC = FeatureSpec()
SPECS = (SPEC, SPEC.model_copy(update={"descriptors": True}), SPEC.model_copy(update={"mel_hop": 512}))
GOALS = [
    Goal(spec, model, retry)
    for spec in SPECS[:2]
    for model in (None, "m-1", "m-2")
    for retry in (False, True)
]
GOALS += [
    Goal(spec, model, retry, embeddings=True)
    for spec in SPECS[:2]
    for model in ("m-1", "m-2")
    for retry in (False, True)
]
NIGHTS = [Goal(SPEC, "m-1"), Goal(SPEC, "m-1", embeddings=True)]
ERRORS = (DecodeError("no"), NotFoundError("gone"), ReadError("503"), LabelError("nan"))

versions = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["1", "2", "missing"]), max_size=5)
events = st.one_of(
    st.tuples(st.just("listed"), versions, st.booleans()),
    st.tuples(st.just("featurized"), versions, st.sampled_from(SPECS)),
    st.tuples(st.just("labeled"), versions, st.sampled_from(["m-1", "m-2"])),
    st.tuples(st.just("embedded"), versions, st.sampled_from(["m-1", "m-2"])),
    st.tuples(st.just("failed"), versions, st.sampled_from(ERRORS), st.sampled_from([None, "m-1", "m-2"])),
    st.tuples(st.just("indexed")),
)


def refresh(tables: Tables) -> None:
    with open_keys(tables) as keys:
        keys.load(*KEY_COLUMNS)
        refresh_index(keys, lambda: None)


def play(history: History, happened: list[tuple[Any, ...]]) -> None:
    for kind, *rest in happened:
        history.now += timedelta(seconds=7)
        if kind == "indexed":
            refresh(history.tables)
        elif not rest[0]:
            continue
        elif kind == "listed":
            history.listed(rest[1], **rest[0])
        elif kind == "featurized":
            history.featurized(rest[1], **rest[0])
        elif kind == "labeled":
            history.labeled(rest[1], **rest[0])
        elif kind == "embedded":
            history.embedded(rest[1], **rest[0])
        else:
            history.failed(rest[1], model=rest[2], **rest[0])


def assert_same(found: pa.Table, slow: pa.Table, *, ordered: bool = True) -> None:
    assert found.schema.names == slow.schema.names
    assert found.schema.types == slow.schema.types
    rows, expected = found.to_pylist(), slow.to_pylist()
    if not ordered:
        rows, expected = sorted(rows, key=repr), sorted(expected, key=repr)
    assert rows == expected


def compare(tables: Tables, listed: pa.Table, now: datetime, goals: Sequence[Goal] = GOALS) -> None:
    """Hold every question's answer against that of the slow functions."""
    for goal in goals:
        made, slow = plan_tables(listed, tables, goal), slow_tables.make_plan(listed, tables, goal)
        assert (made.n_labeled, made.n_failed) == (slow.n_labeled, slow.n_failed)
        for name in ("listing", "to_featurize", "to_label", "changed", "gone", "to_embed", "embedded"):
            assert_same(getattr(made, name), getattr(slow, name), ordered=name != "gone")
        for name in ("to_featurize", "to_label"):  # which are joined to one plan
            assert getattr(made, name).schema.equals(getattr(slow, name).schema)
        assert_same(change_rows(made, tables, now), slow_tables.change_rows(slow, tables, now), ordered=False)
    assert_same(current_tracks(tables), slow_tables.current_tracks(tables))
    more = ("listed_at", "genre_tag", "run")
    assert_same(current_tracks(tables, more), slow_tables.current_tracks(tables, more))
    assert list_models(tables) == slow_tables.list_models(tables)
    for model in {goals[0].model, None}:
        assert_same(current_failures(tables, model), slow_tables.current_failures(tables, model))
    assert_same(current_labels(tables, "m-1"), slow_tables.current_labels(tables, "m-1"))
    with open_keys(tables) as keys:
        define_current_tracks(keys)
        counted = count_current(keys, "labels", "m-1"), count_current(keys, "embeddings", "m-1")
        for sets in ([SPEC.feature_set], GOALS[0].feature_sets, ["none"]):
            found = find_featurized(keys, sets, LISTING.names)
            assert_same(found, slow_tables.featurized_tracks(tables, sets, LISTING.names))
    assert counted == (
        slow_tables.count_current_labels(tables, "m-1"),
        slow_tables.count_current_embeddings(tables, "m-1"),
    )


@pytest.mark.slow
@given(st.lists(events, max_size=10), versions, st.sampled_from(GOALS))
@settings(max_examples=10, deadline=None)
def test_any_history_gives_the_rows_that_the_slow_functions_give(
    happened: list[tuple[Any, ...]],
    listed: dict[str, str],
    goal: Goal,
) -> None:
    """A track would be labeled twice, or never; or a stale label shown; whatever the index holds."""
    with TemporaryDirectory() as folder:
        history = History(Path(folder))
        play(history, happened)
        compare(history.tables, listing(**listed), history.now + timedelta(days=1), [goal])


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of changed, gone, failed, unlabeled, embedded and twice featurized tracks, and their index."""
    history = History(tmp_path_factory.mktemp("indexed"))
    history.listed(a="1", b="1", c="1", d="1", e="1", g="1", h="1")
    history.featurized(a="1", b="1", c="1", g="1", h="1")
    history.labeled(a="1", b="1", g="1")
    history.embedded(b="1", h="1")
    refresh(history.tables)
    history.listed(a="2")
    history.listed(False, b="1")
    history.featurized(a="2", c="1")
    history.labeled("m-2", a="1")
    history.embedded(c="1")
    history.failed(DecodeError("no"), d="1")
    history.failed(LabelError("nan"), model="m-1", c="1")
    refresh(history.tables)
    return Path(history.tables.root)


Damage = Callable[[list[Path]], None]


def _swap(files: list[Path]) -> None:
    contents = [file.read_bytes() for file in files]
    for file, content in zip(files, [*contents[1:], contents[0]], strict=True):
        file.write_bytes(content)


def _to_other_tables(files: list[Path]) -> None:
    folders = [file.parent for file in files]
    moved = [file.rename(file.with_suffix(".moved")) for file in files]
    for file, folder in zip(moved, [*folders[1:], folders[0]], strict=True):
        file.rename(folder / file.with_suffix(".parquet").name)


def _remove(files: list[Path]) -> None:
    for file in files:
        file.unlink()


def _rename(files: list[Path]) -> None:
    for number, file in enumerate(files):
        file.rename(file.with_name(f"{number}.parquet"))


def _each(change: Callable[[bytes], bytes]) -> Damage:
    def damage(files: list[Path]) -> None:
        for file in files:
            file.write_bytes(change(file.read_bytes()))

    return damage


DAMAGES: dict[str, Damage] = {
    "none": lambda files: None,
    "removed": _remove,
    "one removed": lambda files: files[0].unlink(),
    "cut off": _each(lambda data: data[: len(data) // 2]),
    "empty": _each(lambda data: b""),
    "a flipped bit at the start": _each(lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:]),
    "a flipped bit at the end": _each(lambda data: data[:-40] + bytes([data[-40] ^ 1]) + data[-39:]),
    "not Parquet": _each(lambda data: b"<html>502 Bad Gateway</html>"),
    "each in the place of another": _swap,
    "each in the folder of another table": _to_other_tables,
    "unreadable names": _rename,
}
FEW = ("removed", "a flipped bit at the end", "each in the place of another", "unreadable names")


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage", [pytest.param(name, marks=() if name in FEW else pytest.mark.thorough) for name in DAMAGES]
)
def test_no_damage_to_the_index_changes_an_answer(indexed: Path, tmp_path: Path, damage: str) -> None:
    """A disk that flips a bit of a cache would make a night label tracks twice, or not at all."""
    tables = Tables(str(tmp_path / "tables"))
    shutil.copytree(indexed, tables.root)  # which keeps the times of the parts
    files = sorted((tmp_path / "tables" / "_index").rglob("*.parquet"))
    assert {file.parent.name for file in files} == set(KEY_COLUMNS)
    DAMAGES[damage](files)
    listed, later = listing(a="2", c="1", d="1", f="1", g="1", h="1"), datetime(2027, 1, 1, tzinfo=UTC)
    compare(tables, listed, later, NIGHTS)
    refresh(tables)
    compare(tables, listed, later, NIGHTS)
    with open_keys(tables) as keys:
        keys.load(*KEY_COLUMNS)
        assert not any(keys.fresh.values()), "the index is not whole again"


@pytest.mark.slow
def test_parts_that_changed_behind_the_index_are_read_again(indexed: Path, tmp_path: Path) -> None:
    """Tables restored from a backup, compacted or cleaned by hand must not be planned from memory."""
    tables = Tables(str(tmp_path / "tables"))
    shutil.copytree(indexed, tables.root)
    labels = sorted((tmp_path / "tables" / "labels").rglob("*.parquet"))
    labels[0].unlink()
    for table in ("tracks", "features", "embeddings"):
        first = sorted((tmp_path / "tables" / table).rglob("*.parquet"))[0]
        first.write_bytes(first.read_bytes())  # the same rows, written again
    features = sorted((tmp_path / "tables" / "features").rglob("*.parquet"))[-1]
    features.rename(features.with_name("elsewhere.parquet"))
    compare(
        tables,
        listing(a="2", c="1", d="1", f="1", g="1", h="1"),
        datetime(2027, 1, 1, tzinfo=UTC),
        GOALS[::3],
    )


@pytest.mark.parametrize("folder", ["part=7", "model=x", "feature_set=x", "a*[b]'c"])
def test_names_of_the_folders_above_the_tables_mean_nothing(
    indexed: Path, tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below a folder named like a partition, all tracks would seem to lack labels and get a second one."""
    (tmp_path / folder).mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    tables = Tables(str(tmp_path / folder / "tables"))
    shutil.copytree(indexed, tables.root)
    listed = listing(a="2", c="1", d="1", f="1", g="1", h="1")
    compare(tables, listed, datetime(2027, 1, 1, tzinfo=UTC), NIGHTS)


def test_key_files_may_be_removed_while_they_are_used(indexed: Path, tmp_path: Path) -> None:
    """A run that merges them would end the `status` of a colleague with an error."""
    tables = Tables(str(tmp_path / "tables"))
    shutil.copytree(indexed, tables.root)
    with open_keys(tables) as keys:
        keys.load("labels")
        shutil.rmtree(tmp_path / "tables" / "_index")
        found = keys.query("SELECT track_id FROM labels")
    assert found.num_rows == tables.read("labels", ["track_id"]).num_rows


def test_a_part_that_cannot_be_indexed_does_not_fail_a_finished_run(indexed: Path, tmp_path: Path) -> None:
    """A run that labeled every track would be reported as failed for a table that it never needed."""
    tables = Tables(str(tmp_path / "tables"))
    shutil.copytree(indexed, tables.root, ignore=shutil.ignore_patterns("_index"))
    part = sorted((tmp_path / "tables" / "embeddings").rglob("*.parquet"))[0]
    part.write_bytes(part.read_bytes()[:-50])
    index.update_index(tables, lambda: None)

    def lost() -> None:
        raise LeaseLostError("taken over")

    with pytest.raises(LeaseLostError):
        index.update_index(tables, lost)


def test_damaged_parts_are_said_though_the_index_holds_their_keys(tmp_path: Path) -> None:
    """A cache that hides a damaged part until its rows are needed would be worse than none."""
    history = History(tmp_path)
    history.listed(a="1")
    history.labeled(a="1")
    refresh(history.tables)
    (part,) = (tmp_path / "labels").rglob("*.parquet")
    part.write_bytes(part.read_bytes()[:-50])
    with pytest.raises(EarmarkError, match="cannot be read"):
        plan_tables(listing(a="1"), history.tables, Goal(SPEC, "m-1"))


@pytest.mark.slow
def test_many_nights_leave_few_key_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A year of nights would leave a file for each, and every command would open all of them."""
    monkeypatch.setattr(index, "_KEEP_S", -1.0)
    history = TableHistory(tmp_path)
    for night in range(17):
        history.run(tracks(3, start=3 * night))
        refresh(history.tables)
    files = {table: len(list((tmp_path / "_index" / table).iterdir())) for table in ("tracks", "labels")}
    assert max(files.values()) <= 6
    with open_keys(history.tables) as keys:
        keys.load(*KEY_COLUMNS)
        assert not any(keys.fresh.values())
        assert keys.query("SELECT count(*) AS n FROM labels")["n"].to_pylist() == [51]


def test_large_key_files_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file of ten million rows could be neither fetched nor written in one request."""
    monkeypatch.setattr(index, "MAX_ROWS", 10)
    history = TableHistory(tmp_path)
    history.run(tracks(30))
    refresh(history.tables)
    assert len(list((tmp_path / "_index" / "labels").iterdir())) == 4
    assert_same(current_labels(history.tables, MODEL), slow_tables.current_labels(history.tables, MODEL))


def test_key_files_do_not_keep_the_rows_of_merged_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each compaction leaves the keys of all that it merged, and every command reads them for ever."""
    monkeypatch.setattr(index, "_KEEP_S", -1.0)
    monkeypatch.setattr(index, "MAX_ROWS", 40)
    history = TableHistory(tmp_path)
    history.run(tracks(32))
    refresh(history.tables)
    history.run(tracks(8, start=32), shard_tracks=8)
    refresh(history.tables)
    stored = list_objects(history.tables)
    groups = group_by_partition(stored.parts["labels"])
    first, last = groups.items()
    assert (len(first[1]), len(last[1])) == (8, 1)
    replace_parts(history.tables, {first[0]: first[1][:7]}, target_bytes=1 << 20, check=lambda: None)
    for _ in range(2):
        refresh(history.tables)
    with open_keys(history.tables) as keys:
        keys.load("labels")
        assert sum(file.n_rows for file, _ in keys.files["labels"]) == 40
        assert not keys.fresh["labels"]
    before = sorted(path.name for path in (tmp_path / "_index" / "labels").iterdir())
    refresh(history.tables)
    assert sorted(path.name for path in (tmp_path / "_index" / "labels").iterdir()) == before
    assert_same(current_labels(history.tables, MODEL), slow_tables.current_labels(history.tables, MODEL))


def test_names_with_any_character_are_told_apart(tmp_path: Path) -> None:
    """A NUL, a quote or a letter of another case in an id would end the query, or merge two tracks."""
    history = History(tmp_path)
    odd = {
        "x\0y": "1",
        "x'y": "1",
        "X'Y": "1",
        'x"; DROP TABLE tracks': "1",
        "é": "1",
        "e\u0301": "1",
        "": "1",
    }
    history.listed(**odd)
    history.labeled(**dict.fromkeys(list(odd)[:3], "1"))
    refresh(history.tables)
    made = plan_tables(listing(**odd), history.tables, Goal(SPEC, "m-1"))
    assert made.to_featurize["track_id"].to_pylist() == list(odd)[3:]
    assert made.changed.num_rows == made.gone.num_rows == 0
