"""Verification: intact tables pass whatever their history, and each kind of fault is named."""

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from jobs.cli.main import app
from jobs.engine.lease import hold_for_workers
from jobs.verify import render_json
from pipeline.catalogs.track_refs import to_batch
from pipeline.shards.rows import track_rows
from pipeline.storage import storage
from pipeline.tables.current import read_genres
from pipeline.tables.maintenance.compact.compaction_log import LOG_FOLDER, LogEntry
from pipeline.tables.maintenance.vacuum import VacuumOptions, plan_vacuum
from pipeline.tables.maintenance.verify.findings import Verification
from pipeline.tables.maintenance.verify.label_values import check_labels
from pipeline.tables.maintenance.verify.verification import verify
from pipeline.tables.objects import list_objects
from pipeline.tables.runs import read_reports, write_report
from pipeline.tables.tables import Tables
from schemas.errors import EarmarkError, LabelError, LeaseHeldError, ReadError, StoreError
from schemas.features import FeatureSpec
from schemas.genres import GTZAN_GENRES
from schemas.report import Counts
from schemas.tables import LABELS, LISTING, SEGMENT_LABELS
from tests.e2e.earmark import call
from tests.table_history import MODEL, SPEC, TableHistory, failed, refs, tracks

pytestmark = pytest.mark.slow

OTHER = "other-9876543210"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> TableHistory:
    """40 tracks, 6 of them broken; on the second day ten have changed and two are new."""
    made = TableHistory(tmp_path_factory.mktemp("original"))
    made.model()
    made.run(tracks(34), failing=tracks(6, start=34))
    made.run(tracks(10, etag="2") | tracks(2, start=40), unchanged=30)
    return made


@pytest.fixture
def history(original: TableHistory, tmp_path: Path) -> TableHistory:
    return original.copy(tmp_path / "tables")


def check(
    history: TableHistory, *, deep: bool = False, listing: dict[str, str] | None = None
) -> Verification:
    rows = pa.Table.from_batches([to_batch(refs(list(listing.items())))], LISTING) if listing else None
    return verify(history.tables, read_reports(history.tables), listing=rows, deep=deep)


def faults(verification: Verification) -> dict[str, int]:
    """Return the faults by kind and table, with the number of things affected."""
    return {
        f"{finding.kind} {finding.table}": finding.count for finding in verification.findings if finding.fault
    }


def notes(verification: Verification) -> dict[str, int]:
    return {finding.kind: finding.count for finding in verification.findings if not finding.fault}


def part_of(history: TableHistory, table: str, last: bool = False) -> Path:
    parts = sorted(Path(history.tables.folder(table)).rglob("*.parquet"))
    return parts[-1 if last else 0]


def rewrite(part: Path, change: Callable[[list[dict[str, object]]], list[dict[str, object]]]) -> None:
    file = pq.ParquetFile(part)
    rows = change(file.read().to_pylist())
    pq.write_table(pa.Table.from_pylist(rows, file.schema_arrow), part)


def test_sound_tables_are_sound(history: TableHistory) -> None:
    """A false alarm every night would teach people to ignore real ones."""
    verification = check(history, deep=True)
    assert verification.sound
    assert verification.findings == ()
    (account,) = verification.accounts
    assert (account.tracks, account.labeled, account.failed) == (42, 36, 6)
    assert (account.missing, account.unseen) == (0, 0)
    assert verification.rows > 200


