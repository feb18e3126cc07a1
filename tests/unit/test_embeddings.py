"""Embeddings: a second output of the same pass, a table of their own, and what maintains it."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import soundfile

import earmark
from jobs.run.request import list_job, make_job
from pipeline.catalogs.catalog import list_catalog
from pipeline.catalogs.planning import Goal
from pipeline.models.audioset import build_network, own_head
from pipeline.models.bundle import ModelBundle
from pipeline.models.classifier import Classifier
from pipeline.models.embedding import find_embedding, to_float16, with_embedding
from pipeline.models.torch_file import read_weights
from pipeline.shards.featurize_shard import Shard, featurize_shard
from pipeline.shards.known_good_features import label_known_good
from pipeline.shards.label_part import LabelResult, LabelTask, label_part
from pipeline.shards.limits import TrackLimits
from pipeline.storage import storage
from pipeline.tables.ddl import generate_ddl
from pipeline.tables.embeddings import current_embeddings, list_embedding_models, read_vectors
from pipeline.tables.maintenance.compact.compaction import compact, plan_compaction
from pipeline.tables.maintenance.vacuum import VacuumOptions, plan_vacuum, remove_planned
from pipeline.tables.maintenance.verify.verification import verify
from pipeline.tables.objects import list_objects
from pipeline.tables.runs import read_reports, write_report
from pipeline.tables.tables import Tables
from schemas.config import RunConfig
from schemas.errors import EarmarkError, EnvironmentFaultError, MisuseError
from schemas.report import Counts
from schemas.tables import EMBEDDINGS, embeddings_schema
from tests.plans import plan_tables
from tests.published_weights import random_weights, torch_file
from tests.table_history import MODEL, SPEC, TableHistory, tracks

SR = 22050
RUN = "20260101T000000-test"


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return ModelBundle.load("gtzan")


@pytest.fixture(scope="module")
def classifier(bundle: ModelBundle) -> Classifier:
    return Classifier(bundle, batch_size=4)


def levels(n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (128, 300 + 40 * number), np.uint8) for number in range(n)]


def test_labels_are_the_same_to_the_last_bit_with_embeddings(classifier: Classifier) -> None:
    """A night with --embeddings would give other labels than one without."""
    log_mels = levels(6)
    plain = classifier.predict(log_mels)
    prediction, vectors = classifier.predict_and_embed(log_mels)
    np.testing.assert_array_equal(prediction.proba, plain.proba)
    assert vectors.shape == (6, 192)
    assert vectors.dtype == np.float32


def test_the_last_layer_turns_the_embedding_into_the_logits(classifier: Classifier) -> None:
    """A head trained on the table would sit on other numbers than the network gives it."""
    _, vectors = classifier.predict_and_embed(levels(4))
    dense = classifier.network.layers[-1]
    kernel, bias = (np.asarray(each) for each in dense.get_weights())
    batch = classifier._pad([[levels(4)]])
    np.testing.assert_allclose(vectors @ kernel + bias, np.asarray(classifier.logits(*batch)), atol=1e-4)


def test_audiosets_embedding_is_the_mean_before_its_classifier() -> None:
    """It would be the layer after, of 512 numbers that know only AudioSet's classes."""
    network = build_network(read_weights(torch_file(random_weights())), own_head())
    embedding = find_embedding(network)
    assert embedding is network.get_layer("embedding").output
    assert embedding.shape[1:] == (384,)
    both = with_embedding(network)
    noise = np.random.default_rng(0).integers(0, 256, (1, 128, 1000, 1)).astype(np.float32)
    logits, _ = both(noise, training=False)
    np.testing.assert_array_equal(np.asarray(logits), np.asarray(network(noise, training=False)))


def test_a_network_without_a_vector_is_refused_with_a_reason() -> None:
    """A user's own network would fail in the middle of a run, with the message of a library."""
    import keras

    pixels = keras.layers.Input((8, 8, 1))
    with pytest.raises(MisuseError, match="has no embedding"):
        find_embedding(keras.Model(pixels, keras.layers.Dense(2)(pixels)))


