"""verify, compact and vacuum on a real S3 server, and after real runs."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.engine.lease import LeaseLostError
from pipeline.demo.demo_catalog import N_BROKEN, write_demo_catalog
from pipeline.models.bundle import ModelBundle
from pipeline.storage import late_writes, storage
from pipeline.tables.current import current_labels
from pipeline.tables.maintenance.compact import replacement
from pipeline.tables.maintenance.compact.compaction import compact, plan_compaction
from pipeline.tables.maintenance.compact.compaction_log import LOG_FOLDER, read_log, recover_compactions
from pipeline.tables.maintenance.verify.verification import verify
from pipeline.tables.objects import list_objects
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables
from schemas.tables import PARTITIONS
from tests.e2e.earmark import ask, earmark, succeed
from tests.integration.test_s3 import upload
from tests.slow_joins import read_whole
from tests.table_history import MODEL, TableHistory, tracks

pytestmark = pytest.mark.s3

_TARGET = 128 << 20


def rows(tables: Tables) -> dict[str, Counter[str]]:
    """Return the multiset of each table's rows as a raw reader sees them."""
    return {
        table: Counter(repr(row) for row in read_whole(tables, table).to_pylist())
        for table in PARTITIONS
        if tables.dataset(table) is not None
    }


def compact_all(tables: Tables) -> None:
    recover_compactions(tables, lambda: None)
    stored = list_objects(tables)
    plans = plan_compaction(stored, target_bytes=_TARGET, older_than_days=0)
    compact(stored, plans, target_bytes=_TARGET, check=lambda: None)


class Killed(BaseException):
    """Ends a compaction immediately. Nothing on the bucket is cleaned up, as after kill -9."""


def _kill_at(step: int, patch: pytest.MonkeyPatch) -> None:
    """Stop all work on the store just before or after its `step`-th write or removal."""
    left = step

    def die() -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            raise Killed

    def dying(function: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: object, **options: object) -> None:
            die()
            function(*arguments, **options)
            die()

        return call

    patch.setattr(replacement, "_put", dying(replacement._put))
    patch.setattr(storage, "delete", dying(storage.delete))
    patch.setattr(storage, "write_bytes", dying(storage.write_bytes))


