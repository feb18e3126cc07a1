"""The plan is the difference between the catalog and the tables, after any history."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from jobs.cli.summaries.runs import print_plan
from pipeline.catalogs.catalog_changes import change_rows
from pipeline.catalogs.cutting import copy_rows, cut_shards, shard_bounds
from pipeline.catalogs.planning import Goal, Plan
from pipeline.catalogs.track_refs import to_batch
from pipeline.shards import failures as failures_module
from pipeline.shards.failures import Failure, failure_rows
from pipeline.shards.rows import track_rows
from pipeline.shards.segment_rows import embedding_rows
from pipeline.storage import storage
from pipeline.tables.current import current_failures, current_labels, current_tracks, list_models
from pipeline.tables.stored_features import read_features
from pipeline.tables.tables import Tables, anti_join, encode_part, semi_join
from schemas.errors import DecodeError, LabelError, NotFoundError, ReadError, TooShortError, TrackError
from schemas.features import FeatureSpec
from schemas.report import LeftOut
from schemas.tables import LABELS, LISTING, features_schema
from schemas.tracks import TrackRef
from tests.plans import plan_tables

SPEC = FeatureSpec()
DAY = datetime(2026, 1, 1, tzinfo=UTC)
GOAL = Goal(SPEC, "m-1")


def listing(**etags: str) -> pa.Table:
    tracks = [TrackRef(name, f"/music/{name}.mp3", 10, etag) for name, etag in etags.items()]
    return pa.Table.from_batches([to_batch(tracks)], LISTING)


class History:
    """Writes rows into tables as runs would; each call is one run, a day later."""

    def __init__(self, folder: Path) -> None:
        self.tables = Tables(str(folder))
        self.now = DAY

    def _write(self, table: str, rows: pa.Table, **partitions: str) -> None:
        storage.write_bytes(self.tables.part(table, f"{self.now:%j}", **partitions), encode_part(rows))

    def listed(self, present: bool = True, /, **etags: str) -> None:
        self.now += timedelta(days=1)
        tracks = [TrackRef(name, f"/music/{name}.mp3", 10, etag) for name, etag in etags.items()]
        rows = track_rows(tracks, {}, self.now)
        if not present:
            rows = rows.set_column(
                rows.schema.get_field_index("present"),
                rows.schema.field("present"),
                pa.array([False] * len(rows)),
            )
        self._write("tracks", rows, run=f"{self.now:%j}")

    def featurized(self, spec: FeatureSpec = SPEC, **etags: str) -> None:
        rows = [
            {
                "track_id": name, "etag": etag, "segment": number, "start_s": 0.0, "duration_s": 30.0,
                "log_mel": b"", "n_frames": 0, "range_db": 80.0,
            }
            for name, etag in etags.items()
            for number in range(2)
        ]  # fmt: skip
        table = pa.Table.from_pylist(rows, features_schema())
        self._write("features", table, feature_set=spec.feature_set, run=f"{self.now:%j}")

    def labeled(self, model: str = "m-1", genre: str = "rock", **etags: str) -> None:
        rows = [
            {
                "track_id": name, "uri": f"/{name}.mp3", "etag": etag, "genre": genre, "confidence": 0.5,
                "probabilities": [1.0], "top3": [], "n_segments": 2, "feature_set": SPEC.feature_set,
                "labeled_at": self.now, "run": "r",
            }
            for name, etag in etags.items()
        ]  # fmt: skip
        self._write(
            "labels", pa.Table.from_pylist(rows, LABELS), model=model, run_date=f"{self.now:%Y-%m-%d}"
        )

    def embedded(self, model: str = "m-1", **etags: str) -> None:
        segments = [
            {
                "track_id": name,
                "etag": etag,
                "segment": number,
                "start_s": 0.0,
                "n_frames": 1,
                "range_db": 80.0,
            }
            for name, etag in etags.items()
            for number in range(2)
        ]
        rows = embedding_rows(segments, np.ones((len(segments), 3), np.float32))
        self._write("embeddings", rows, model=model, run=f"{self.now:%j}")

    def failed(
        self,
        error: TrackError,
        model: str | None = None,
        attempts: int = 1,
        feature_set: str | None = None,
        **etags: str,
    ) -> None:
        self.now += timedelta(seconds=1)
        failures = [
            Failure(name, f"/{name}", etag, attempts, error, model, feature_set)
            for name, etag in etags.items()
        ]
        self._write("failures", failure_rows(failures), run=f"{self.now:%j%H%M%S}")


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


def ids(rows: pa.Table) -> set[str]:
    return set(rows["track_id"].to_pylist())


def plan(history: History, goal: Goal = GOAL, **etags: str) -> Plan:
    return plan_tables(listing(**etags), history.tables, goal)


def test_a_first_run_does_everything(history: History) -> None:
    """With no tables at all the plan is the catalog."""
    made = plan(history, a="1", b="1")
    assert ids(made.to_featurize) == {"a", "b"}
    assert made.n_todo == 2
    assert made.to_label.num_rows == made.gone.num_rows == 0


def test_only_new_or_changed_tracks_are_processed(history: History) -> None:
    """The nightly promise: labeled tracks are not decoded again, changed ones are."""
    history.listed(a="1", b="1")
    history.featurized(a="1", b="1")
    history.labeled(a="1", b="1")
    made = plan(history, a="1", b="2", c="1")
    assert ids(made.to_featurize) == {"b", "c"}
    assert (made.n_labeled, made.n_failed, made.to_label.num_rows) == (1, 0, 0)
    assert ids(made.changed) == {"b", "c"}


def test_a_crash_between_the_stages_costs_no_decoding(history: History) -> None:
    """Features without a label are labeled from their part, once, even if two crashes left them twice."""
    history.listed(a="1", b="1")
    history.featurized(a="1", b="1")
    history.listed(a="1")
    history.featurized(a="1")
    history.labeled(b="1")
    made = plan(history, a="1", b="1")
    assert made.to_featurize.num_rows == 0
    assert made.to_label["track_id"].to_pylist() == ["a"]
    (part,) = made.to_label["part"].to_pylist()
    assert storage.exists(part)


def test_a_second_model_needs_no_decoding(history: History) -> None:
    """Models and features are versioned independently."""
    history.listed(a="1")
    history.featurized(a="1")
    history.labeled(a="1")
    made = plan(history, Goal(SPEC, "m-2"), a="1")
    assert (made.to_featurize.num_rows, ids(made.to_label)) == (0, {"a"})


def test_features_with_descriptors_serve_a_run_without(history: History) -> None:
    """Features that contain more than the model needs are reused; those that lack something are not."""
    with_descriptors = SPEC.model_copy(update={"descriptors": True})
    history.listed(a="1")
    history.featurized(with_descriptors, a="1")
    assert plan(history, a="1").to_featurize.num_rows == 0
    history.listed(b="1")
    history.featurized(b="1")
    assert ids(plan(history, Goal(with_descriptors, "m-1"), a="1", b="1").to_featurize) == {"b"}


def test_tracks_that_are_only_featurized_are_not_called_labeled(
    history: History, capsys: pytest.CaptureFixture[str]
) -> None:
    """`featurize --dry-run` would promise labels that nobody has made."""
    history.listed(a="1")
    history.featurized(a="1")
    print_plan("featurize", plan(history, Goal(SPEC, None), a="1", b="1"), LeftOut())
    said = capsys.readouterr().out
    assert "1 already featurized\n" in said
    assert "already labeled" not in said


def test_other_features_never_mix(history: History) -> None:
    """Features of another spec do not count."""
    history.listed(a="1")
    history.featurized(SPEC.model_copy(update={"mel_hop": 512}), a="1")
    assert ids(plan(history, a="1").to_featurize) == {"a"}


def test_failures_are_remembered_until_the_file_changes(history: History) -> None:
    """A broken file is not retried every night; a repaired one is, and --retry-failed forces it."""
    history.listed(bad="1", away="1")
    history.failed(DecodeError("no"), bad="1")
    history.failed(ReadError("503"), away="1", attempts=2)
    made = plan(history, bad="1", away="1")
    assert made.n_failed == 1
    assert dict(
        zip(*made.to_featurize.select(["track_id", "attempts"]).to_pydict().values(), strict=True)
    ) == {"away": 2}
    assert ids(plan(history, bad="2", away="1").to_featurize) == {"bad", "away"}
    assert ids(plan(history, Goal(SPEC, "m-1", retry_failed=True), bad="1").to_featurize) == {"bad"}


def test_the_newest_failure_of_a_version_decides(history: History) -> None:
    """A file that the store returned at last and that is broken would be read every night; or one whose store
    has refused it since --retry-failed, never again."""
    history.listed(broken="1", refused="1")
    history.failed(ReadError("503"), broken="1")
    history.failed(DecodeError("no"), broken="1")
    history.failed(DecodeError("no"), refused="1")
    history.failed(ReadError("503"), refused="1")
    made = plan(history, broken="1", refused="1")
    assert (made.n_failed, ids(made.to_featurize)) == (1, {"refused"})


def test_the_plan_says_which_tracks_the_tables_hold_as_they_are_listed(history: History) -> None:
    """A second read of those that fails must not replace the tags and durations of the first."""
    history.listed(same="1", changed="1", moved="1")
    rows = listing(same="1", changed="2", moved="1", new="1").to_pylist()
    rows[2]["uri"] = "/elsewhere.mp3"
    made = plan_tables(pa.Table.from_pylist(rows, LISTING), history.tables, GOAL).to_featurize
    assert dict(zip(made["track_id"].to_pylist(), made["recorded"].to_pylist(), strict=True)) == {
        "same": True,
        "changed": False,
        "moved": False,
        "new": False,
    }


def test_a_failure_after_the_clock_was_set_back_counts(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock was a year ahead for one night: for a year, a broken file is retried every night, and
    `failures` says that it could not be read."""
    history.listed(a="1")
    with monkeypatch.context() as patched:
        ahead = datetime.now(UTC) + timedelta(days=365)
        patched.setattr(failures_module, "datetime", SimpleNamespace(now=lambda tz: ahead))
        history.failed(ReadError("refused"), a="1")
    history.failed(DecodeError("broken"), attempts=2, a="1")
    assert (plan(history, a="1").n_failed, plan(history, a="1").n_todo) == (1, 0)
    assert current_failures(history.tables)["message"].to_pylist() == ["broken"]


