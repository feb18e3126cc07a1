"""Features that are not kept: what is labeled stays labeled, once, and nothing else is removed."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.run.features_removal import remove_features
from jobs.run.request import Job, make_job
from pipeline.catalogs.planning import Goal, Plan
from pipeline.models.ensemble import load_bundle
from pipeline.shards.segment_rows import embedding_rows
from pipeline.storage import storage
from pipeline.tables.current import current_failures, current_labels, current_tracks
from pipeline.tables.maintenance.compact import compaction_log
from pipeline.tables.maintenance.labeled_features import remove_labeled_features
from pipeline.tables.maintenance.verify.findings import Verification
from pipeline.tables.maintenance.verify.verification import verify
from pipeline.tables.runs import read_reports
from schemas.config import RunConfig
from schemas.errors import LabelError, MisuseError, StoreError
from schemas.tables import LISTING
from tests.plans import plan_tables
from tests.table_history import MODEL, SPEC, TableHistory, failed, tracks
from tests.unit.test_maintenance_queries import OTHER, play, runs

pytestmark = pytest.mark.slow


def remove(history: TableHistory, *, model: str = MODEL, days: float = 0, embeddings: bool = False) -> int:
    return remove_labeled_features(
        history.tables, model, SPEC.feature_set, days, lambda: None, embeddings=embeddings
    )


def parts(history: TableHistory) -> list[str]:
    folder = Path(history.tables.folder("features"))
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet"))


def plan(history: TableHistory, model: str | None = MODEL, *, embeddings: bool = False) -> Plan:
    listing = current_tracks(history.tables, tuple(LISTING.names)).select(LISTING.names)
    return plan_tables(listing, history.tables, Goal(SPEC, model, embeddings=embeddings))


def planned(found: Plan) -> tuple[object, ...]:
    """What a run would do, apart from where the features are."""
    work = [found.to_featurize["track_id"].to_pylist(), found.to_label["track_id"].to_pylist()]
    return found.n_labeled, found.n_failed, work, found.gone.num_rows


def state(history: TableHistory) -> list[object]:
    """What commands say of the model's tracks."""
    failures = [current_failures(history.tables, model) for model in (None, MODEL)]
    return [planned(plan(history)), current_labels(history.tables, MODEL), *failures]


def check(history: TableHistory) -> Verification:
    return verify(history.tables, read_reports(history.tables))


@pytest.fixture
def history(tmp_path: Path) -> TableHistory:
    """Twelve labeled tracks in three parts, and one that failed."""
    made = TableHistory(tmp_path / "tables")
    made.model()
    made.run(tracks(12), failing={"broken": "1"})
    return made


def test_labeled_tracks_stay_labeled_without_features(history: TableHistory) -> None:
    """The next night would decode the whole catalog again, or verify cry that everything is lost."""
    before = state(history)
    size = sum(path.stat().st_size for path in Path(history.tables.folder("features")).rglob("*.parquet"))
    assert remove(history) == size
    assert parts(history) == []
    assert state(history) == before
    assert planned(plan(history))[:2] == (12, 1)
    assert check(history).findings == ()
    assert remove(history) == 0
    history.run({"t0001": "2", "new": "1"}, unchanged=11)
    assert remove(history) > 0
    assert planned(plan(history))[:2] == (13, 1)
    assert check(history).findings == ()


def test_another_model_and_embeddings_decode_again_and_say_so(history: TableHistory) -> None:
    """A run for another model would find nothing to do, or take hours that nobody was told of."""
    assert plan(history, OTHER).n_again == 0
    remove(history)
    for found in (plan(history, OTHER), plan(history, embeddings=True), plan(history, None)):
        assert found.to_featurize.num_rows == found.n_again == 12
        assert found.to_label.num_rows == 0
    history.run({"new": "1"}, unchanged=12, model=OTHER)
    assert plan(history, OTHER).n_again == 12


def test_what_is_not_labeled_keeps_its_features(history: TableHistory) -> None:
    """A run that was killed would decode again what it had featurized."""
    newest = history.run(tracks(8, start=100), unchanged=12, shard_tracks=8)
    (part,) = Path(history.tables.folder("labels")).rglob(f"{newest}-*.parquet")
    kept = part.rename(history.tables.root + "-aside")
    assert remove(history) > 0
    assert len(parts(history)) == 1
    assert (plan(history).to_label.num_rows, plan(history).n_again) == (8, 0)
    kept.rename(part)
    assert remove(history) > 0
    assert parts(history) == []


@pytest.mark.parametrize("stage", ["decode", "label"])
def test_a_failure_stays_resolved(history: TableHistory, stage: str) -> None:
    """A track that was retried and labeled would count as failed for every other model, for ever."""
    if stage == "label":
        rows = failed([("t0001", "1")], LabelError("nan"), model=OTHER, at=history.now)
        history.write("failures", "9", rows, run=history.run({}, unchanged=12))
    else:
        history.run({"broken": "1"}, unchanged=12)
    before = [current_failures(history.tables, model) for model in (None, MODEL, OTHER)]
    remove(history)
    assert len(parts(history)) == 1
    assert [current_failures(history.tables, model) for model in (None, MODEL, OTHER)] == before
    other = plan(history, OTHER)
    assert (other.n_failed, other.to_label.num_rows) == ((0, 1) if stage == "decode" else (2, 3))


