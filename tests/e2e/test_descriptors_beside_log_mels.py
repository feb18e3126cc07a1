"""`earmark run --descriptors` with a model of another form: the published descriptors beside its log-mels."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import earmark as package
from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.demo.demo_catalog import write_demo_catalog
from pipeline.tables.tables import Tables
from pipeline.training.data.labeled_tables import import_tables
from tests.e2e.earmark import ask, read_table, succeed

pytestmark = pytest.mark.usefixtures("on_running_ray")

N_TRACKS = 6


def labels_of(tables: Path) -> pd.DataFrame:
    """What the model said, by track."""
    columns = ["uri", "genre", "confidence", "n_segments", "is_music"]
    return read_table(tables, "labels")[columns].sort_values("uri", ignore_index=True)


@pytest.mark.thorough
def test_descriptors_are_the_published_ones_and_labels_stay(tmp_path: Path) -> None:
    """Descriptors of excerpts of 10 s at 32 kHz would be compared with tables of 30 s at 22,050 Hz."""
    music, tables, alone = tmp_path / "music", tmp_path / "tables", tmp_path / "alone"
    write_demo_catalog(music, n_tracks=N_TRACKS, duration_s=14)
    many = ("--max-failure-rate", "0.9")
    succeed("run", music, tables, "--descriptors", "--embeddings", "--segment-labels", *many)
    succeed("run", music, alone, "--embeddings", "--segment-labels", *many)
    pd.testing.assert_frame_equal(labels_of(tables), labels_of(alone))
    for table in ("embeddings", "segment_labels"):
        found, wanted = (
            read_table(each, table).sort_values(["track_id", "segment"], ignore_index=True)
            for each in (tables, alone)
        )
        assert found[["track_id", "segment"]].equals(wanted[["track_id", "segment"]])

    csv = tmp_path / "descriptors.csv"
    ask("export-descriptors", tables, "--csv", csv)
    exported = pd.read_csv(csv).set_index("filename")
    assert len(exported) == N_TRACKS  # one segment of 14 s each, none by the log-mels
    for name, row in exported.iterrows():
        described = package.describe(music / str(name))
        np.testing.assert_allclose(
            row[list(DESCRIPTOR_NAMES)].to_numpy(np.float64),
            described[list(DESCRIPTOR_NAMES)].iloc[0],
            rtol=1e-6,
        )
        assert row["length"] == round(described["duration_s"].iloc[0] * 22050)


@pytest.mark.thorough
def test_a_catalog_that_grows_keeps_both(tmp_path: Path) -> None:
    """The next night would decode everything again, or a model would be trained on some tracks twice."""
    music, tables = tmp_path / "music", tmp_path / "tables"
    write_demo_catalog(music, n_tracks=N_TRACKS, duration_s=6)
    many = ("--max-failure-rate", "0.9")
    late = sorted(music.rglob("*.mp3"))[0]
    held = late.rename(tmp_path / "late.mp3")
    succeed("run", music, tables, *many)
    held.rename(late)
    succeed("run", music, tables, "--descriptors", *many)
    assert "nothing to do" in succeed("run", music, tables, *many)
    assert sorted(Tables(str(tables)).read("features", ["spec"])["spec"].drop_null().to_pylist()) == [0, 1]
    succeed("featurize", music, tables, "--only", "descriptors", *many)
    assert len(read_table(tables, "labels")) == N_TRACKS

    ask("export-descriptors", tables, "--csv", tmp_path / "d.csv")
    exported = pd.read_csv(tmp_path / "d.csv")
    assert exported["filename"].is_unique
    assert len(exported) == N_TRACKS
    assert "none missing, none duplicated" in ask("verify", tables, "--catalog", music, "--deep")
    data = import_tables(str(tables), label_column="genre_tag", log_mel=False, descriptors=True)
    assert data.descriptors is not None
    assert len(data.descriptors) == len(set(data.tracks)) == N_TRACKS
