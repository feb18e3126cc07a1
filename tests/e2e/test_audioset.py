"""A model that others trained, as a user adds it and labels with it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import soundfile as sf
from numpy.typing import NDArray

from pipeline.models.model_cache import CACHE_VARIABLE
from tests.e2e.earmark import earmark, succeed

pytestmark = pytest.mark.usefixtures("on_running_ray")

WEIGHTS = Path(__file__).resolve().parents[3] / "shared" / "models" / "mn04_as_mAP_432.pt"


def beeps() -> NDArray[np.float64]:
    """Ten seconds of a time signal: a beep of 1 kHz each second."""
    t = np.arange(320000) / 32000
    return 0.5 * np.sin(2 * np.pi * 1000 * t) * (t % 1 < 0.2)


def test_models_are_listed_added_and_used(
    tmp_path: Path, gtzan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user would follow the guide and get no labels, or labels of speech."""
    if not WEIGHTS.is_file():
        pytest.skip("no published weights beside the checkout (shared/models)")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    music = tmp_path / "music"
    music.mkdir()
    for genre in ("classical", "jazz", "metal"):
        shutil.copy(sorted((gtzan / "audio" / genre).glob("*.flac"))[-1], music)
    assert "can be added" in succeed("models")
    refused = earmark("run", music, tmp_path / "tables", "--model", "audioset")
    assert refused.returncode == 2
    assert "earmark models add audioset" in refused.stderr
    assert "MIT" in succeed("models", "add", "audioset", "--file", WEIGHTS)
    assert "can be added" not in succeed("models")
    sf.write(music / "beeps.wav", beeps(), 32000)
    succeed("run", music, tmp_path / "tables", "--model", "audioset", "--segment-labels", "--cpus", "2")
    rows = json.loads(succeed("labels", tmp_path / "tables", "--format", "json"))
    assert len(rows) == 4
    (no_music,) = (row for row in rows if row["uri"].endswith("beeps.wav"))
    assert (no_music["genre"], no_music["labels"]) == (None, [])
    assert no_music["is_music"] < 0.5
    rows.remove(no_music)
    assert all(row["is_music"] > 0.5 and row["labels"] for row in rows)
    segments = ds.dataset(tmp_path / "tables" / "segment_labels", partitioning="hive").to_table().to_pylist()
    for row in [*rows, no_music]:
        own = [each["is_music"] for each in segments if each["track_id"] == row["track_id"]]
        assert np.mean(own) == pytest.approx(row["is_music"], abs=1e-3)
    assert "so it has no genre" in succeed(
        "plot", music / "beeps.wav", "--model", "audioset", "--out", tmp_path / "beeps.html"
    ) + (tmp_path / "beeps.html").read_text("utf-8")
    assert "that this segment is music, so it has no genre" in succeed(
        "explain", music / "beeps.wav", "--model", "audioset", "--out", tmp_path / "why.html"
    ) + (tmp_path / "why.html").read_text("utf-8")
    assert sum(Path(row["uri"]).name.startswith(row["genre"]) for row in rows) >= 2
    (part,) = (tmp_path / "tables" / "features").rglob("*.parquet")
    assert part.stat().st_size / 4 <= 170_000 + pq.read_metadata(part).serialized_size
    assert "none duplicated" in succeed("verify", tmp_path / "tables", "--deep")