def test_values_beyond_float16_are_stored_as_its_largest() -> None:
    """An infinite number in one vector would spoil every mean and distance that it takes part in."""
    np.testing.assert_array_equal(
        to_float16(np.array([1e6, -1e6, 0.1], np.float32)), np.array([65504, -65504, 0.1], np.float16)
    )


Label = Callable[..., tuple[LabelResult, dict[str, pa.Table]]]


@pytest.fixture
def label(tmp_path: Path, bundle: ModelBundle, classifier: Classifier) -> Label:
    """A function that labels two tracks, one of them silent in the middle, and reads what was written."""
    sound = np.random.default_rng(0).normal(0, 0.1, 100 * SR).astype(np.float32)
    parted = sound.copy()
    parted[33 * SR : 67 * SR] = 0
    (tmp_path / "catalog").mkdir()
    for name, y in (("parted", parted), ("sound", sound)):
        soundfile.write(tmp_path / "catalog" / f"{name}.wav", y, SR)
    listing = list_catalog(str(tmp_path / "catalog"))
    listing = listing.append_column("attempts", pa.array([0, 0], pa.int32()))
    tables, spec = Tables(str(tmp_path / "tables")), bundle.info.features
    shard = Shard("a", RUN, spec.feature_set, listing, datetime.now(UTC))
    limits = TrackLimits.of(RunConfig())
    assert featurize_shard(shard, tables, spec, lambda: None, limits=limits).n_failed == 0
    part = shard.parts(tables)["features"]

    def labeled(
        name: str = "a", labeled: tuple[str, ...] = (), embedded: tuple[str, ...] = (), **options: Any
    ) -> tuple[LabelResult, dict[str, pa.Table]]:
        chosen = listing.select(["track_id", "uri", "etag", "attempts"])
        version = {
            Path(uri).stem: (track_id, etag)
            for track_id, uri, etag in zip(
                *(chosen[column].to_pylist() for column in ("track_id", "uri", "etag")), strict=True
            )
        }
        task = LabelTask(
            name, RUN, "2026-01-01", bundle.model, part, spec.feature_set, chosen,
            frozenset(version[each] for each in labeled), frozenset(version[each] for each in embedded),
        )  # fmt: skip
        result = label_part(task, tables, classifier, lambda: None, **options)
        found = {
            table: pq.read_table(path, partitioning=None)
            for table, path in task.parts(tables).items()
            if storage.exists(path)
        }
        return result, found

    return labeled


def test_a_part_holds_a_vector_for_each_segment_and_zeros_for_silence(label: Label) -> None:
    """A reader would find no row for a silent segment, or a vector that says something about silence."""
    result, found = label(embeddings=True)
    assert (result.n_labeled, result.n_embedded) == (2, 0)
    rows = found["embeddings"]
    assert rows.schema.equals(embeddings_schema(192))
    assert rows.num_rows == 6
    silent = [not any(vector) for vector in rows["vector"].to_pylist()]
    assert sum(silent) == 1
    assert rows["segment"].to_pylist()[silent.index(True)] == 1


def test_without_being_asked_for_no_embeddings_are_written(label: Label) -> None:
    """Tables would grow by a kilobyte a segment for nothing."""
    assert set(label()[1]) == {"labels"}


def test_a_track_that_has_a_label_gets_embeddings_and_no_second_label(label: Label) -> None:
    """Whoever asks for embeddings later would count the old tracks twice."""
    result, found = label(labeled=("sound",), embeddings=True, segment_labels=True)
    assert (result.n_labeled, result.n_embedded, result.n_done) == (1, 1, 2)
    assert [Path(uri).stem for uri in found["labels"]["uri"].to_pylist()] == ["parted"]
    assert found["segment_labels"].num_rows == 2
    assert found["embeddings"].num_rows == 6