def test_a_missing_file_is_not_retried_every_night(history: History) -> None:
    """A dangling link must not start Ray every night; once the file exists, it has another version."""
    history.listed(gone="missing")
    history.failed(NotFoundError("gone"), gone="missing")
    assert plan(history, gone="missing").n_todo == 0
    assert ids(plan(history, gone="1").to_featurize) == {"gone"}


def test_a_failure_that_was_overcome_does_not_block(history: History) -> None:
    """--retry-failed made features, then the run was killed: the label must still come."""
    history.listed(a="1")
    history.failed(DecodeError("no"), a="1")
    history.featurized(a="1")
    made = plan(history, a="1")
    assert (made.n_failed, ids(made.to_label)) == (0, {"a"})


def test_a_labeling_failure_is_the_models_own(history: History) -> None:
    """A track that one model cannot label, another may."""
    history.listed(a="1")
    history.featurized(a="1")
    history.failed(LabelError("nan"), model="m-1", a="1")
    assert (plan(history, a="1").n_failed, plan(history, Goal(SPEC, "m-2"), a="1").n_failed) == (1, 0)


def test_a_failure_to_compute_some_features_does_not_block_others(history: History) -> None:
    """A track that is too short for one model is never given to another, which takes it as it is."""
    history.listed(a="1")
    history.failed(TooShortError("0.4 s"), feature_set=SPEC.feature_set, a="1")
    shorter = SPEC.model_copy(update={"min_s": SPEC.min_s / 4})
    assert (plan(history, a="1").n_failed, plan(history, Goal(SPEC, "m-2"), a="1").n_failed) == (1, 1)
    assert ids(plan(history, Goal(shorter, "m-3"), a="1").to_featurize) == {"a"}