@pytest.mark.thorough
def test_a_compaction_of_a_bucket_that_dies_at_any_step_loses_nothing(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the sources of a merged part are removed, rows are there twice; none may ever be missing."""
    history = TableHistory(bucket)
    history.model()
    history.run(tracks(2), shard_tracks=1)
    tables = history.tables
    expected, labels = rows(tables), current_labels(tables, MODEL)
    originals = {
        location: storage.read_bytes(location)
        for location in map(list_objects(tables).location, list_objects(tables).parts["labels"])
    }
    for step in range(1, 100):
        with monkeypatch.context() as patch:
            _kill_at(step, patch)
            died = False
            try:
                compact_all(tables)
            except Killed:
                died = True
        seen = rows(tables)
        assert {table: set(found) for table, found in seen.items()} == {
            table: set(found) for table, found in expected.items()
        }
        # Whoever takes the newest row of each key sees what was there before.
        assert current_labels(tables, MODEL) == labels
        kinds = {finding.kind for finding in verify(tables, read_reports(tables)).findings}
        assert kinds <= {"killed compaction", "duplicated by compaction"}
        assert ("duplicated by compaction" in kinds) == (seen != expected)
        compact_all(tables)
        assert rows(tables) == expected
        assert storage.list_names(f"{tables.root}/{LOG_FOLDER}") == []
        if not died:
            break
        # Only the labels are cut up again, which keeps the number of steps down.
        for part in list_objects(tables).parts["labels"]:
            storage.delete(f"{tables.root}/{part.path}")
        for location, data in originals.items():
            storage.write_bytes(location, data)
    assert not died
    assert step > 8
    assert verify(tables, read_reports(tables), deep=True).findings == ()


@pytest.mark.parametrize(
    ("meanwhile", "stays"),
    [("undone", False), ("undone and begun anew", True), ("nothing", True), ("finished", True)],
)
def test_a_merged_part_that_is_late_is_taken_back_only_if_it_was_undone(
    bucket: str, monkeypatch: pytest.MonkeyPatch, meanwhile: str, stays: bool
) -> None:
    """Rows would stand there twice for good; or, if the next run has removed their old parts, nowhere."""
    history = TableHistory(bucket)
    history.run(tracks(2), shard_tracks=1)
    tables = history.tables
    expected = rows(tables)
    stored = list_objects(tables)
    groups = {part.folder: stored.parts["labels"] for part in stored.parts["labels"]}
    monkeypatch.setattr(late_writes, "LATE_S", 0.0)
    put, lost = replacement._put, []

    def slow_put(file: Path, location: str, check: storage.Check) -> None:
        (entry,) = read_log(tables)
        if "undone" in meanwhile:
            recover_compactions(tables, lambda: None)
        if "anew" in meanwhile:
            storage.write_bytes(entry.location(bucket), entry.model_dump_json().encode())
        put(file, location, check)
        if meanwhile == "finished":
            recover_compactions(tables, lambda: None)
        lost.append(location)

    def check() -> None:
        if lost:
            raise LeaseLostError("another run has taken over")

    monkeypatch.setattr(replacement, "_put", slow_put)
    with pytest.raises(LeaseLostError):
        replacement.replace_parts(tables, groups, target_bytes=_TARGET, check=check)
    assert storage.exists(lost[0]) == stays
    recover_compactions(tables, lambda: None)
    assert rows(tables) == expected


@pytest.mark.thorough
def test_care_of_a_bucket_from_the_command_line(bucket: str, tmp_path: Path) -> None:
    """The data engineer's month: run, verify, compact, vacuum, another model, and the next night's run."""
    write_demo_catalog(tmp_path / "catalog", n_tracks=10, duration_s=10)
    music, tables = f"{bucket}/music", f"{bucket}/tables"
    upload(tmp_path / "catalog", music)
    (tmp_path / "settings.toml").write_text("part_mb = 0\n")  # as runs that could not merge leave them
    succeed("run", music, tables, "--config", tmp_path / "settings.toml")
    before = ask("labels", tables, "--format", "csv")
    said = ask("verify", tables, "--catalog", music, "--deep")
    assert f"{10 + N_BROKEN} tracks: 10 labeled, {N_BROKEN} failed, none missing, none duplicated" in said
    assert "features" in succeed("compact", tables, "--older-than", "0")
    parts = list_objects(Tables(tables)).parts
    assert {
        len(found) for table, found in parts.items() if table not in ("segment_labels", "embeddings")
    } == {1}
    succeed("vacuum", tables, "--older-than", "0", "--delete", "--rewrite")
    assert "nothing to remove" in succeed("vacuum", tables, "--older-than", "0")
    assert ask("labels", tables, "--format", "csv") == before
    assert succeed("run", music, tables).startswith("nothing to do")
    assert "none missing, none duplicated" in ask("verify", tables, "--deep")
    # Compacted features serve another model as well as fresh ones.
    bundle = ModelBundle.load("default")
    other = bundle.info.model_copy(update={"name": "other", "temperature": 9.0})
    ModelBundle(other, bundle.weights).save(tmp_path / "other")
    succeed("label", tables, "--model", tmp_path / "other")
    assert len(ask("labels", tables, "--model", "other", "--format", "csv").splitlines()) == 1 + 10
    assert "none missing, none duplicated" in ask("verify", tables)
    # A part that is lost is found.
    (lost,) = [part for part in list_objects(Tables(tables)).parts["labels"] if bundle.model in part.path]
    storage.delete(f"{tables}/{lost.path}")
    found = earmark("verify", tables)
    assert (found.returncode, "FAULT missing" in found.stdout) == (1, True)
