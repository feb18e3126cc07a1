"""`earmark evaluate` from data to figures: protocols, leaks, and what a model has seen."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from jobs.evaluation.evaluate import evaluate_job
from jobs.evaluation.request import Request
from pipeline.models.bundle import ModelBundle
from pipeline.models.classifier import Classifier
from pipeline.tables.stored_features import read_features
from pipeline.training.splits import split_by_track
from pipeline.training.train_model import TrainingOptions, train
from pipeline.training.training_set import TrainingSet
from pipeline.training.training_settings import TrainingSettings
from schemas.errors import MisuseError
from schemas.evaluation import Evaluation, Scores
from tests.e2e.earmark import earmark, succeed
from tests.table_history import SPEC, TableHistory

GENRES = ("high", "low", "pulse")


def marked(n_a_genre: int = 16) -> tuple[NDArray[np.uint8], NDArray[np.str_], NDArray[np.str_]]:
    """Noise with one clear mark a genre, two segments a track."""
    rng = np.random.default_rng(0)
    log_mel = rng.integers(0, 100, (3 * n_a_genre, 32, 128), dtype=np.uint8)
    labels = np.repeat(np.arange(3), n_a_genre)
    log_mel[labels == 0, 24:] += 150
    log_mel[labels == 1, :8] += 150
    log_mel[labels == 2, :, ::8] += 150
    tracks = np.array([f"{GENRES[label]}.{i // 2:05d}" for i, label in enumerate(labels)])
    return log_mel, tracks, np.array(GENRES)[labels]


def fingerprints(n_tracks: int = 90) -> tuple[NDArray[np.uint8], NDArray[np.str_], NDArray[np.str_]]:
    """Tracks that sound each like itself and like no genre: the labels are drawn by lot."""
    rng = np.random.default_rng(1)
    profile = rng.integers(40, 200, (n_tracks, 32, 1))
    log_mel = (profile + rng.integers(-30, 30, (n_tracks, 32, 160))).astype(np.uint8)
    tracks = np.array([f"t.{i:05d}" for i in range(n_tracks)])
    return log_mel, tracks, np.array(GENRES)[rng.permutation(np.arange(n_tracks) % 3)]


def save(path: Path, log_mel: NDArray[np.uint8], tracks: NDArray[np.str_], genre: NDArray[np.str_]) -> str:
    np.savez(path, log_mel=log_mel, track=tracks, genre=genre, range_db=np.ones(len(genre)))
    return str(path)


def settings(epochs: int = 1) -> TrainingSettings:
    return TrainingSettings(epochs=epochs, threads=1)


def by_name(evaluation: Evaluation) -> dict[str, Scores]:
    return {scores.name: scores for scores in evaluation.baselines}


@pytest.mark.thorough
def test_leak_shows_where_there_is_nothing_but_leak(tmp_path: Path) -> None:
    """Labels by lot: whoever is better than chance here has met the recordings, and it is said."""
    data = save(tmp_path / "lot.npz", *fingerprints())
    found = {
        split: evaluate_job(Request(data=data, arch="cnn", split=split, settings=settings()))
        for split in ("segment", "track")
    }
    assert by_name(found["segment"])["k-nn"].accuracy >= 0.95
    assert by_name(found["track"])["k-nn"].accuracy <= 0.65
    assert found["segment"].unit == "piece"
    assert "both sides" in found["segment"].leak
    assert found["track"].unit == "track"
    assert found["track"].n_train_tracks == 72


@pytest.mark.thorough
def test_what_can_be_learned_is_found_in_every_fold(tmp_path: Path) -> None:
    """Cross-validation: each track is tested once, by a model that has not met it."""
    data = save(tmp_path / "marked.npz", *marked())
    request = Request(data=data, arch="cnn", split="track", n_folds=2, settings=settings(25))
    folds: list[int] = []
    found = evaluate_job(request, on_epoch=lambda fold, epoch: folds.append(fold))
    assert folds == [1] * 25 + [2] * 25
    assert (found.n_tracks, found.n_segments, found.folds) == (24, 48, 2)
    assert found.accuracy >= 0.9
    assert len(found.fold_accuracies) == 2
    assert by_name(found)["svm"].accuracy >= 0.9
    assert by_name(found)["majority"].accuracy <= 0.5
    assert found.other_unit is not None
    assert found.other_unit.n == 48
    assert [scores.unit for scores in found.baselines_other_unit] == 4 * ["piece"]


@pytest.mark.thorough
def test_the_seed_fixes_every_figure(tmp_path: Path) -> None:
    """A figure that nobody gets again is no figure."""
    data = save(tmp_path / "lot.npz", *fingerprints(45))
    request = Request(data=data, arch="cnn", split="track", settings=settings())
    assert evaluate_job(request) == evaluate_job(request)


def made_before(folder: Path) -> tuple[str, TrainingSet, TrainingSet]:
    """A model trained on most of the marked tracks, with what it was and was not trained on."""
    log_mel, tracks, genre = marked()
    labels = np.array([GENRES.index(name) for name in genre])
    data = TrainingSet(log_mel, labels, tracks, GENRES)
    parts = split_by_track(data, seed=0)
    features = data.features.model_copy(update={"n_mels": 32})
    bundle = train(*parts, TrainingOptions("before", "track", "marked", settings(2), features=features))
    bundle.save(folder)
    return str(folder), *parts


@pytest.mark.thorough
def test_a_model_made_before_is_judged_and_what_it_has_seen_is_said(tmp_path: Path) -> None:
    """The mistake that flatters most is to test on what was trained on: it must be said loudly."""
    model, trained, held = made_before(tmp_path / "model")
    everything = save(tmp_path / "marked.npz", *marked())
    found = evaluate_job(Request(data=everything, model=model, settings=settings()))
    assert found.seen is not None
    assert (found.seen.known, found.seen.trained_on, found.seen.calibrated_on) == (
        True, len(set(trained.tracks)), len(set(held.tracks)),
    )  # fmt: skip
    assert (found.protocol, found.baselines, found.split) == ("as given", (), None)
    assert found.model == ModelBundle.load(model).model
    done = earmark("evaluate", model, everything, "--threads", 1)
    assert f"LEAKS: {len(set(trained.tracks))} of the 24 tested tracks" in done.stdout
    # The same model on a split: its baselines are trained on the other part, it is left as it is.
    lists = []
    for name, part in (("train", trained), ("valid", held)):
        lists.append(tmp_path / f"{name}.txt")
        lists[-1].write_text("\n".join(f"{track}.wav" for track in set(part.tracks)))
    split = f"file:{lists[0]},{lists[1]}"
    found = evaluate_job(Request(data=everything, model=model, split=split, settings=settings()))
    assert found.seen is not None
    assert (found.seen.trained_on, found.n_tracks) == (0, len(set(held.tracks)))
    assert found.split == "file:train.txt,valid.txt"
    assert by_name(found)["svm"].accuracy >= 0.9


def test_genres_that_no_track_is_trained_on_are_left_out(tmp_path: Path) -> None:
    """A list of few tracks may lack a genre, whose tracks would all count as mistakes of the architecture."""
    log_mel, tracks, genre = marked()
    lists = [tmp_path / "train.txt", tmp_path / "valid.txt"]
    held = [
        track for track in dict.fromkeys(tracks.tolist()) if track.startswith("pulse") or track.endswith("5")
    ]
    lists[0].write_text("\n".join(sorted({*tracks.tolist()} - {*held})))
    lists[1].write_text("\n".join(held))
    request = Request(
        data=save(tmp_path / "marked.npz", log_mel, tracks, genre),
        arch="cnn",
        split=f"file:{lists[0]},{lists[1]}",
        settings=settings(),
    )
    said: list[str] = []
    found = evaluate_job(request, say=said.append)
    assert (found.n_tracks, found.genres) == (2, ("high", "low"))
    assert "left out because no track of them is trained on: pulse" in said


def test_genres_that_the_model_lacks_are_no_mistakes_but_counted(tmp_path: Path) -> None:
    """A catalog has music of none of the genres: it must not sink the accuracy, nor vanish."""
    model, _, _ = made_before(tmp_path / "model")
    log_mel, tracks, genre = marked()
    genre = np.where(genre == "pulse", "zydeco", genre)
    data = save(tmp_path / "some.npz", log_mel, tracks, genre)
    found = evaluate_job(Request(data=data, model=model, settings=settings()))
    assert found.n_tracks == 16
    assert found.outside is not None
    assert (found.outside.n, found.outside.source) == (8, "zydeco of some.npz")
    assert found.coverage[0].outside_accepted == 1
    none = save(tmp_path / "none.npz", log_mel, tracks, np.where(genre == "zydeco", "polka", "ska"))
    with pytest.raises(MisuseError, match="is a genre of the model"):
        evaluate_job(Request(data=none, model=model, settings=settings()))


def test_genres_are_known_by_any_spelling(tmp_path: Path) -> None:
    """Folders Jazz and Hip-Hop would be none of the genres jazz and hiphop: their music would count as out
    of distribution, or the evaluation be refused."""
    model, _, _ = made_before(tmp_path / "model")
    log_mel, tracks, genre = marked()
    names = [f" {name.title()}! " if row % 2 else name for row, name in enumerate(genre.tolist())]
    data = save(tmp_path / "titled.npz", log_mel, tracks, np.array(names))
    said: list[str] = []
    found = evaluate_job(Request(data=data, model=model, settings=settings()), say=said.append)
    assert found.outside is None
    assert found.n_tracks == len(set(tracks.tolist()))
    assert any("taken as genres of the model: " in each and "Pulse! as pulse" in each for each in said), said


def test_a_model_is_measured_on_the_frames_that_it_labels(tmp_path: Path) -> None:
    """Beside a longer segment, others were cut a frame later than in a run, and got other labels."""
    history = TableHistory(tmp_path / "tables")
    history.run({f"jazz/{number}": "1" for number in range(4)}, n_frames=387)
    history.run({"rock/0": "1"}, n_frames=388)
    found = evaluate_job(Request(data=history.tables.root, model="gtzan", label_column="folder"))

    rows = read_features(history.tables, SPEC, [SPEC], ["log_mel"]).to_pylist()
    segments = [np.frombuffer(row["log_mel"], np.uint8).reshape(128, -1) for row in rows]
    assert {each.shape[1] for each in segments} == {387, 388}
    proba = Classifier(ModelBundle.load("gtzan")).predict_proba(segments)
    for mistake in found.mistakes:
        ours = [p for p, row in zip(proba, rows, strict=True) if row["track_id"] == mistake.track]
        assert mistake.confidence == pytest.approx(np.mean(ours, axis=0).max(), abs=1e-4)
    assert any(mistake.track.startswith("jazz") for mistake in found.mistakes)


def test_a_model_is_measured_on_one_genre_too(tmp_path: Path) -> None:
    """Somebody who has music of one genre asks how much of it a model finds, and is told to bring another."""
    model, _, _ = made_before(tmp_path / "model")
    log_mel, tracks, genre = marked()
    rows = genre == "pulse"
    data = save(tmp_path / "one.npz", log_mel[rows], tracks[rows], genre[rows])
    found = evaluate_job(Request(data=data, model=model, settings=settings()))
    assert [each.genre for each in found.per_genre if each.support] == ["pulse"]
    with pytest.raises(MisuseError, match="only the genre pulse: a model needs two or more"):
        evaluate_job(Request(data=data, arch="cnn", settings=settings()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "gtzan", "arch": "cnn"}, "not both"),
        ({"model": "gtzan", "n_folds": 3}, "--folds trains a model for each fold"),
        ({"arch": "cnn", "n_folds": 0}, "must be at least 1"),
        ({"arch": "cnn", "n_folds": 2, "split": "file:a,b"}, "defines only one split"),
        ({"arch": "cnn", "split": "random"}, "cannot split by 'random'"),
        ({"model": "gtzan"}, "has log-mels of 32 bands, but gtzan-cnn-.* takes 128"),
    ],
)
def test_misuse_is_told_in_a_sentence(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    """Before any training, with what to do."""
    data = save(tmp_path / "marked.npz", *marked(4))
    with pytest.raises(MisuseError, match=message):
        evaluate_job(Request(data=data, settings=settings(), **options))


@pytest.mark.thorough
def test_the_shipped_figure_comes_out_of_the_command(gtzan: Path, tmp_path: Path) -> None:
    """The figure in model.json and README is what a user gets, with baselines, in seconds."""
    lists = [gtzan / "splits" / f"{part}_filtered.txt" for part in ("train", "valid")]
    out = succeed(
        "evaluate", "gtzan", gtzan / "log_mel_128x387.npz", "--split", f"file:{lists[0]},{lists[1]}",
        "--threads", 1, "--json", tmp_path / "a.json", "--html", tmp_path / "new" / "a.html",
    )  # fmt: skip
    figures = json.loads((tmp_path / "a.json").read_text())
    recorded = ModelBundle.load("gtzan").info.figures[0]
    assert figures["protocol"] == recorded.protocol == "file"
    assert figures["accuracy"] == pytest.approx(recorded.accuracy, abs=0.006)
    assert figures["ece"] == pytest.approx(recorded.ece, abs=0.02)
    assert figures["n_tracks"] == recorded.n
    low, high = figures["accuracy_interval"]
    assert low < figures["accuracy"] < high
    assert figures["seen"] == {
        "known": True,
        "trained_on": 0,
        "calibrated_on": 197,
        "seen": 197,
        "same_name": 0,
    }
    baselines = {scores["name"]: scores["accuracy"] for scores in figures["baselines"]}
    assert sorted(baselines) == ["k-means", "k-nn", "majority", "svm"]
    assert baselines["svm"] < figures["accuracy"], "the network is worth its while"
    assert str(gtzan) not in (tmp_path / "a.json").read_text() + (tmp_path / "new" / "a.html").read_text()
    for expected in ("file (lists)", "svm", "precision", "--min-confidence", "errors"):
        assert expected in out


@pytest.mark.thorough
def test_audio_by_genre_is_judged_with_what_is_broken_left_out(tmp_path: Path) -> None:
    """Who has audio in folders must not have to make arrays of it first."""
    rng = np.random.default_rng(0)
    import soundfile as sf

    for genre in ("jazz", "metal"):
        (tmp_path / "music" / genre).mkdir(parents=True)
        for number in range(2):
            y = 0.2 * rng.normal(size=3 * 22050)
            sf.write(tmp_path / "music" / genre / f"{number}.flac", y, 22050)
    (tmp_path / "music/jazz/broken.mp3").write_text("no music")
    (tmp_path / "noise").mkdir()
    sf.write(tmp_path / "noise/a.wav", 0.1 * rng.normal(size=22050 * 3), 22050)
    (tmp_path / "noise/b.wav").write_bytes(b"")
    sf.write(tmp_path / "noise/silence.wav", np.zeros(22050 * 3), 22050)
    done: subprocess.CompletedProcess[str] = earmark(
        "evaluate", "gtzan", tmp_path / "music", "--json", tmp_path / "a.json", "--threads", 1, "--cpus", 1,
        "--outside", tmp_path / "noise",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "broken.mp3" in done.stderr
    assert "b.wav is empty" in done.stderr
    figures = json.loads((tmp_path / "a.json").read_text())
    assert figures["n_tracks"] == 4
    assert figures["seen"]["trained_on"] == 0
    assert "silence.wav is silent" in done.stderr
    assert figures["outside"]["n"] == 1
    assert figures["coverage"][0]["outside_accepted"] == 1
    assert "this model was not made from any of the tested tracks" in done.stdout