def test_gone_tracks_leave_the_current_labels_and_come_back(history: History) -> None:
    """A deleted track drops out; if it comes back unchanged, it has its label again without any work."""
    history.listed(a="1", b="1")
    history.featurized(a="1", b="1")
    history.labeled(a="1", b="1")
    made = plan(history, a="1")
    assert ids(made.gone) == {"b"}
    history.now += timedelta(days=1)
    history._write("tracks", change_rows(made, history.tables, history.now), run="gone")
    assert ids(current_labels(history.tables, "m-1")) == ids(current_tracks(history.tables)) == {"a"}
    back = plan(history, a="1", b="1")
    assert (back.n_todo, ids(back.changed)) == (0, {"b"})
    history.now += timedelta(days=1)
    history._write("tracks", change_rows(back, history.tables, history.now), run="back")
    assert ids(current_labels(history.tables, "m-1")) == {"a", "b"}


def test_a_limited_listing_removes_nothing(history: History) -> None:
    """--limit 1 must not delete the rest of the catalog."""
    history.listed(a="1", b="1")
    assert plan_tables(listing(a="1"), history.tables, GOAL, partial=True).gone.num_rows == 0


def test_the_current_label_is_that_of_the_present_content(history: History) -> None:
    """A label of replaced content must not be shown for the new one, not even if that failed."""
    history.listed(a="1")
    history.labeled(a="1", genre="jazz")
    history.listed(a="2")
    assert current_labels(history.tables, "m-1").num_rows == 0
    history.failed(DecodeError("no"), a="2")
    assert ids(current_failures(history.tables, "m-1")) == {"a"}
    history.labeled(a="2", genre="rock")
    assert current_labels(history.tables, "m-1")["genre"].to_pylist() == ["rock"]
    assert current_failures(history.tables).num_rows == 0
    assert list_models(history.tables) == ["m-1"]


