"""Tracks that are partly or entirely silent; a network gives silence a genre too."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from pipeline.catalogs.catalog import list_catalog
from pipeline.models.bundle import ModelBundle
from pipeline.models.classifier import Classifier
from pipeline.shards.featurize_shard import Shard, featurize_shard
from pipeline.shards.label_part import LabelResult, LabelTask, label_part
from pipeline.shards.limits import TrackLimits
from pipeline.tables.tables import Tables
from schemas.config import RunConfig

SR = 22050
RUN = "20260101-000000-test"


@pytest.fixture(scope="module")
def label(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[LabelResult, dict[str, Any]]]:
    """Return a function that labels three tracks: sound, sound with a silent segment, and silence."""
    folder = tmp_path_factory.mktemp("silence")
    sound = np.random.default_rng(0).normal(0, 0.1, 100 * SR).astype(np.float32)
    parted = sound.copy()
    parted[33 * SR : 67 * SR] = 0
    (folder / "catalog").mkdir()
    for name, y in (("sound", sound), ("parted", parted), ("silence", np.zeros(20 * SR, np.float32))):
        soundfile.write(folder / "catalog" / f"{name}.wav", y, SR)
    listing = list_catalog(str(folder / "catalog"))
    listing = listing.append_column("attempts", pa.array([0] * 3, pa.int32()))
    bundle = ModelBundle.load("gtzan")
    tables, spec = Tables(str(folder / "tables")), bundle.info.features
    shard = Shard("a", RUN, spec.feature_set, listing, datetime.now(UTC))
    limits = TrackLimits.of(RunConfig())
    assert featurize_shard(shard, tables, spec, lambda: None, limits=limits).n_failed == 0
    part = shard.parts(tables)["features"]
    classifier = Classifier(bundle)

    def labeled(**options: Any) -> tuple[LabelResult, dict[str, Any]]:
        tracks = listing.select(["track_id", "uri", "etag", "attempts"])
        task = LabelTask("a", RUN, "2026-01-01", bundle.model, part, spec.feature_set, tracks)
        result = label_part(task, tables, classifier, lambda: None, **options)
        rows = pq.read_table(task.parts(tables)["labels"]).to_pylist()
        segments = pq.read_table(task.parts(tables)["segment_labels"]).to_pylist()
        found = {Path(row["uri"]).stem: row for row in rows}
        for row in found.values():
            row["segments"] = [each for each in segments if each["track_id"] == row["track_id"]]
        return result, found

    return labeled


def test_silence_has_no_genre(label: Callable[..., tuple[LabelResult, dict[str, Any]]]) -> None:
    """An empty upload is labeled classical at 0.95 and leads a playlist."""
    result, found = label(segment_labels=True)
    assert (result.n_labeled, result.n_failed, result.n_rejected) == (3, 0, 1)
    silence = found["silence"]
    assert silence["genre"] is None
    np.testing.assert_allclose(silence["probabilities"], 0.1)
    assert silence["confidence"] == pytest.approx(0.1)
    assert silence["segments"] == []


def test_a_silent_segment_does_not_count(label: Callable[..., tuple[LabelResult, dict[str, Any]]]) -> None:
    """The silence before a hidden track makes the last track of an album classical."""
    _, found = label(segment_labels=True)
    parted, sound = found["parted"], found["sound"]
    assert (parted["n_segments"], len(parted["segments"]), len(sound["segments"])) == (3, 2, 3)
    assert parted["genre"] == sound["genre"]
    assert parted["confidence"] == pytest.approx(
        np.mean([segment["confidence"] for segment in parted["segments"]]), abs=1e-6
    )