def test_lawful_histories_are_no_fault(history: TableHistory) -> None:
    """Content that changes back, retries, tracks that left, other models and features are no faults."""
    history.run({}, gone={"t0020": "1"}, unchanged=41)
    history.run({}, failing=tracks(6, start=34), attempts=2, unchanged=35)
    history.run(tracks(6, start=34), unchanged=35)
    # A → B → A: the old label holds, only the listing says so.
    history.now += timedelta(days=1)
    run = f"{history.now:%Y%m%dT%H%M%S}-0000"
    history.write("tracks", "listing", track_rows(refs([("t0000", "1")]), {}, history.now), run=run)
    history.report(run, Counts(listed=41, labeled_before=41))
    # Another model labels three tracks with --limit, and another feature set fails on a labeled track.
    history.model(OTHER)
    history.now += timedelta(days=1)
    run = f"{history.now:%Y%m%dT%H%M%S}-0000"
    history.write(
        "labels", f"{run}-0", history.labels([("t0000", "1"), ("t0011", "1")], run), model=OTHER,
        run_date=f"{history.now:%Y-%m-%d}",
    )  # fmt: skip
    history.write("failures", "0", failed([("t0012", "1")], LabelError("nan"), model=OTHER), run=run)
    history.report(run, Counts(listed=3, labeled=2, failed=1), model=OTHER, config={"limit": 3})
    history.now += timedelta(days=1)
    run = f"{history.now:%Y%m%dT%H%M%S}-0000"
    history.write("failures", "0", failed([("t0000", "1")], ReadError("503")), run=run)
    history.report(run, Counts(listed=41, labeled_before=40, failed=1), command="featurize", model=None)
    verification = check(history)
    assert faults(verification) == {}
    first, second = verification.accounts
    assert (first.model, first.tracks, first.labeled, first.failed) == (MODEL, 41, 41, 0)
    assert (second.model, second.labeled, second.failed, second.unseen) == (OTHER, 2, 1, 38)


def test_a_killed_run_that_was_finished_by_the_next_is_a_note(history: TableHistory) -> None:
    """After kill -9 and another run there are no faults, even if the catalog changed in between."""
    new = tracks(8, start=50)
    killed = history.run(new, outcome="running", unchanged=42)
    for part in Path(history.tables.folder("labels")).rglob(f"{killed}-*.parquet"):
        part.unlink()
    history.run(tracks(7, start=50), gone={"t0057": "1"}, unchanged=42)
    for part in Path(history.tables.folder("features")).rglob("*.parquet"):
        # Features of the killed run served the next one; here they were simply made again.
        if killed in str(part):
            part.unlink()
    verification = check(history)
    assert faults(verification) == {}
    assert notes(verification) == {"killed run": 1}


def test_what_a_killed_run_left_is_named(history: TableHistory) -> None:
    """Someone who verifies before running again must learn which tracks are unfinished, and to run again."""
    killed = history.run(tracks(8, start=50), outcome="running", unchanged=42)
    parts = sorted(Path(history.tables.folder("labels")).rglob(f"{killed}-*.parquet"))
    parts[0].unlink()
    # One of them has changed since, and was listed by a run for features alone: it is not left any more.
    history.now += timedelta(days=1)
    run = f"{history.now:%Y%m%dT%H%M%S}-0000"
    history.write("tracks", "0", track_rows(refs([("t0050", "9")]), {}, history.now), run=run)
    history.report(run, Counts(listed=50, labeled_before=50), command="featurize", model=None)
    verification = check(history)
    assert faults(verification) == {"unfinished labels": 3}
    (finding,) = (finding for finding in verification.findings if finding.kind == "unfinished")
    assert "run again" in finding.message
    assert finding.examples == tuple(f"/music/t005{number}.mp3" for number in (1, 2, 3))
    assert verification.accounts[0].missing == 3


def test_a_run_that_is_going_on_explains_what_it_has_not_labeled(history: TableHistory) -> None:
    """The weekly verify falls into a long run, and wakes somebody each Sunday; or a killed run, or real
    damage beside a run, is taken for a run that will end."""
    killed = history.run(tracks(8, start=50), outcome="running", unchanged=42)
    sorted(Path(history.tables.folder("labels")).rglob(f"{killed}-*.parquet"))[0].unlink()
    command = ["verify", history.tables.root]
    assert call(*command).returncode == 1
    with hold_for_workers(history.tables.root, "alive", say=print):
        done = call(*command)
        assert done.returncode == LeaseHeldError.exit_code
        assert "verify again when it has ended" in done.stderr
        part_of(history, "tracks").write_bytes(b"damaged")
        assert call(*command).returncode == 1


