"""Embeddings as a user has them made, trains on them and asks them for similar tracks."""

import json
from pathlib import Path

import pytest

from pipeline.demo.demo_catalog import write_demo_catalog
from pipeline.storage.cache_folder import CACHE_VARIABLE
from tests.e2e.earmark import ask, call, read_table, succeed

pytestmark = pytest.mark.usefixtures("on_running_ray")

WEIGHTS = Path(__file__).resolve().parents[3] / "shared" / "models" / "mn04_as_mAP_432.pt"


def _count(tables: object, name: str, *key: str) -> int:
    """Return the rows of a table, none of which may occur twice."""
    rows = read_table(tables, name)
    assert not rows.duplicated(list(key)).any()
    return len(rows)


def test_embeddings_are_added_once_and_a_head_labels_without_decoding(tmp_path: Path) -> None:
    """A user with few tracks of their own genres would decode everything again, or get vectors twice."""
    music, tables = tmp_path / "music", tmp_path / "tables"
    write_demo_catalog(music, seed=0, n_tracks=40, duration_s=5.0)
    succeed("run", music, tables, "--limit", 30, "--cpus", 2)
    assert read_table(tables, "embeddings").empty
    before = len(read_table(tables, "labels"))
    printed = succeed("run", music, tables, "--embeddings", "--cpus", 2)
    assert f"{40 - before} labeled, {before} labeled before and embedded" in printed
    assert _count(tables, "embeddings", "track_id", "segment", "model") == 40
    assert _count(tables, "labels", "track_id", "model") == 40
    assert "nothing to do" in succeed("run", music, tables, "--embeddings", "--cpus", 2)
    assert "embedded" in ask("status", tables)
    assert "none duplicated" in ask("verify", tables, "--deep")

    head = tmp_path / "my-head"
    printed = ask("train", tables, "--on", "embeddings", "--label-column", "genre_tag", "--out", head)
    assert "artists apart" in printed
    assert "of 40 tracks" in printed
    refused = call("train", tables, "--on", "embeddings", "--arch", "cnn", "--out", tmp_path / "other")
    assert (refused.returncode, "--arch" in refused.stderr) == (2, True)
    succeed("run", music, tables, "--model", head, "--cpus", 2)
    assert json.loads(sorted((tables / "_runs").glob("*.json"))[-1].read_text())["counts"]["featurized"] == 0
    labels = read_table(tables, "labels")
    tags = read_table(tables, "tracks").set_index("track_id")["genre_tag"]
    own = labels[labels["model"].astype(str).str.startswith("my-head-")]
    assert len(own) == 40
    assert (own["genre"].to_numpy() == tags[own["track_id"]].to_numpy()).mean() > 0.5

    song = sorted(music.rglob("*.wav"))[0]
    rows = json.loads(ask("similar", song, tables, "--n", 5, "--format", "json"))
    assert len(rows) == 5
    assert all(Path(row["uri"]).exists() and row["uri"] != str(song) for row in rows)
    other = tmp_path / "other.wav"
    other.write_bytes(song.read_bytes())
    (first, *_) = json.loads(ask("similar", other, tables, "--format", "json"))
    assert (first["uri"], first["similarity"]) == (str(song), pytest.approx(1, abs=1e-3))


@pytest.mark.thorough
def test_a_head_on_published_weights(tmp_path: Path, gtzan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user would follow the guide, from folders of a few tracks to a model of their genres, and fail."""
    if not WEIGHTS.is_file():
        pytest.skip("no published weights beside the checkout (shared/models)")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    for genre in ("classical", "jazz"):
        (tmp_path / "shelves" / genre).mkdir(parents=True)
        for file in sorted((gtzan / "audio_vorbis").glob(f"{genre}.*.ogg"))[:4]:
            (tmp_path / "shelves" / genre / file.name).symlink_to(file)
    succeed("models", "add", "audioset", "--file", WEIGHTS)
    printed = succeed(
        "train", tmp_path / "shelves", "--on", "embeddings", "--from", "audioset", "--cpus", 2,
        "--tables", tmp_path / "tables", "--out", tmp_path / "head",
    )  # fmt: skip
    assert "artists unknown" in printed
    info = json.loads((tmp_path / "head" / "model.json").read_text())
    assert (info["license"], info["genres"]) == ("MIT", ["classical", "jazz"])
    assert info["figures"][0]["accuracy"] >= 0.75
    assert read_table(tmp_path / "tables", "embeddings")["vector"].map(len).eq(384).all()
