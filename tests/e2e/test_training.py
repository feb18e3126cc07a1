"""A model of one's own, from audio to labels, by the installed command."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.demo.demo_catalog import write_demo_catalog
from pipeline.models.bundle import ModelBundle
from tests.e2e.earmark import EARMARK, ask, earmark, read_table, succeed

pytestmark = pytest.mark.usefixtures("on_running_ray")

N_TRAIN, N_HELD = 120, 30


@pytest.fixture(scope="module")
def catalogs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Generated pieces to train on, and others of the same styles."""
    root = tmp_path_factory.mktemp("catalogs")
    write_demo_catalog(root / "train", seed=0, n_tracks=N_TRAIN, duration_s=6.0)
    write_demo_catalog(root / "held", seed=1, n_tracks=N_HELD, duration_s=6.0)
    return {"train": root / "train", "held": root / "held"}


@pytest.fixture(scope="module")
def trained(catalogs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tables and the descriptors of the training catalog, and the model made of them."""
    folder = tmp_path_factory.mktemp("trained")
    succeed("featurize", catalogs["train"], folder / "tables", "--only", "descriptors")
    ask("export-descriptors", folder / "tables", "--csv", folder / "features.csv")
    arguments = ("--arch", "dense", "--epochs", 150, "--threads", 1, "--out", folder / "model")
    succeed("train", folder / "features.csv", *arguments)
    return folder


@pytest.fixture(scope="module")
def labeled(catalogs: dict[str, Path], trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of the other pieces, labeled with the model."""
    tables = tmp_path_factory.mktemp("labeled") / "tables"
    succeed("run", catalogs["held"], tables, "--model", trained / "model")
    return tables


@pytest.mark.thorough
def test_a_model_trained_on_exported_descriptors_labels_music_it_never_heard(labeled: Path) -> None:
    """The whole way of a researcher: if it breaks, a trained model cannot be used on a catalog."""
    labels, tracks = (read_table(labeled, name) for name in ("labels", "tracks"))
    both = labels.merge(tracks[["track_id", "genre_tag"]], on="track_id")
    assert len(both) == N_HELD
    assert (both["genre"] == both["genre_tag"]).mean() >= 0.9  # by chance it would be 0.1
    features = read_table(labeled, "features")
    assert features["log_mel"].isna().all(), "a model of descriptors needs no log-mels"
    assert features[list(DESCRIPTOR_NAMES)].notna().all(axis=None)


@pytest.mark.thorough
def test_a_genre_below_the_wanted_confidence_is_null_for_every_reader(
    catalogs: dict[str, Path], trained: Path, labeled: Path, tmp_path: Path
) -> None:
    """A nightly tagger that rejects must not write the word None, nor lose the tracks."""
    wanted = round(float(read_table(labeled, "labels")["confidence"].median()), 5)
    output = succeed(
        "run", catalogs["held"], tmp_path / "t", "--model", trained / "model", "--min-confidence", wanted
    )
    labels = read_table(tmp_path / "t", "labels")
    assert len(labels) == N_HELD
    rejected = labels["genre"].isna()
    assert 0 < rejected.sum() < N_HELD
    assert (rejected == (labels["confidence"] < wanted)).all()
    assert labels["probabilities"].map(len).eq(10).all()
    assert f"(no music, silent, or below --min-confidence): {rejected.sum()}" in output
    printed = ask("labels", tmp_path / "t")
    assert "None" not in printed
    listed = json.loads(ask("labels", tmp_path / "t", "--format", "json", "--min-confidence", wanted))
    assert len(listed) == N_HELD - rejected.sum()
    assert earmark("status", tmp_path / "t").returncode == 0
    again = succeed("run", catalogs["held"], tmp_path / "t", "--model", trained / "model")
    assert "nothing to do" in again, "another threshold does not label again"


@pytest.mark.thorough
def test_a_training_that_is_killed_goes_on_to_the_same_model(trained: Path, tmp_path: Path) -> None:
    """Spot machines vanish: hours of training must not be lost, nor come out as another model."""
    arguments = [
        trained / "features.csv", "--arch", "dense", "--epochs", 1500, "--threads", 1, "--name", "m",
        "--checkpoint", tmp_path / "kept",
    ]  # fmt: skip
    command: list[str | Path] = [EARMARK, "train", *map(str, arguments), "--out", str(tmp_path / "killed")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as training:
        while not list(tmp_path.glob("kept/*.npz")):
            assert training.poll() is None, "it ended before it could be killed"
            time.sleep(0.05)
        os.kill(training.pid, signal.SIGKILL)
    assert not (tmp_path / "killed").exists()
    succeed("train", *arguments, "--out", tmp_path / "killed")
    assert not list(tmp_path.glob("kept/*.npz")), "what is done needs no checkpoint"
    succeed("train", *arguments[:-2], "--out", tmp_path / "whole")
    models = [ModelBundle.load(str(tmp_path / name)).model for name in ("killed", "whole")]
    assert models[0] == models[1]


@pytest.mark.thorough
def test_trials_of_several_seeds_are_spread_and_the_best_is_kept(trained: Path, tmp_path: Path) -> None:
    """One lucky seed is no figure: the mean and the spread must be there, and the notes true."""
    output = succeed(
        "train", trained / "features.csv", "--arch", "dense", "--epochs", 3, "--threads", 1,
        "--seeds", "0,1", "--grid", "learning_rate=1e-3,9.9", "--weight-decay", 0.9, "--batch-size", 1,
        "--out", tmp_path / "m",
    )  # fmt: skip
    assert "0: diverged, 1: diverged" in output
    assert "±" in output
    notes = ModelBundle.load(str(tmp_path / "m")).info.training
    assert notes["picked_from_trials"] == 4
    assert notes["learning_rate"] == 1e-3
    assert notes["split_seed"] == 0


def test_audio_by_genre_is_trained_on_and_broken_files_are_named(
    catalogs: dict[str, Path], tmp_path: Path
) -> None:
    """What most people have: folders of music, some of it broken."""
    for number, genre in enumerate(("left", "right")):
        folder = tmp_path / "music" / genre
        folder.mkdir(parents=True)
        for path in sorted(catalogs["held"].rglob("*.flac"))[number * 4 : number * 4 + 4]:
            (folder / path.name).write_bytes(path.read_bytes())
    (tmp_path / "music/left/broken.mp3").write_text("no audio")
    sf.write(tmp_path / "music/left/silent.wav", np.zeros(60 * 22050), 22050)
    (tmp_path / "music/loose.wav").write_bytes(next(catalogs["held"].rglob("*.wav")).read_bytes())
    done = earmark(
        "train", tmp_path / "music", "--arch", "both", "--epochs", 1, "--threads", 1,
        "--out", tmp_path / "m", "--tables", tmp_path / "kept",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "broken.mp3 is a text file, not audio; remove or replace it" in done.stderr
    assert "left out because they have no genre: 1 of 10 tracks" in done.stderr
    assert "left out because they have no sound: 1 of 10 tracks" in done.stderr
    info = ModelBundle.load(str(tmp_path / "m")).info
    assert info.genres == ("left", "right")
    assert (info.arch, info.features.descriptors) == ("both", True)
    refused = earmark("train", tmp_path / "music", "--label-column", "mood", "--out", tmp_path / "n")
    assert refused.returncode == 2
    assert "choose with --label-column: genre_tag, folder" in refused.stderr