def test_a_failure_is_over_when_the_track_has_features(history: History) -> None:
    """Failures from one night of a bad network must not stay until every track has a label."""
    history.listed(a="1", b="1")
    history.failed(DecodeError("no"), a="1", b="1")
    history.featurized(a="1")
    assert ids(current_failures(history.tables)) == ids(current_failures(history.tables, "m-1")) == {"b"}


def test_joins_keep_order() -> None:
    """Shards follow the listing's order, so runs are reproducible."""
    rows = pa.table({"track_id": ["c", "a", "b", "a"], "etag": ["1"] * 4, "n": [0, 1, 2, 3]})
    other = pa.table({"track_id": ["a", "x"], "etag": ["1", "1"]})
    assert anti_join(rows, other)["n"].to_pylist() == [0, 2]
    assert semi_join(rows, other)["n"].to_pylist() == [1, 3]


def test_a_segment_that_a_crash_left_in_two_parts_is_read_once(history: History) -> None:
    """A model would be trained on some tracks twice."""
    more = SPEC.with_descriptors
    history.listed(a="1", b="1")
    for spec in (SPEC, more):
        history.featurized(spec, a="1")
        history.now += timedelta(days=1)
    history.featurized(more, a="1", b="1")
    history.now += timedelta(days=1)
    history.featurized(more, a="1", b="1")
    rows = read_features(history.tables, SPEC, [SPEC, more])
    kept = rows.select(["track_id", "segment", "feature_set"]).to_pylist()
    last = max(SPEC.feature_set, more.feature_set)
    assert sorted(kept, key=repr) == [
        {"track_id": name, "segment": number, "feature_set": last if name == "a" else more.feature_set}
        for name in "ab"
        for number in range(2)
    ]