def test_a_lost_labels_part_is_found(history: TableHistory) -> None:
    """Someone removed an object of the bucket: tracks without a label must be named by their files."""
    part_of(history, "labels").unlink()
    verification = check(history)
    # These versions have been replaced since and are not wanted any more: that is to be known, no more.
    assert (verification.sound, notes(verification)) == (True, {"removed since": 1})
    part_of(history, "labels", last=True).unlink()
    verification = check(history)
    assert faults(verification) == {"missing labels": 4, "report mismatch _runs": 1}
    assert verification.accounts[0].missing == 4
    assert verification.findings[0].examples[-1] == "/music/t0041.mp3"


def test_what_was_removed_and_done_again_is_no_fault(history: TableHistory) -> None:
    """Removing a damaged part and running again is the remedy that Earmark itself gives."""
    part = part_of(history, "labels", last=True)
    lost = pq.read_table(part, columns=["track_id", "etag"]).select(["track_id", "etag"]).to_pylist()
    part.unlink()
    run = history.run({}, unchanged=42)
    history.write(
        "labels", "again", history.labels([(row["track_id"], row["etag"]) for row in lost], run), model=MODEL,
        run_date=f"{history.now:%Y-%m-%d}",
    )  # fmt: skip
    history.report(run, Counts(listed=42, labeled_before=38, labeled=4))
    verification = check(history)
    assert (faults(verification), notes(verification)) == ({}, {"removed since": 1})


def test_a_track_of_a_limited_run_that_is_lost_is_found(history: TableHistory) -> None:
    """Runs with --limit list only part of the catalog; what they planned must still be account_for for."""
    run = history.run(tracks(4, start=50), unchanged=0)
    history.report(run, Counts(listed=4, labeled=4), config={"limit": 4})
    assert check(history).sound
    for part in Path(history.tables.folder("labels")).rglob(f"{run}-*.parquet"):
        part.unlink()
    assert faults(check(history)) == {"missing labels": 4, "report mismatch _runs": 1}


def test_a_lost_label_of_a_track_that_had_failed_before_is_found(history: TableHistory) -> None:
    """The old failure must not hide that the label, which came later, is gone."""
    run = history.run(tracks(6, start=34), unchanged=36)
    lost = sorted(Path(history.tables.folder("labels")).rglob(f"{run}-*.parquet"))[0]
    lost.unlink()
    assert faults(check(history))["missing labels"] == 4


def test_features_that_another_command_made_since_are_no_fault(history: TableHistory) -> None:
    """Fails: `earmark featurize` recovers from a failing store, and verify calls the track lost."""
    names = tracks(1, start=34)
    assert not faults(check(history))
    history.now += timedelta(days=1)
    run = f"{history.now:%Y%m%dT%H%M%S}-0000"
    rows = history.features(list(names.items()))
    history.write("features", "000000", rows, feature_set=SPEC.feature_set, run=run)
    history.write("tracks", "000000", track_rows(refs(list(names.items())), {}, history.now), run=run)
    counts = Counts(listed=40, labeled_before=39, labeled=1, featurized=1)
    history.report(run, counts, command="featurize", model=None)
    assert not faults(check(history))


def test_a_lost_failures_part_is_found(history: TableHistory) -> None:
    """Without its failure, a track would silently drop out of the accounting."""
    n_rows = pq.read_metadata(part_of(history, "failures")).num_rows
    part_of(history, "failures").unlink()
    found = faults(check(history))
    assert found == {"missing labels": n_rows}


@pytest.mark.parametrize(
    ("table", "copied"), [("labels", 4), ("failures", 2), ("tracks", 4), ("features", 12)]
)
def test_rows_that_are_there_twice_are_found(history: TableHistory, table: str, copied: int) -> None:
    """The same part under another name, as a crash of another system would leave it."""
    part = part_of(history, table)
    n_rows = pq.read_metadata(part).num_rows
    part.with_name("again.parquet").write_bytes(part.read_bytes())
    assert n_rows == copied
    verification = check(history)
    assert faults(verification)[f"duplicate {table}"] == copied
    assert not verification.sound