def test_a_track_that_has_embeddings_gets_a_label_and_no_second_vector(label: Label) -> None:
    """Whoever removes labels, to have them made anew, would find each vector twice."""
    result, found = label(embedded=("sound",), embeddings=True)
    assert (result.n_labeled, result.n_embedded) == (2, 0)
    assert found["embeddings"].num_rows == 3


def test_a_track_without_numbers_is_a_suspect_until_another_process_agrees(
    label: Label, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails: a broken GPU condemns each track that it was given, and leaves rows that say nothing."""
    run_batch = classifier._run_batch

    def broken(*arguments: Any) -> Any:
        return [each * np.nan for each in run_batch(*arguments)]

    monkeypatch.setattr(classifier, "_run_batch", broken)
    result, found = label(embeddings=True, segment_labels=True)
    assert (result.n_done, result.n_failed, len(result.suspects), found) == (0, 0, 2, {})
    result, found = label("au", embeddings=True, segment_labels=True, confirming=True)
    assert (result.n_done, result.n_failed, result.suspects, set(found)) == (0, 2, (), {"failures"})
    assert set(found["failures"]["error_type"].to_pylist()) == {"LabelError"}
    with pytest.raises(EnvironmentFaultError, match="not finite"):
        label_known_good(classifier)


@pytest.fixture
def history(tmp_path: Path) -> TableHistory:
    """Ten tracks that a run labeled and embedded."""
    made = TableHistory(tmp_path / "tables")
    made.model()
    run = made.run(tracks(10))
    embed(made, tracks(10), run)
    return made


def embed(history: TableHistory, versions: dict[str, str], run: str, n_numbers: int = 8) -> None:
    """Write embeddings as a run with --embeddings, and note that it was one."""
    vectors = {name: history.rng.normal(size=(3, n_numbers)) for name in versions}
    history.embed("000000", vectors, run=run, etags=versions)
    for report in read_reports(history.tables):
        if report.run == run:
            write_report(history.tables, report.model_copy(update={"config": {"embeddings": True}}))


def faults(history: TableHistory) -> dict[str, int]:
    found = verify(history.tables, read_reports(history.tables), deep=True).findings
    return {f"{finding.kind} {finding.table}": finding.count for finding in found if finding.fault}


def plan(history: TableHistory, versions: dict[str, str], *, embeddings: bool) -> Any:
    from pipeline.catalogs.track_refs import to_batch
    from schemas.tables import LISTING
    from tests.table_history import refs

    rows = pa.Table.from_batches([to_batch(refs(list(versions.items())))], LISTING)
    return plan_tables(rows, history.tables, Goal(SPEC, MODEL, embeddings=embeddings))


def test_a_plan_with_embeddings_takes_up_the_tracks_that_lack_them(history: TableHistory) -> None:
    """Tracks labeled before would never get embeddings, or everything would be labeled again."""
    history.run(tracks(4, start=10), unchanged=10)
    without = plan(history, tracks(14), embeddings=False)
    assert (without.n_labeled, without.n_todo, without.to_embed.num_rows) == (14, 0, 0)
    made = plan(history, tracks(16), embeddings=True)
    assert (made.n_labeled, made.to_label.num_rows, made.to_featurize.num_rows) == (10, 4, 2)
    assert set(made.to_embed["track_id"].to_pylist()) == set(tracks(4, start=10))
    assert made.embedded.num_rows == 0


def test_a_plan_knows_embeddings_whose_labels_were_removed(history: TableHistory) -> None:
    """The next run would write the same vectors a second time."""
    storage.filesystem("file").rm(history.tables.folder("labels"), recursive=True)
    made = plan(history, tracks(10), embeddings=True)
    assert (made.n_labeled, made.to_label.num_rows, made.to_embed.num_rows) == (0, 10, 0)
    assert made.embedded.num_rows == 10


def test_intact_tables_with_embeddings_pass(history: TableHistory) -> None:
    """A nightly check would raise an alarm over nothing."""
    assert faults(history) == {}
    history.run(tracks(4, start=10), unchanged=10)
    assert faults(history) == {}, "a run that was not asked for embeddings lacks none"


def test_embeddings_whose_labels_were_made_again_are_no_fault(history: TableHistory) -> None:
    """After a model has labeled everything again, every later check would fail for its embeddings."""
    for table in ("labels", "features"):
        storage.filesystem("file").rm(history.tables.folder(table), recursive=True)
    assert faults(history) == {"missing labels": 10, "report mismatch _runs": 1}
    history.run(tracks(10))
    assert faults(history) == {}


def test_each_fault_of_the_embeddings_is_named(history: TableHistory) -> None:
    """A lost or doubled part of vectors would stay unseen until a model is trained on it."""
    (part,) = (Path(history.tables.root) / "embeddings").rglob("*.parquet")
    rows = pq.read_table(part, partitioning=None)
    moved = Path(history.tables.root).parent / "moved"
    part.rename(moved)
    assert faults(history) == {"missing embeddings embeddings": 10}
    moved.rename(part)
    pq.write_table(rows.slice(0, 2), part.with_name("x.parquet"))
    assert faults(history) == {"duplicate embeddings": 2}
    part.with_name("x.parquet").unlink()
    spoiled = np.stack(rows["vector"].to_pylist()).astype(np.float16)
    spoiled[3, 0] = np.nan
    vector = pa.FixedSizeListArray.from_arrays(
        pa.array(spoiled.ravel()), type=rows.schema.field("vector").type
    )
    pq.write_table(rows.set_column(4, rows.schema.field("vector"), vector), part)
    assert faults(history) == {"invalid embedding embeddings": 1}


@pytest.mark.parametrize("nothing", [None, []])
@pytest.mark.parametrize("first", [0, 3])
def test_vectors_without_numbers_are_named(
    history: TableHistory, nothing: list[float] | None, first: int
) -> None:
    """A program that rewrites the vectors and leaves some out ended verify in an internal error."""
    (part,) = (Path(history.tables.root) / "embeddings").rglob("*.parquet")
    rows = pq.read_table(part, partitioning=None)
    vectors = rows["vector"].to_pylist()
    vectors[first] = nothing
    kind = EMBEDDINGS.field("vector").type
    pq.write_table(rows.set_column(4, pa.field("vector", kind), pa.array(vectors, kind)), part)
    assert faults(history) == {"invalid embedding embeddings": 1}
    with pytest.raises(EarmarkError, match="verify"):
        current_embeddings(history.tables, MODEL)
    pq.write_table(
        rows.set_column(4, pa.field("vector", kind), pa.array([nothing] * len(vectors), kind)), part
    )
    assert faults(history) == {"invalid embedding embeddings": len(vectors)}


def test_a_failure_to_embed_is_no_contradiction_to_the_label(history: TableHistory) -> None:
    """A track that crashes the model when it is embedded would fail every later check of the tables."""
    from schemas.errors import LabelerCrashedError
    from tests.table_history import failed

    history.run(tracks(1, start=10), unchanged=10)
    history.now = history.now.replace(hour=12)
    run = f"{history.now:%Y%m%dT%H%M%S}-0000"
    counts = Counts(listed=11, labeled_before=10, failed=1)
    history.report(run, counts, config={"embeddings": True})
    rows = failed(list(tracks(1, start=10).items()), LabelerCrashedError("died"), model=MODEL)
    history.write("failures", "label-a", rows, run=run)
    assert faults(history) == {}


def test_current_embeddings_are_those_of_present_content(history: TableHistory) -> None:
    """Similar tracks would include files that were deleted, or the sound of a replaced one."""
    run = history.run(tracks(2, etag="2"), gone=tracks(1, start=9), unchanged=7)
    embed(history, tracks(2, etag="2"), run)
    rows = current_embeddings(history.tables, MODEL)
    assert rows.num_rows == 9 * 3
    assert pa.types.is_fixed_size_list(rows["vector"].type)
    changed = rows.filter(pc.equal(rows["etag"], "2"))
    assert set(changed["track_id"].to_pylist()) == set(tracks(2))
    assert rows["uri"].to_pylist()[0] == "/music/t0000.mp3"
    assert sum(len(vectors) for _, vectors in read_vectors(history.tables, MODEL)) == 12 * 3
    assert list_embedding_models(list_objects(history.tables)) == [MODEL]
    opened = earmark.open_tables(history.tables.root)
    assert opened.embeddings().equals(rows)
    with pytest.raises(MisuseError):
        opened.embeddings("nobody")


def test_tables_without_embeddings_say_how_to_add_them(tmp_path: Path) -> None:
    """A newcomer would see an empty table and not know why."""
    made = TableHistory(tmp_path)
    made.run(tracks(2))
    assert current_embeddings(made.tables, MODEL).num_rows == 0
    with pytest.raises(MisuseError, match=r"'earmark run CATALOG .* --embeddings'"):
        earmark.open_tables(tmp_path).embeddings()


def test_without_features_labeling_points_to_a_run_that_embeds(tmp_path: Path) -> None:
    """After `--keep-features none`, one would be sent to a run that finds nothing to do."""
    TableHistory(tmp_path).run(tracks(2))
    job = make_job("label", None, str(tmp_path), RunConfig(model="default", embeddings=True))
    with pytest.raises(MisuseError, match=r"'earmark run CATALOG .* --model default --embeddings'"):
        list_job(job)


def test_other_programs_read_them(history: TableHistory) -> None:
    """The tables are plain Parquet: DuckDB and pandas read the vectors, and Spark is told that it cannot."""
    with duckdb.connect() as connection:
        connection.execute(generate_ddl(history.tables, "duckdb"))
        found = connection.execute("SELECT track_id, segment, vector, model FROM embeddings").fetchall()
    ours = current_embeddings(history.tables, MODEL).to_pylist()
    vector_of = {(row["track_id"], row["segment"]): row["vector"] for row in ours}
    assert len(found) == 30
    for track_id, segment, vector, model in found:
        assert (list(vector), model) == (vector_of[track_id, segment], MODEL)
    for dialect in ("spark", "athena"):
        statement = generate_ddl(history.tables, dialect)
        assert "-- without vector" in statement
        assert "vector ARRAY" not in statement


def test_vacuum_removes_vectors_of_content_that_is_gone_and_compact_merges_the_rest(
    history: TableHistory,
) -> None:
    """Vectors of deleted files would stay for ever, and small parts pile up."""
    (first,) = (Path(history.tables.root) / "embeddings").rglob("*.parquet")
    rows = pq.read_table(first, partitioning=None)
    first.unlink()
    pq.write_table(rows.slice(0, 6), first)
    pq.write_table(rows.slice(6), first.with_name("000001.parquet"))
    history.run(tracks(2, etag="2"), unchanged=8)
    options = VacuumOptions(older_than_days=-1000)
    removals = plan_vacuum(list_objects(history.tables), read_reports(history.tables), options)
    (removal,) = [each for each in removals if each.kind.startswith("embeddings")]
    assert [entry.name for entry in removal.objects] == [first.name]
    pq.write_table(rows.slice(6, 3), first.with_name("000002.parquet"))
    pq.write_table(rows.slice(9), first.with_name("000001.parquet"))
    remove_planned(list_objects(history.tables), [removal], options, lambda: None)
    stored = list_objects(history.tables)
    plans = plan_compaction(stored, target_bytes=1 << 20, older_than_days=-1)
    compact(stored, plans, target_bytes=1 << 20, check=lambda: None)
    (merged,) = (Path(history.tables.root) / "embeddings").rglob("*.parquet")
    assert pq.read_table(merged, partitioning=None).num_rows == 24
    assert current_embeddings(history.tables, MODEL).num_rows == 24