def test_shards_are_cut_by_bytes_and_tracks_and_hold_every_track_once() -> None:
    """A shard of a few huge files and one of many small ones take about as long."""
    sizes = [1, 1, 1, 100, 1, 1, 1, 1, 1, 1]
    tracks = pa.table({"size": sizes, "n": range(10)})
    shards = cut_shards(tracks, max_tracks=4, max_bytes=50, at_least=1)
    assert [shard["n"].to_pylist() for shard in shards] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    even = cut_shards(pa.table({"size": [1] * 50}), max_tracks=40, max_bytes=999, at_least=5)
    assert [len(shard) for shard in even] == [10] * 5
    few = cut_shards(tracks, max_tracks=256, max_bytes=999, at_least=100)
    assert [len(shard) for shard in few] == [8, 2]
    assert cut_shards(tracks.slice(0, 0), max_tracks=4, max_bytes=50, at_least=3) == []


def test_a_label_that_is_corrected_in_the_manifest_reaches_the_tables(tmp_path: Path) -> None:
    """Training went on with the old one, and a new column was never found."""

    def manifest(**carried: dict[str, str]) -> pa.Table:
        tracks = [
            TrackRef(name, f"/music/{name}.mp3", 10, "1", carried=columns)
            for name, columns in carried.items()
        ]
        return pa.Table.from_batches([to_batch(tracks)], LISTING)

    history = History(tmp_path)

    def list_again(listing: pa.Table) -> list[str]:
        """List a manifest, write what it changes, and return which tracks that are."""
        plan = plan_tables(listing, history.tables, GOAL)
        history.now += timedelta(days=1)
        written = change_rows(plan, history.tables, history.now)
        history._write("tracks", written, run=f"{history.now:%j}")
        assert not plan.n_todo, "nothing is decoded again"
        return sorted(written["track_id"].to_pylist())

    before = {"a": {"label": "jazz", "mood": "calm"}, "b": {"label": "rock"}, "c": {}}
    history.listed(a="1", b="1", c="1")
    history.featurized(a="1", b="1", c="1")
    history.labeled(a="1", b="1", c="1")
    assert list_again(manifest(**before)) == ["a", "b"]
    assert list_again(manifest(**before)) == []
    assert list_again(manifest(**before | {"a": {"mood": "calm", "label": "jazz"}})) == [], "another order"
    assert list_again(manifest(**before | {"b": {"label": "metal"}, "c": {"label": "pop"}})) == ["b", "c"]
    assert list_again(manifest(a={"label": "jazz"}, b={"label": "metal"}, c={})) == ["a", "c"]
    carried = current_tracks(history.tables, ("carried",))
    assert dict(zip(carried["track_id"].to_pylist(), carried["carried"].to_pylist(), strict=True)) == {
        "a": [("label", "jazz")], "b": [("label", "metal")], "c": None,
    }  # fmt: skip


def test_a_shard_is_cut_without_joining_the_chunks_of_the_listing() -> None:
    """Fails: each shard costs as much as the whole listing, and 2 GiB of text end with an internal error."""
    length = 1 << 30  # zeros that are never touched take no memory
    buffers = [pa.py_buffer(np.array([0, length], np.int32)), pa.py_buffer(np.zeros(length, np.uint8))]
    long = pa.StringArray.from_buffers(1, *buffers)
    uris = pa.chunked_array([long, long, long, pa.array(["a.mp3", "b.mp3"]), pa.array(["c.mp3", "d.mp3"])])
    shard = copy_rows(pa.table({"uri": uris}), 4, 6)
    assert shard["uri"].to_pylist() == ["b.mp3", "c.mp3"]
    assert shard.get_total_buffer_size() < 1000, "Ray would send the whole table with it"


def test_the_last_shards_are_smaller() -> None:
    """Fails: at the end of a run, all CPUs but a few wait for those that began a long shard last."""
    bounds = shard_bounds([1] * 10_000, max_tracks=128, max_bytes=9999, at_least=64)
    lengths = [stop - start for start, stop in bounds]
    assert sum(lengths) == 10_000
    assert lengths == [*sorted(lengths[:-1], reverse=True), lengths[-1]]
    assert lengths[0] == 128
    assert set(lengths[-17:-1]) == {32}, "a shard for each of 16 CPUs"
    assert len(lengths) < 2 * 10_000 / 128
