"""Vacuum: only objects that no run refers to are removed; labels, runs and verification do not change."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.vacuum import vacuum_job
from pipeline.catalogs.planning import Goal
from pipeline.storage import storage
from pipeline.tables.current import current_failures, current_labels, current_tracks
from pipeline.tables.maintenance.compact import replacement
from pipeline.tables.maintenance.compact.compaction import compact, plan_compaction
from pipeline.tables.maintenance.vacuum import VacuumOptions, plan_vacuum
from pipeline.tables.maintenance.verify.verification import verify
from pipeline.tables.objects import StoredObject, StoredObjects, list_objects
from pipeline.tables.runs import log_location, read_reports
from pipeline.tables.tables import VERSION_KEY
from schemas.features import FeatureSpec
from schemas.report import Counts
from schemas.tables import LISTING
from tests.plans import plan_tables
from tests.table_history import MODEL, SPEC, TableHistory, tracks

pytestmark = pytest.mark.slow

NOW_OLD = VacuumOptions(older_than_days=0)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> TableHistory:
    """Ten tracks, of which the first four and one other change, and two leave the catalog."""
    made = TableHistory(tmp_path_factory.mktemp("original"))
    made.model()
    made.run(tracks(10) | tracks(2, start=20), failing=tracks(2, start=10))
    made.run(tracks(4, etag="2") | {"t0005": "2"}, unchanged=7, gone=tracks(2, start=20))
    return made


@pytest.fixture
def history(original: TableHistory, tmp_path: Path) -> TableHistory:
    return original.copy(tmp_path / "tables")


def found(history: TableHistory, options: VacuumOptions = NOW_OLD) -> dict[str, int]:
    removals = plan_vacuum(list_objects(history.tables), read_reports(history.tables), options)
    return {removal.kind: len(removal.objects) for removal in removals}


def vacuum(history: TableHistory, options: VacuumOptions = NOW_OLD) -> None:
    vacuum_job(history.tables, options, delete=True, say=print)


def state(history: TableHistory) -> list[pa.Table]:
    """Return the current rows, and what a run would consider processed."""
    tables = history.tables
    listing = current_tracks(tables, tuple(LISTING.names)).select(LISTING.names)
    plan = plan_tables(listing, tables, Goal(SPEC, MODEL))
    counts = pa.table({"n": [plan.n_labeled, plan.n_failed, plan.n_todo, plan.gone.num_rows]})
    return [current_labels(tables, MODEL), current_failures(tables), counts]


def features(history: TableHistory) -> set[tuple[str, str]]:
    rows = history.tables.read("features", list(VERSION_KEY)).to_pylist()
    return {(row["track_id"], row["etag"]) for row in rows}


def test_nothing_is_removed_unless_asked(history: TableHistory) -> None:
    """Without --delete, someone who only wants to look would lose data."""
    before = list_objects(history.tables).objects
    removals = vacuum_job(history.tables, NOW_OLD, delete=False, say=print)
    assert {removal.kind: len(removal.objects) for removal in removals} == {
        "features of tracks that changed or left": 1, "plans of finished runs": 2,
    }  # fmt: skip
    assert all(removal.size > 0 for removal in removals)
    assert list_objects(history.tables).objects == before


def test_what_holds_now_holds_after(history: TableHistory) -> None:
    """Labels, failures and the next run's plan must not change by a byte, and verify must find no fault."""
    before = state(history)
    assert before[2]["n"].to_pylist() == [10, 2, 0, 0]
    vacuum(history)
    assert state(history) == before
    assert verify(history.tables, read_reports(history.tables)).findings == ()
    gone = {(name, "1") for name in ("t0000", "t0001", "t0002", "t0003")}
    assert not features(history) & gone
    # Rows in parts that hold current ones too stay, until they are asked for.
    assert ("t0005", "1") in features(history)
    vacuum(history, VacuumOptions(0, rewrite=True))
    assert features(history) == {
        *tracks(10).items(), *tracks(4, etag="2").items(), ("t0005", "2"),
    } - gone - {("t0005", "1")}  # fmt: skip
    assert state(history) == before
    assert verify(history.tables, read_reports(history.tables)).findings == ()
    assert found(history) == {}