def test_doubled_segment_labels_are_found_but_not_those_of_a_killed_run(history: TableHistory) -> None:
    """A run killed between segment labels and labels leaves some that the next one makes again."""
    rows = [
        {"track_id": "t0020", "etag": "1", "segment": 0, "start_s": 0.0, "genre": "rock", "confidence": 0.5,
         "run": run}
        for run in ("a", "b")
    ]  # fmt: skip
    day = {"model": MODEL, "run_date": "2026-01-02"}
    history.write("segment_labels", "x", pa.Table.from_pylist(rows, SEGMENT_LABELS), **day)
    assert faults(check(history)) == {}
    assert notes(check(history)) == {"segments without a label": 2}
    history.write("segment_labels", "y", pa.Table.from_pylist(rows[:1], SEGMENT_LABELS), **day)
    assert faults(check(history)) == {"duplicate segment_labels": 1}


def test_segment_labels_of_the_run_of_the_label_are_no_note(history: TableHistory) -> None:
    """Every track with segment labels would be noted, and nobody would see those that a killed run left."""
    run = history.run(tracks(1, start=60), unchanged=42)
    rows = [
        {"track_id": "t0060", "etag": etag, "segment": 0, "start_s": 0.0, "genre": "rock", "confidence": 0.5,
         "run": run}
        for etag in ("1", "2")
    ]  # fmt: skip
    for number, row in enumerate(rows):
        part = pa.Table.from_pylist([row], SEGMENT_LABELS)
        history.write("segment_labels", f"{number}", part, model=MODEL, run_date=f"{history.now:%Y-%m-%d}")
        assert notes(check(history)) == ({"segments without a label": 1} if number else {})


def test_a_track_both_labeled_and_failed_by_a_run_is_found(history: TableHistory) -> None:
    """tracks = labeled + failed would count it twice."""
    run = history.run(tracks(2, start=60), unchanged=42)
    history.write("failures", "late", failed([("t0060", "1")]), run=run)
    history.report(run, Counts(listed=45, labeled_before=42, labeled=2, failed=1))
    found = faults(check(history))
    assert found["duplicate labels"] == 1


def test_a_failure_after_a_label_is_found(history: TableHistory) -> None:
    """A labeled track is not retried, so a newer failure of the same model means that something is wrong."""
    history.now += timedelta(days=1)
    run = f"{history.now:%Y%m%dT%H%M%S}-0000"
    history.write("failures", "0", failed([("t0020", "1")], at=history.now), run=run)
    history.report(run, Counts(listed=43, labeled_before=42, failed=1))
    assert faults(check(history)) == {"failed after a label failures": 1}


def test_damaged_parts_are_named_with_the_reason(history: TableHistory) -> None:
    """A damaged object must be named, and must not keep the rest from being checked."""
    part = part_of(history, "features")
    part.write_bytes(part.read_bytes()[:100])
    empty = part_of(history, "labels", last=True)
    empty.write_bytes(b"")
    verification = check(history)
    found = faults(verification)
    assert found["unreadable part features"] == found["unreadable part labels"] == 1
    assert found["missing labels"] == 4
    assert str(part.relative_to(history.tables.root)) in str(verification.findings)


def test_damage_within_a_part_is_found_by_reading_deep(history: TableHistory) -> None:
    """A flipped bit in a log-mel does not show in the footer; --deep must find it."""
    part = part_of(history, "features")
    file = pq.ParquetFile(part)
    column = file.schema_arrow.names.index("log_mel")
    chunk = file.metadata.row_group(0).column(column)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    data = bytearray(part.read_bytes())
    data[start : start + 40] = b"\xff" * 40
    part.write_bytes(bytes(data))
    assert faults(check(history)) == {}
    assert faults(check(history, deep=True)) == {"unreadable part features": 1}


