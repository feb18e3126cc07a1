"""A model that others trained, as a user adds it and labels with it."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.models.model_cache import CACHE_VARIABLE
from tests.e2e.earmark import earmark, succeed

WEIGHTS = Path(__file__).resolve().parents[3] / "shared" / "models" / "mn04_as_mAP_432.pt"


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
    succeed("run", music, tmp_path / "tables", "--model", "audioset", "--cpus", "2")
    rows = json.loads(succeed("labels", tmp_path / "tables", "--format", "json"))
    assert len(rows) == 3
    assert all(row["is_music"] > 0.5 and row["labels"] for row in rows)
    assert sum(Path(row["uri"]).name.startswith(row["genre"]) for row in rows) >= 2
    (part,) = (tmp_path / "tables" / "features").rglob("*.parquet")
    assert part.stat().st_size / 3 <= 170_000 + pq.read_metadata(part).serialized_size
    assert "nothing twice" in succeed("verify", tmp_path / "tables", "--deep")