def test_another_model_labels_what_is_left(history: TableHistory) -> None:
    """Without the features of present content, another model would have to decode it again."""
    vacuum(history, VacuumOptions(0, rewrite=True))
    listing = current_tracks(history.tables, tuple(LISTING.names)).select(LISTING.names)
    plan = plan_tables(listing, history.tables, Goal(SPEC, "other-0000000000"))
    assert (plan.to_label.num_rows, plan.to_featurize.num_rows) == (10, 0)
    assert all(storage.exists(part) for part in plan.to_label["part"].to_pylist())


def _aged(history: TableHistory, days: float) -> None:
    moment = time.time() - days * 86400
    for path in Path(history.tables.root).rglob("*"):
        os.utime(path, (moment, moment))


def test_nothing_young_goes(history: TableHistory) -> None:
    """It must be possible to undo today's mistake tomorrow."""
    assert found(history, VacuumOptions(older_than_days=7)) == {}
    _aged(history, 30)
    kinds = {"features of tracks that changed or left": 1, "plans of finished runs": 2}
    assert found(history, VacuumOptions(older_than_days=7)) == kinds
    assert found(history, VacuumOptions(older_than_days=1e6)) == {}


def test_content_that_left_the_catalog_lately_keeps_its_features(tmp_path: Path) -> None:
    """A catalog that was half mounted for a night must not cost the decoding of the other half."""
    history = TableHistory(tmp_path)
    history.now = datetime.now(UTC) - timedelta(days=5)
    history.run(tracks(4))
    history.run({}, gone=tracks(4))  # three days ago
    _aged(history, 30)
    assert "features of tracks that changed or left" in found(history, VacuumOptions(older_than_days=2))
    assert "features of tracks that changed or left" not in found(history, VacuumOptions(older_than_days=4))


def test_the_plan_of_a_run_that_was_killed_stays(history: TableHistory) -> None:
    """The plan says what is unfinished; once a later run has processed it, the plan can be removed."""
    history.run(tracks(2, start=30), outcome="running", unchanged=12)
    assert found(history)["plans of finished runs"] == 2
    history.run(tracks(1, start=33), unchanged=14)
    assert found(history)["plans of finished runs"] == 4


def test_logs_go_as_plans_do(history: TableHistory) -> None:
    """A file a night adds up; that of a run that failed is wanted until it is made good."""
    history.run(tracks(2, start=30), outcome="running", unchanged=12)
    runs = [report.run for report in read_reports(history.tables)]
    for run in runs:
        storage.write_bytes(log_location(history.tables, run), b"{}")
    _aged(history, 30)
    assert found(history)["logs of finished runs"] == len(runs) - 1
    vacuum(history)
    assert storage.read_bytes(log_location(history.tables, runs[-1])) == b"{}"
    assert len(read_reports(history.tables)) == len(runs)


def test_leftovers_models_and_leases(history: TableHistory) -> None:
    """Leftovers of crashes and trials are removed; models with labels and the newest lease stay."""
    root = Path(history.tables.root)
    (root / "labels" / ".tmp-123").write_bytes(b"x" * 100)
    (root / "_runs" / ".tmp-456").write_bytes(b"x")
    work = root / "_compaction" / "work-1"
    work.mkdir(parents=True)
    (work / "building").write_bytes(b"x")
    (work / ".tmp-789").write_bytes(b"x")  # counts once
    history.model("trial-0123456789")
    for number in (1, 2, 3):
        storage.write_bytes(f"{root}/_lease/{number:08}.json", b'{"released": true}')
    (root / "_lease" / "Thumbs.db").touch()  # sorts after the newest lease
    assert found(history) == {
        "leftovers of killed writers": 3, "killed compactions": 1,
        "features of tracks that changed or left": 1, "models without labels": 2,
        "plans of finished runs": 2, "old leases": 2,
    }  # fmt: skip
    vacuum(history)
    assert not list(root.rglob(".tmp-*"))
    assert not (root / "_compaction").exists()
    assert os.listdir(root / "_models") == [MODEL]
    assert storage.list_names(f"{root}/_lease") == ["00000004.json", "Thumbs.db"]
    assert len(read_reports(history.tables)) == 2