def test_damaged_pages_of_labels_are_an_error_in_words_and_named_by_reading_deep(
    history: TableHistory,
) -> None:
    """Arrow raises an OSError without an errno then; the message must say how to find the part."""
    part = part_of(history, "labels")
    group = pq.read_metadata(part).row_group(0)
    chunks = [group.column(number) for number in range(group.num_columns)]
    (start,) = (c.dictionary_page_offset for c in chunks if c.path_in_schema.startswith("probabilities"))
    data = bytearray(part.read_bytes())
    data[start : start + 60] = b"\xff" * 60
    part.write_bytes(bytes(data))
    with pytest.raises(EarmarkError, match=r"cannot be read.*verify --deep"):
        check(history)
    assert faults(check(history, deep=True))["unreadable part labels"] == 1


def test_a_damaged_footer_of_labels_is_an_error_in_words(history: TableHistory) -> None:
    """``labels --genre``, ``trends`` and ``publish`` ended in an internal error, since the index hid it."""
    part = part_of(history, "labels")
    part.write_bytes(part.read_bytes()[:-40])
    with pytest.raises(EarmarkError, match=rf"{part.name}.*'earmark verify --deep' names it"):
        read_genres(history.tables, MODEL)


def test_a_damaged_model_is_named_and_keeps_its_features(history: TableHistory) -> None:
    """Fails: verify ends with an internal error, or vacuum treats the model's features as unused."""
    storage.write_bytes(f"{history.tables.root}/_models/{MODEL}/model.json", b"{")
    assert faults(check(history)) == {"unreadable model _models": 1}
    stored = list_objects(history.tables)
    with pytest.raises(EarmarkError, match=r"model\.json is not valid"):
        plan_vacuum(stored, [], VacuumOptions(older_than_days=0, unused_feature_sets=True))


def test_parts_of_another_kind_are_found(history: TableHistory) -> None:
    """A part with other columns, another feature set or other genres would be misread silently."""
    features = part_of(history, "features")
    other = FeatureSpec(mel_hop=512).model_dump_json()
    rows = pq.ParquetFile(features).read()
    pq.write_table(rows.replace_schema_metadata({"feature_spec": other}), features)
    labels = part_of(history, "labels")
    rows = pq.ParquetFile(labels).read()
    pq.write_table(rows.replace_schema_metadata({"genres": json.dumps(GTZAN_GENRES[::-1])}), labels)
    tracks_part = part_of(history, "tracks")
    rows = pq.ParquetFile(tracks_part).read()
    pq.write_table(rows.set_column(2, "size", rows["size"].cast(pa.int32())), tracks_part)
    found = faults(check(history))
    assert found["wrong schema features"] == found["wrong schema tracks"] == 1
    assert found["wrong genres labels"] == 1


def test_a_column_that_was_added_later_may_be_lacking(history: TableHistory) -> None:
    """Tables written by an older Earmark would be reported as faulty."""
    part = part_of(history, "tracks")
    rows = pq.ParquetFile(part).read()
    pq.write_table(rows.drop_columns("artist"), part)
    assert faults(check(history)) == {}
    pq.write_table(rows.drop_columns("size"), part)
    assert faults(check(history))["wrong schema tracks"] == 1


def test_files_that_do_not_belong_are_named(history: TableHistory) -> None:
    """pandas reads any file in the folder as a part; files that it skips are only noted."""
    root = Path(history.tables.root)
    (root / "labels" / "notes.txt").write_text("x")
    (root / "labels" / f"model={MODEL}" / "x.parquet").write_bytes(part_of(history, "labels").read_bytes())
    part = part_of(history, "features")
    (part.parent / ".tmp-0123").write_bytes(b"PAR1")
    (part.parent / "_SUCCESS").write_text("x")
    (root / "report.html").write_text("mine")
    verification = check(history)
    assert faults(verification) == {"stray file tables": 2}
    assert notes(verification) == {"leftover": 1, "hidden file": 1}


