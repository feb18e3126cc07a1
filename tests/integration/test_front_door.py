"""`earmark.label` beside `earmark run` over the same tracks, on disk and on S3."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import earmark
from pipeline.storage import storage
from tests.e2e.earmark import succeed
from tests.encoders import encode, sweep

RATE = 22050


def write_music(folder: Path) -> None:
    """Tracks of several formats and lengths, silence, and what is no music."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    for form, seconds in {"wav": 70.0, "mp3": 33.0, "flac": 4.0, "vorbis": 12.0, "m4a": 8.0}.items():
        y = sweep(RATE, seconds, 2)
        y += rng.normal(0, 0.05, y.shape).astype(np.float32)
        (folder / f"{form}.{'ogg' if form == 'vorbis' else form}").write_bytes(encode(y, RATE, form))
    (folder / "silence.wav").write_bytes(encode(np.zeros(3 * RATE, np.float32), RATE, "wav"))
    (folder / "broken.mp3").write_bytes(b"liner notes, not music")
    (folder / "empty.wav").write_bytes(b"")


def assert_same(labels: pd.DataFrame, tables: str) -> None:
    """The frame has the very numbers of the tables, and the same failures."""
    opened = earmark.open_tables(tables)
    stored = opened.labels().to_pandas().set_index("uri")
    ours = labels[labels["error_type"].isna()].set_index("uri").sort_index()
    assert ours.index.tolist() == stored.index.tolist()
    assert ours["genre"].fillna("none").tolist() == stored["genre"].fillna("none").tolist()
    assert ours["confidence"].tolist() == stored["confidence"].tolist()
    for mine, theirs in zip(ours["labels"], stored["labels"], strict=True):
        assert (mine is None) == (theirs is None)
        assert mine is None or mine == list(theirs)
    p = ours.filter(regex="^p_").to_numpy()
    np.testing.assert_array_equal(p, np.stack(stored["probabilities"].tolist()))
    tracks = opened.tracks().to_pandas().set_index("uri")
    assert ours["duration_s"].tolist() == tracks.loc[ours.index, "duration_s"].tolist()
    failures = opened.failures().to_pandas()
    failed = labels[labels["error_type"].notna()].sort_values("uri")
    columns = ["uri", "error_type"]
    assert failed[columns].to_numpy().tolist() == failures[columns].to_numpy().tolist()
    assert failed["error"].tolist() == failures["message"].tolist()


@pytest.mark.thorough
def test_a_notebook_comes_to_the_numbers_of_a_run(tmp_path: Path) -> None:
    """Somebody tries ten tracks in a notebook, labels a catalog, and gets other labels for the ten."""
    write_music(tmp_path / "music")
    labels = earmark.label(tmp_path / "music")
    succeed("run", tmp_path / "music", tmp_path / "tables")
    assert_same(labels, str(tmp_path / "tables"))
    assert (labels["error_type"].notna().sum(), len(labels)) == (2, 8)


@pytest.mark.thorough
@pytest.mark.s3
def test_objects_of_a_store_are_labeled_as_files_are(bucket: str, tmp_path: Path) -> None:
    """Music that is in a bucket would have to be downloaded by hand first."""
    write_music(tmp_path / "music")
    for path in (tmp_path / "music").iterdir():
        storage.write_bytes(f"{bucket}/music/{path.name}", path.read_bytes())
    model = earmark.load_model()
    here, there = model.label(tmp_path / "music"), model.label(f"{bucket}/music")
    assert there["uri"].tolist() == [f"{bucket}/music/{Path(uri).name}" for uri in here["uri"]]
    columns = [name for name in here if name not in ("uri", "error")]
    pd.testing.assert_frame_equal(there[columns], here[columns])
    missing = f"{bucket}/music/missing.mp3"
    names: list[str | Path] = [f"{bucket}/music/wav.wav", missing, tmp_path / "music/flac.flac"]
    assert model.label(names)["error_type"].fillna("").tolist() == ["", "NotFoundError", ""]
    with pytest.raises(earmark.errors.NotFoundError, match=r"missing\.mp3 does not exist"):
        model.label(missing)
    with pytest.raises(earmark.EarmarkError, match="contains no audio files"):
        model.label(f"{bucket}/nothing")
    assert len(earmark.describe(f"{bucket}/music/wav.wav")) == 2