def test_recent_features_and_those_of_other_sets_stay(history: TableHistory) -> None:
    """Somebody who keeps a week to try a second model on, or who asked for descriptors, would lose them."""
    old = parts(history)[0]
    os.utime(Path(history.tables.folder("features")) / old, (0, 0))
    before = parts(history)
    assert remove(history, days=7) > 0
    assert parts(history) == before[1:]
    described = SPEC.model_copy(update={"descriptors": True}).feature_set
    folder = Path(history.tables.folder("features"))
    (folder / f"feature_set={SPEC.feature_set}").rename(folder / f"feature_set={described}")
    assert remove(history) == 0
    assert len(parts(history)) == 2


def test_embeddings_are_awaited_where_they_are_wanted(history: TableHistory) -> None:
    """A run killed between labels and embeddings would decode everything again to add the latter."""
    assert remove(history, embeddings=True) == 0
    rows = [
        {"track_id": name, "etag": "1", "segment": 0, "start_s": 0.0, "n_frames": 4, "range_db": 80.0}
        for name in tracks(4)
    ]
    run = read_reports(history.tables)[0].run
    history.write("embeddings", "0", embedding_rows(rows, np.ones((4, 3), np.float32)), model=MODEL, run=run)
    assert remove(history, embeddings=True) > 0
    assert len(parts(history)) == 2


class Killed(BaseException):
    """Ends a removal at once, as kill -9 does."""


@pytest.mark.parametrize("step", range(3))
def test_a_removal_can_be_killed_at_any_step(
    history: TableHistory, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A track would be lost or labeled twice after a crash in the last second of a night."""
    before = state(history)
    delete, left = storage.delete, [step]

    def die(location: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        delete(location)

    monkeypatch.setattr(storage, "delete", die)
    with pytest.raises(Killed):
        remove(history)
    monkeypatch.undo()
    assert len(parts(history)) == 3 - step
    assert state(history) == before
    assert check(history).findings == ()
    assert remove(history) > 0
    assert (parts(history), state(history)) == ([], before)


@given(st.lists(runs, min_size=1, max_size=5))
@settings(max_examples=4, deadline=None)
def test_no_history_is_changed_by_a_removal(happened: list[dict[str, Any]]) -> None:
    """Some order of kills, retries and models would make a night process tracks twice, or never."""
    with TemporaryDirectory() as folder:
        history = TableHistory(folder)
        for model in (MODEL, OTHER):
            history.model(model)
        for run in happened:
            play(history, run)
        failures = [current_failures(history.tables, model) for model in (None, MODEL, OTHER)]
        other = plan(history, OTHER)
        before, findings = state(history), check(history)
        remove(history)
        assert state(history) == before
        assert [current_failures(history.tables, model) for model in (None, MODEL, OTHER)] == failures
        found = plan(history, OTHER)
        assert (found.n_labeled, found.n_failed, found.n_todo) == (
            other.n_labeled, other.n_failed, other.n_todo,
        )  # fmt: skip
        after = check(history)
        kinds = {(finding.kind, finding.table) for finding in findings.findings}
        assert {(finding.kind, finding.table) for finding in after.findings} <= kinds
        mine = [[each for each in found.accounts if each.model == MODEL] for found in (after, findings)]
        assert mine[0] == mine[1]


def test_what_a_killed_compaction_left_and_cannot_be_removed_fails_no_run(history: TableHistory) -> None:
    """A run whose labels are all there ends as failed, with an internal error."""
    leftover = Path(history.tables.root, compaction_log.LOG_FOLDER, f"{compaction_log.SCRATCH_PREFIX}1")
    leftover.parent.mkdir()
    leftover.touch()  # rmtree refuses a file, as it does a folder of another user
    with pytest.raises(StoreError, match=r"cannot remove what a killed compaction left in .*_compaction"):
        remove(history)
    job = Job("run", "/music", history.tables, RunConfig(keep_features="none"), load_bundle("default"))
    report = read_reports(history.tables)[-1]
    assert report.model == MODEL
    before = parts(history)
    assert remove_features(job, report, lambda: None) == report
    assert parts(history) == before


def test_the_setting_is_days_all_or_none(tmp_path: Path) -> None:
    """A typing error would remove what was to be kept."""
    assert [RunConfig(keep_features=text).keep_features_days for text in ("all", "none", "30")] == [
        None,
        0,
        30,
    ]
    file = tmp_path / "nightly.toml"
    file.write_text("keep_features = 30")
    assert RunConfig.load(file).keep_features_days == 30
    for wrong in ("never", "-1", "1.5", ""):
        with pytest.raises(MisuseError, match="keep_features"):
            RunConfig.load(None, keep_features=wrong)
    with pytest.raises(MisuseError, match="--descriptors asks for some to be kept"):
        make_job("run", str(tmp_path), str(tmp_path / "t"), RunConfig(keep_features="none", descriptors=True))