def test_parts_without_a_run_and_tracks_without_a_listing_are_named(history: TableHistory) -> None:
    """Parts copied in from other tables belong to nobody."""
    history.write("failures", "0", failed([("zz", "1")]), run="20200101T000000-ffff")
    history.write(
        "labels", "x", history.labels([("yy", "1")], "20200101T000000-ffff"), model=MODEL,
        run_date="2020-01-01",
    )  # fmt: skip
    found = faults(check(history))
    assert found == {
        "unknown run tables": 1, "unknown run labels": 1,
        "unknown track failures": 1, "unknown track labels": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"genre": "polka"},
        {"confidence": 0.123},
        {"probabilities": [0.1] * 9},
        {"probabilities": [0.2] * 10, "confidence": 0.2},
        {"probabilities": [1.2, -0.2] + [0.0] * 8, "genre": "blues", "confidence": 1.2},
        {"probabilities": [float("nan")] * 10, "confidence": float("nan")},
        {"probabilities": [1.0] + [0.0] * 9, "genre": "rock", "confidence": 1.0},
    ],
)
def test_impossible_labels_are_found(history: TableHistory, change: dict[str, object]) -> None:
    """A label that contradicts its own probabilities would go straight into somebody's charts."""
    rewrite(part_of(history, "labels"), lambda rows: [rows[0] | change, *rows[1:]])
    verification = check(history)
    assert faults(verification) == {"invalid label labels": 1}
    assert verification.findings[0].examples == ("t0000",)


def test_a_genre_left_null_and_a_tie_are_lawful(history: TableHistory) -> None:
    """--min-confidence leaves the genre null; of two equal probabilities either may be the label."""
    tie = {"probabilities": [0.5, 0.5] + [0.0] * 8, "genre": "classical", "confidence": 0.5}
    rewrite(part_of(history, "labels"), lambda rows: [rows[0] | tie, rows[1] | {"genre": None}, *rows[2:]])
    assert faults(check(history)) == {}


def test_label_checks_agree_with_a_plain_loop(tmp_path: Path) -> None:
    """The vectorized check could disagree with the definition; compare them label by label."""
    rng = np.random.default_rng(7)
    genres = GTZAN_GENRES[:3]
    rows = []
    for number in range(400):
        p = rng.dirichlet(np.ones(3)).astype(np.float32)
        if rng.random() < 0.3:
            p[rng.integers(3)] = rng.choice([np.nan, -0.5, 2.0])
        best = int(np.argmax(p)) if rng.random() < 0.8 else int(rng.integers(3))
        rows.append(
            {
                "track_id": f"{number}", "uri": "u", "etag": "1", "genre": genres[best],
                "confidence": p[best], "probabilities": p.tolist()[: rng.choice([3, 3, 3, 2])], "top3": [],
                "n_segments": 1, "feature_set": "f", "labeled_at": TableHistory(tmp_path).now, "run": "r",
            }
        )  # fmt: skip

    def wrong(row: dict[str, object]) -> bool:
        p = np.array(row["probabilities"], np.float64)
        sane = (
            len(p) == 3
            and np.isfinite(p).all()
            and (p >= 0).all()
            and (p <= 1).all()
            and abs(p.sum() - 1) < 1e-3
        )
        return not (sane and row["confidence"] == p.max() and p[genres.index(str(row["genre"]))] == p.max())

    tables = Tables(str(tmp_path))
    table = pa.Table.from_pylist(rows, LABELS)
    history = TableHistory(tmp_path)
    history.write("labels", "0", table, model="m-1", run_date="2026-01-01")
    expected = sum(wrong(row) for row in table.to_pylist())
    assert 50 < expected < 350
    assert check_labels(tables, "m-1", genres)[0].count == expected


