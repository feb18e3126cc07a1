"""Models that know what is no music, the published one and the shipped one, as a user labels with them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import soundfile as sf
from numpy.typing import NDArray

from pipeline.storage.cache_folder import CACHE_VARIABLE
from tests.e2e.earmark import ask, earmark, succeed

pytestmark = pytest.mark.usefixtures("on_running_ray")

WEIGHTS = Path(__file__).resolve().parents[3] / "shared" / "models" / "mn04_as_mAP_432.pt"


def beeps() -> NDArray[np.float64]:
    """Ten seconds of a time signal: a beep of 1 kHz each second."""
    t = np.arange(320000) / 32000
    return 0.5 * np.sin(2 * np.pi * 1000 * t) * (t % 1 < 0.2)


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache in which `audioset` has been added as the guide says."""
    if not WEIGHTS.is_file():
        pytest.skip("no published weights beside the checkout (shared/models)")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    assert "can be added" in succeed("models")
    refused = earmark("run", tmp_path, tmp_path / "tables", "--model", "audioset")
    assert refused.returncode == 2
    assert "earmark models add audioset" in refused.stderr
    assert "MIT" in succeed("models", "add", "audioset", "--file", WEIGHTS)


@pytest.mark.thorough
@pytest.mark.usefixtures("added")
def test_a_published_model_labels(tmp_path: Path, gtzan: Path) -> None:
    """A user would follow the guide and get no labels, or labels of speech."""
    assert "can be added" not in succeed("models")
    label_music_and_beeps(tmp_path, gtzan, "audioset")
    for command, says in (
        ("plot", "so it has no genre"),
        ("explain", "that this segment is music, so it has no genre"),
    ):
        page = tmp_path / f"{command}.html"
        printed = succeed(command, tmp_path / "music" / "beeps.wav", "--model", "audioset", "--out", page)
        assert says in printed + page.read_text("utf-8")


@pytest.mark.thorough
def test_default_labels(tmp_path: Path, gtzan: Path) -> None:
    """The time signal between two pieces would get a genre and a share in trends."""
    label_music_and_beeps(tmp_path, gtzan, "default")


def label_music_and_beeps(tmp_path: Path, gtzan: Path, model: str) -> None:
    music, tables = tmp_path / "music", tmp_path / "tables"
    music.mkdir()
    for genre in ("classical", "jazz", "metal"):
        shutil.copy(sorted((gtzan / "audio" / genre).glob("*.flac"))[-1], music)
    sf.write(music / "beeps.wav", beeps(), 32000)
    succeed("run", music, tables, "--model", model, "--segment-labels", "--cpus", "2")
    rows = json.loads(ask("labels", tables, "--format", "json"))
    assert len(rows) == 4
    (no_music,) = (row for row in rows if row["uri"].endswith("beeps.wav"))
    assert (no_music["genre"], no_music["labels"]) == (None, [])
    assert no_music["is_music"] < 0.5
    rows.remove(no_music)
    assert all(row["is_music"] > 0.5 for row in rows)
    assert any(row["labels"] for row in rows)
    segments = ds.dataset(tables / "segment_labels", partitioning="hive").to_table().to_pylist()
    for row in [*rows, no_music]:
        own = [each["is_music"] for each in segments if each["track_id"] == row["track_id"]]
        assert np.mean(own) == pytest.approx(row["is_music"], abs=1e-3)
    assert sum(Path(row["uri"]).name.startswith(row["genre"]) for row in rows) >= 2
    (part,) = (tables / "features").rglob("*.parquet")
    assert part.stat().st_size / 4 <= 170_000 + pq.read_metadata(part).serialized_size
    assert "none duplicated" in ask("verify", tables, "--deep")