def test_a_young_killed_compaction_is_finished_before_parts_are_rewritten(
    history: TableHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its merged part is too recent for vacuum but its sources are not: rows of both would remain forever."""

    class KilledError(Exception):
        pass

    def killed(*_: object) -> None:
        raise KilledError

    before = state(history)
    _aged(history, days=9)
    stored = list_objects(history.tables)
    plans = plan_compaction(stored, target_bytes=1 << 27, older_than_days=0)
    with monkeypatch.context() as patched:
        patched.setattr(replacement, "swap", lambda first, second: False)
        patched.setattr(replacement, "finish_replacement", killed)
        with pytest.raises(KilledError):
            compact(
                stored,
                [plan for plan in plans if plan.table == "features"],
                target_bytes=1 << 27,
                check=lambda: None,
            )
    vacuum(history, VacuumOptions(older_than_days=7, rewrite=True))
    vacuum(history, VacuumOptions(older_than_days=0, rewrite=True))
    assert verify(history.tables, read_reports(history.tables)).sound
    assert state(history) == before


def test_unused_feature_sets_go_only_when_asked(history: TableHistory) -> None:
    """No network uses descriptors, but someone may have waited a week for them."""
    spec = FeatureSpec(log_mel=False, descriptors=True)
    rows = history.features([("t0000", "2")])
    rows = rows.replace_schema_metadata({"feature_spec": spec.model_dump_json()})
    run = f"{history.now:%Y%m%dT%H%M%S}-0001"
    history.report(run, Counts(listed=12, labeled=1, labeled_before=11), command="featurize", model=None)
    history.write("features", "0", rows, feature_set=spec.feature_set, run=run)
    assert "features that no kept model uses" not in found(history)
    asked = VacuumOptions(0, unused_feature_sets=True)
    assert found(history, asked)["features that no kept model uses"] == 1
    vacuum(history, asked)
    assert os.listdir(history.tables.folder("features")) == [f"feature_set={SPEC.feature_set}"]
    assert verify(history.tables, read_reports(history.tables)).findings == ()


def test_rows_that_no_listing_has_named_are_not_taken_for_gone(history: TableHistory) -> None:
    """If the track history is damaged, vacuum must not treat all features as stale."""
    for part in Path(history.tables.folder("tracks")).rglob("*.parquet"):
        part.unlink()
    before = features(history)
    vacuum(history, VacuumOptions(0, rewrite=True))
    assert features(history) == before


def test_the_work_grows_with_the_number_of_objects(
    history: TableHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails: with the parts of a year, a search of a list for each of them takes hours."""
    n, old = 1000, 0.0
    paths = [
        *(f"features/feature_set=unused/run=r/{number:06}.parquet" for number in range(n)),
        *(f"_models/unused-{number:010}/model.keras" for number in range(n)),
        *(f"_lease/{number:010}.json" for number in range(n)),
    ]
    added = tuple(StoredObject(path, 1, old) for path in paths)
    stored = StoredObjects(
        history.tables,
        tuple(sorted(list_objects(history.tables).objects + added, key=lambda entry: entry.path)),
    )
    compared = 0
    equal = StoredObject.__eq__

    def counting(one: StoredObject, other: object) -> bool:
        nonlocal compared
        compared += 1
        return equal(one, other)

    monkeypatch.setattr(StoredObject, "__eq__", counting)
    options = VacuumOptions(older_than_days=0, unused_feature_sets=True)
    removals = {removal.kind: len(removal.objects) for removal in plan_vacuum(stored, [], options)}
    assert removals["features that no kept model uses"] == n
    assert removals["models without labels"] == n
    assert removals["old leases"] == n - 1
    assert compared < 3 * n