def test_a_model_that_is_not_kept_is_said(history: TableHistory) -> None:
    """The labels are valid, but nobody could reproduce them, which users should know."""
    (Path(history.tables.root) / "_models" / MODEL / "model.json").unlink()
    verification = check(history)
    assert verification.sound
    assert notes(verification) == {"model not kept": 1}


def test_reports_that_do_not_add_up_are_found(history: TableHistory) -> None:
    """People read the report, so its counts must match the tables."""
    report = read_reports(history.tables)[-1]
    counts = report.counts.model_copy(update={"labeled": 11, "left": 1})
    write_report(history.tables, report.model_copy(update={"counts": counts}))
    assert faults(check(history)) == {"report mismatch _runs": 1}
    # A run that failed when the store did may have counted less than it wrote, but never more.
    failed_run = report.model_copy(update={"outcome": "failed", "counts": counts})
    write_report(history.tables, failed_run)
    assert "report mismatch _runs" not in faults(check(history))


def test_a_catalog_that_has_moved_on_is_compared(history: TableHistory) -> None:
    """With --catalog, tracks that are new or changed since the last run must be named as not processed."""
    now = tracks(10, etag="2") | tracks(24, start=10) | tracks(6, start=34) | tracks(2, start=40)
    assert check(history, listing=now).sound
    verification = check(history, listing=now | {"t0011": "5", "new": "1"})
    assert faults(verification) == {"not processed labels": 2}


def test_a_catalog_that_nobody_has_labeled_is_not_called_complete(history: TableHistory) -> None:
    """Tables that `featurize` filled would pass for labeled, track by track."""
    shutil.rmtree(history.tables.folder("labels"))
    for report in read_reports(history.tables):
        write_report(history.tables, report.model_copy(update={"command": "featurize", "model": None}))
    now = tracks(10, etag="2") | tracks(24, start=10) | tracks(6, start=34) | tracks(2, start=40)
    assert faults(check(history, listing=now)) == {"not processed labels": 36}
    assert check(history).sound


def test_a_killed_compaction_is_named(history: TableHistory) -> None:
    """Rows that raw readers see twice for a while must be reported, but not as duplicates made by a run."""
    part = part_of(history, "labels")
    partition = str(part.parent.relative_to(history.tables.root))
    merged = part.with_name("merged-0123.parquet")
    entry = LogEntry(partition=partition, merged=merged.name, rows=4, sources=(part.name,))
    storage.write_bytes(entry.location(history.tables.root), entry.model_dump_json().encode())
    verification = check(history)
    assert (verification.sound, notes(verification)) == (True, {"killed compaction": 1})
    merged.write_bytes(part.read_bytes())
    verification = check(history)
    assert faults(verification) == {"duplicated by compaction tables": 1}
    part.unlink()
    verification = check(history)
    assert (verification.sound, notes(verification)) == (True, {"killed compaction": 1})
    assert LOG_FOLDER in entry.location("")


def test_the_json_form_says_the_same(history: TableHistory) -> None:
    """A scheduler reads the JSON and raises the alarm."""
    part_of(history, "labels", last=True).unlink()
    verification = check(history)
    said = json.loads(render_json(history.tables, verification, busy=False))
    assert said["sound"] is False
    assert {finding["kind"] for finding in said["findings"]} >= {"missing", "report mismatch"}
    assert said["accounts"][0]["missing"] == 4


@pytest.mark.parametrize("transient", [True, False])
def test_only_what_may_pass_by_itself_is_to_be_tried_again(
    monkeypatch: pytest.MonkeyPatch, transient: bool
) -> None:
    """For want of credentials, somebody runs verify again and again."""

    def refuse(location: str) -> Tables:
        error = StoreError(f"cannot open the tables {location}: no AWS credentials were found")
        error.transient = transient
        raise error

    monkeypatch.setattr("jobs.read_tables.open_tables", refuse)
    done = CliRunner().invoke(app, ["verify", "s3://bucket/tables"])
    assert done.exit_code == 4
    assert ("run verify again" in done.output) is transient
