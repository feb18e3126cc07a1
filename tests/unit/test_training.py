"""Training: models and figures must be reproducible."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.evaluation.evaluate import evaluate_job
from jobs.evaluation.request import Request
from jobs.training.train import TrainRequest, TrainResult, settings_for, train_job
from pipeline.models.bundle import ModelBundle
from pipeline.models.classifier import Classifier
from pipeline.training.augment import Augmentation
from pipeline.training.batches import TrainingBatches
from pipeline.training.checkpoints import Checkpoint
from pipeline.training.data.importers import import_data, import_npz
from pipeline.training.splits import (
    leave_out_untrained_genres,
    split_at_random,
    split_by_lists,
    split_by_track,
    split_data,
)
from pipeline.training.trainer import Epoch
from pipeline.training.training_set import TrainingSet, track_name
from pipeline.training.training_settings import TrainingSettings
from schemas.errors import DivergedError, MisuseError
from schemas.genres import GTZAN_GENRES
from tests.log_mels import log_mel_of

pytestmark = pytest.mark.slow

GENRES = ("high", "low", "pulse")


def make_set(n_a_genre: int = 12, n_frames: int = 64) -> TrainingSet:
    """Return noise with a mark for each genre: energy in high bands, low bands, or every eighth frame."""
    rng = np.random.default_rng(0)
    log_mel = rng.integers(0, 100, (3 * n_a_genre, 32, n_frames), dtype=np.uint8)
    labels = np.repeat(np.arange(3), n_a_genre)
    log_mel[labels == 0, 24:] += 150
    log_mel[labels == 1, :8] += 150
    log_mel[labels == 2, :, ::8] += 150
    tracks = np.array([f"{GENRES[label]}.{i // 2:05d}" for i, label in enumerate(labels)])
    return TrainingSet(log_mel, labels, tracks, GENRES)


def train_model(
    data: object, out: Path, *, options: dict[str, Any] | None = None, **flags: Any
) -> TrainResult:
    """Train as the command does: `flags` are settings, `options` the rest of the request."""
    settings = settings_for(flags.pop("arch", None), flags.pop("like", None), {"threads": 1, **flags})
    return train_job(TrainRequest(str(data), out, settings, **(options or {})))


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    data = make_set()
    path = tmp_path / "set.npz"
    genre = np.array(GENRES)[data.labels]
    np.savez(path, log_mel=log_mel_of(data), track=data.tracks, genre=genre, range_db=np.ones(len(data)))
    return path


def test_a_model_learns_and_labels(npz: Path, tmp_path: Path) -> None:
    """Nobody can train a model of their own, from arrays to labels."""
    epochs: list[Epoch] = []
    lists = [tmp_path / "train.txt", tmp_path / "valid.txt"]
    for path, part in zip(lists, split_by_track(make_set(), seed=0), strict=True):
        path.write_text("\n".join(f"folder/{track}.wav" for track in part.tracks))
    split = f"file:{lists[0]},{lists[1]}"
    request = TrainRequest(
        str(npz), tmp_path / "Marks_2", settings_for(None, None, {"epochs": 25, "threads": 1}), split
    )
    bundle = train_job(request, on_epoch=lambda trial, epoch: epochs.append(epoch)).bundle
    assert [epoch.number for epoch in epochs] == list(range(1, 26))
    assert epochs[-1].loss < epochs[0].loss
    assert str(epochs[0]).startswith("epoch 1 of 25: loss ")
    loaded = ModelBundle.load(str(tmp_path / "Marks_2"))
    assert loaded.model == bundle.model
    assert loaded.info.name == "marks-2"
    assert loaded.info.genres == GENRES
    assert loaded.info.features.n_mels == 32
    assert loaded.info.training["command"] == (
        "earmark train set.npz --out MODEL --split file:train.txt,valid.txt "
        "--epochs 25 --seed 0 --threads 1 --name marks-2"
    )
    assert str(tmp_path) not in loaded.info.model_dump_json(), "paths of a machine are nobody's business"
    figure = loaded.info.figures[0]
    assert figure.protocol == "file"
    assert figure.accuracy >= 0.9
    data = make_set()
    proba = Classifier(loaded, batch_size=8).predict_proba(list(log_mel_of(data)))
    assert np.mean(proba.argmax(axis=1) == data.labels) >= 0.9


@pytest.mark.thorough
def test_the_seed_fixes_the_model(npz: Path, tmp_path: Path) -> None:
    """The recorded command does not reproduce a published figure."""
    again, other = (
        [
            train_model(npz, tmp_path / f"m{seed}{i}", epochs=1, seed=seed, options={"name": "m"}).bundle
            for i in range(2)
        ]
        for seed in (0, 1)
    )
    assert again[0].model == again[1].model
    assert again[0].model != other[0].model


def test_the_recorded_command_trains_the_same_model(npz: Path, tmp_path: Path) -> None:
    """Rounded numbers, settings that only ``--grid`` has, or names with spaces are lost."""
    data = npz.rename(tmp_path / "my set.npz")
    trained = train_model(
        data, tmp_path / "out", learning_rate=0.00123456789, epochs=1, options={"grid": ("crop=48",)}
    )
    assert trained.bundle.info.training["command"] == (
        "earmark train 'my set.npz' --out MODEL --split track --epochs 1 --learning-rate 0.00123456789 "
        "--grid crop=48 --seed 0 --threads 1 --name out"
    )


def test_a_training_that_diverges_says_so(npz: Path, tmp_path: Path) -> None:
    """Hours of training end in the words of a schema, about a temperature that nobody has set."""
    far: dict[str, Any] = {"learning_rate": 9.9, "weight_decay": 0.9, "batch_size": 2, "epochs": 9}
    with pytest.raises(DivergedError, match=r"diverged: after epoch \d of 9, .*learning rate below 9.9"):
        train_model(npz, tmp_path / "out", **far)
    assert not (tmp_path / "out").exists()


def test_batches_see_every_segment_once_before_one_twice() -> None:
    """Some tracks of a small set hardly count."""
    data = make_set(n_a_genre=8)
    still = Augmentation(stretch=0, shift=0, gain=0, tilt=0, contrast=0, band_mask=0, frame_mask=0, mixup=0)
    settings = TrainingSettings(batch_size=8, augmentation=still)
    batches = TrainingBatches(data, 64, settings)
    seen = []
    for _ in range(3):
        (x,), y = next(batches)
        assert x.shape == (8, 32, 64, 1)
        assert x.dtype == y.dtype == np.float32
        for crop, target in zip(x, y, strict=True):
            matches = np.flatnonzero((data.log_mel == crop[..., 0]).all(axis=(1, 2)))
            assert data.labels[matches[0]] == target.argmax()
            seen.append(matches[0])
    assert sorted(seen) == list(range(24))


def test_track_split_keeps_tracks_whole_and_genres_in_proportion() -> None:
    """A track is on both sides, and the figure is wrong."""
    train_set, valid_set = split_by_track(make_set(n_a_genre=20), seed=0)
    assert not set(train_set.tracks) & set(valid_set.tracks)
    assert len(train_set) + len(valid_set) == 60
    assert np.bincount(valid_set.labels).tolist() == [4, 4, 4]
    assert len(split_by_track(make_set(n_a_genre=20), seed=1)[1]) == 12


def test_segment_split_cuts_pieces_that_leak() -> None:
    """The protocol differs from that of most tutorials, and their leak cannot be shown."""
    data = make_set()
    train_set, valid_set, protocol = split_data(data, "segment", seed=0)
    assert protocol == "segment"
    assert len(train_set) + len(valid_set) == 10 * len(data)
    assert log_mel_of(train_set).shape[1:] == (32, 6)
    assert set(valid_set.tracks) & set(train_set.tracks)
    np.testing.assert_array_equal(log_mel_of(data.cut_pieces(2))[3], log_mel_of(data)[1, :, 32:])
    assert [len(part) for part in split_at_random(data, seed=0)] == [30, 6]


def test_list_split_reads_the_published_lists(gtzan: Path) -> None:
    """The fault-filtered split (443 and 197 clips, one of which cannot be decoded) is not read correctly."""
    data = import_npz(gtzan / "log_mel_128x387.npz")
    lists = gtzan / "splits/train_filtered.txt", gtzan / "splits/valid_filtered.txt"
    train_set, valid_set = split_by_lists(data, *lists)
    assert (len(train_set), len(valid_set)) == (442, 197)
    assert not set(train_set.tracks) & set(valid_set.tracks)
    assert data.genres == GTZAN_GENRES
    assert all(str(t).startswith(data.genres[g]) for t, g in zip(data.tracks, data.labels, strict=True))


def test_track_name_drops_folder_and_audio_extension_only() -> None:
    """``blues/blues.00029.wav`` in a list does not match ``blues.00029`` in an array."""
    assert track_name("blues/blues.00029.wav") == "blues.00029"
    assert track_name("blues.00029") == "blues.00029"
    assert track_name("a b#1.mp3") == "a b#1"
    assert track_name("plain") == "plain"


def test_lists_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """A wrong list trains on the test set."""
    (tmp_path / "a.txt").write_text("high/high.00000.wav\n\nhigh/high.00001.wav\n")
    (tmp_path / "b.txt").write_text("high.00001\n")
    (tmp_path / "c.txt").write_text("ska.00001.wav\n")
    data = make_set()
    with pytest.raises(MisuseError, match=r"both name the track 'high\.00001'"):
        split_data(data, f"file:{tmp_path}/a.txt,{tmp_path}/b.txt", seed=0)
    with pytest.raises(MisuseError, match=r"c\.txt names none of the 18 tracks"):
        split_data(data, f"file:{tmp_path}/a.txt,{tmp_path}/c.txt", seed=0)
    with pytest.raises(MisuseError, match=r"cannot read the track list .*d\.txt"):
        split_data(data, f"file:{tmp_path}/a.txt,{tmp_path}/d.txt", seed=0)
    for split in ("tracks", "file", "file:a.txt", "file:a,b,c"):
        with pytest.raises(MisuseError, match="cannot split by"):
            split_data(data, split, seed=0)


def test_a_list_names_tracks_with_any_characters(tmp_path: Path) -> None:
    """A track whose name has a line separator in it is in neither part."""
    data = make_set()
    data = replace(data, tracks=np.array([f"{name}\u2028live\x85 2" for name in data.tracks]))
    names = sorted({f"{name}.mp3" for name in data.tracks})
    (tmp_path / "train.txt").write_bytes("\r\n".join(names[::2]).encode())
    (tmp_path / "valid.txt").write_bytes("\n".join(names[1::2]).encode())
    parts = split_by_lists(data, tmp_path / "train.txt", tmp_path / "valid.txt")
    assert [len(set(part.tracks)) for part in parts] == [9, 9]


def test_a_model_names_only_genres_that_it_was_trained_on(npz: Path, tmp_path: Path) -> None:
    """Lists leave out a genre, and the model answers with it for any track, without having heard it."""
    (tmp_path / "train.txt").write_text("high.00000\nhigh.00001\nlow.00006\n")
    (tmp_path / "valid.txt").write_text("high.00002\nlow.00007\nlow.00008\npulse.00012\n")
    said: list[str] = []
    request = TrainRequest(
        str(npz),
        tmp_path / "out",
        settings_for(None, None, {"epochs": 1, "threads": 1, "batch_size": 4}),
        f"file:{tmp_path}/train.txt,{tmp_path}/valid.txt",
    )
    info = train_job(request, say=said.append).bundle.info
    assert info.genres == ("high", "low")
    assert info.figures[0].n == 3
    assert said == [
        "left out because no track of them is trained on: pulse",
        "left out with their genres: 1 of 4 held-out tracks",
        "few tracks to train on: high 2, low 1; a network hardly learns to know a genre by them: add tracks",
    ]


def test_genres_of_hardly_any_tracks_are_named(npz: Path, tmp_path: Path) -> None:
    """A genre of one track is trained on and never measured: its labels are chance, and nobody knows."""
    said: list[str] = []
    settings = settings_for(None, None, {"epochs": 1, "threads": 1})
    train_job(TrainRequest(str(npz), tmp_path / "m", settings), say=said.append)
    assert not said, "five tracks of each genre"
    data = make_set()
    data = data.take(np.flatnonzero((data.labels != 1) | (data.tracks <= "low.00007")))
    genre = np.array(GENRES)[data.labels]
    np.savez(npz, log_mel=log_mel_of(data), track=data.tracks, genre=genre)
    train_job(TrainRequest(str(npz), tmp_path / "n", settings), say=said.append)
    assert [each.partition(";")[0] for each in said] == [
        "few tracks to train on: low 2",
        "not measured, since none of their tracks is held out: low",
    ]


def test_a_genre_that_only_has_shares_is_trained_on() -> None:
    """Genres of a teacher that are nowhere the most probable one are lost."""
    data = make_set()
    shares = np.eye(3, dtype=np.float32)[data.labels]
    shares[data.labels == 0] = [0.5, 0.0, 0.5]
    soft = replace(data, shares=shares)
    train_set, rest = soft.take(np.flatnonzero(soft.labels == 0)), soft.take(np.flatnonzero(soft.labels > 0))
    said: list[str] = []
    kept, tested = leave_out_untrained_genres(train_set, rest, said.append)
    assert kept.genres == tested.genres == ("high", "pulse")
    np.testing.assert_array_equal(kept.shares, np.full((12, 2), 0.5, np.float32))
    assert set(tested.labels.tolist()) == {1}
    with pytest.raises(MisuseError, match="no held-out track is of a genre that is trained on, only of low"):
        leave_out_untrained_genres(train_set, soft.take(np.flatnonzero(soft.labels == 1)), said.append)


def test_a_split_with_one_genre_to_train_on_is_refused(tmp_path: Path) -> None:
    """Baselines end in an internal error of scikit-learn."""
    (tmp_path / "train.txt").write_text("high.00000\nhigh.00001\n")
    (tmp_path / "valid.txt").write_text("high.00002\nlow.00007\n")
    with pytest.raises(MisuseError, match="leaves only tracks of high to train on"):
        split_data(make_set(), f"file:{tmp_path}/train.txt,{tmp_path}/valid.txt", seed=0)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"log_mel": np.zeros((2, 4, 5), np.uint8)}, "lacks an array"),
        ({"log_mel": np.zeros((2, 4, 5))}, "it must be uint8"),
        ({"log_mel": np.zeros((3, 4, 5), np.uint8)}, "differ in length: 3, 2, 2"),
        ({"track": np.array([{}, {}], dtype=object)}, "cannot read the array file"),
    ],
)
def test_array_files_that_are_wrong_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    """Bad arrays are found only after hours of training, or a pickled object runs."""
    good = {
        "log_mel": np.zeros((2, 4, 5), np.uint8),
        "track": np.array(["x", "y"]),
        "genre": np.array(["a", "b"]),
    }
    np.savez(tmp_path / "set.npz", **(arrays if message == "lacks an array" else good | arrays))
    with pytest.raises(MisuseError, match=message):
        import_data(str(tmp_path / "set.npz"))


def test_data_of_one_genre_is_refused_before_training(npz: Path, tmp_path: Path) -> None:
    """A model that answers with one genre for all music is trained for hours."""
    data = make_set().of_genres(("high",))
    np.savez(npz, log_mel=log_mel_of(data), track=data.tracks, genre=np.repeat("high", len(data)))
    with pytest.raises(MisuseError, match="the data has only the genre high: a model needs two or more"):
        train_model(npz, tmp_path / "out")


SHARES = np.array([[0.6, 0.4], [0.2, 0.8]])


def write_shares(folder: Path, **arrays: Any) -> str:
    good = {
        "log_mel": np.zeros((2, 16, 40), np.uint8),
        "track": np.array(["x", "y"]),
        "shares": SHARES,
        "genres": np.array(["rock", "folk"]),
    }
    np.savez(folder / "set.npz", **(good | arrays))
    return str(folder / "set.npz")


@pytest.fixture
def described(tmp_path: Path) -> Path:
    """An array file with log-mels and descriptors."""
    data, path = make_set(), tmp_path / "described.npz"
    descriptors = np.random.default_rng(0).normal(data.labels[:, None], 0.1, (len(data), 57))
    genre = np.array(GENRES)[data.labels]
    np.savez(path, log_mel=log_mel_of(data), track=data.tracks, genre=genre, descriptors=descriptors)
    return path


def test_segments_with_both_features_are_split_for_their_descriptors(described: Path, tmp_path: Path) -> None:
    """A split into pieces of log-mels drops the descriptors, and the error says that there are none."""
    trained = train_model(described, tmp_path / "m", arch="dense", epochs=2, options={"split": "segment"})
    assert trained.bundle.info.figures[0].n == 6, "segments, not tenths of them"
    assert trained.bundle.info.features.log_mel is False
    with pytest.raises(MisuseError, match="--arch both reads descriptors, which describe whole segments"):
        train_model(described, tmp_path / "n", arch="both", epochs=2, options={"split": "segment"})
    for arch in ("both", "dense"):
        request = Request(str(described), arch=arch, split="track", n_pieces=2)
        request = replace(request, settings=TrainingSettings.for_arch(arch))
        with pytest.raises(MisuseError, match="describe whole segments"):
            evaluate_job(request)


def test_a_model_is_not_measured_on_features_that_it_does_not_read(
    npz: Path, described: Path, tmp_path: Path
) -> None:
    """An evaluation ends in the words of a classifier about arrays."""
    train_model(described, tmp_path / "m", arch="dense", epochs=1)
    with pytest.raises(
        MisuseError, match=r"set\.npz has no descriptors, which m-\w{8} reads; evaluate it on"
    ):
        evaluate_job(Request(str(npz), model=str(tmp_path / "m")))


@pytest.mark.parametrize("options", [{"label_column": "mood"}, {"tables": "kept"}])
def test_options_without_effect_are_refused(npz: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    """Genres of another column are trained on than the one that was named, without a word."""
    (name, value) = next(iter(options.items()))
    flag = f"--{name.replace('_', '-')}"
    with pytest.raises(
        MisuseError, match=f"{flag} {value} has no effect on .*set.npz, which is an array file"
    ):
        train_model(npz, tmp_path / "out", options=options)


def test_soft_labels_are_trained_on_unchanged(tmp_path: Path) -> None:
    """A teacher's soft labels are trained on as certain, or in the wrong order of genres."""
    data = import_data(write_shares(tmp_path))
    assert data.genres == ("rock", "folk")
    assert data.labels.tolist() == [0, 1]
    plain = TrainingSettings(batch_size=8, augmentation=Augmentation(mixup=0.0))
    for each in (data, data.cut_pieces(2)):
        _, y = next(TrainingBatches(each, 16, plain))
        assert {tuple(row) for row in y.round(3).tolist()} == {
            tuple(row) for row in SHARES.astype(np.float32).round(3).tolist()
        }
    np.testing.assert_array_equal(data.take(np.array([1])).shares, SHARES[1:].astype(np.float32))
    assert data.shares is not None
    other = replace(data, shares=data.shares[:, ::-1])
    places = {Checkpoint(str(tmp_path), each, each, plain).location for each in (data, other)}
    assert len(places) == 2, "a checkpoint is of one set of shares"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"shares": np.ones((2, 3)) / 3}, "a column for each of two or more genres"),
        ({"genres": np.array(["rock", "rock"])}, "a column for each of two or more genres"),
        ({"shares": np.ones((2, 2))}, "sum to 1 in each row"),
        ({"shares": np.array([[1.0, 0.0], [np.nan, 1.0]])}, "sum to 1 in each row"),
        ({"shares": SHARES[:1]}, "differ in length: 2, 2, 1"),
    ],
)
def test_wrong_shares_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    """Logits or other values are silently trained on as probabilities."""
    with pytest.raises(MisuseError, match=message):
        import_data(write_shares(tmp_path, **arrays))


def test_data_of_no_known_form_is_refused(tmp_path: Path) -> None:
    """A mistyped path ends in a traceback."""
    with pytest.raises(MisuseError, match="is not labeled data"):
        import_data(str(tmp_path))
    with pytest.raises(MisuseError, match="cannot read the array file"):
        import_data(str(tmp_path / "nope.npz"))
    (tmp_path / "text.npz").write_text("no arrays")
    with pytest.raises(MisuseError, match="cannot read the array file"):
        import_data(str(tmp_path / "text.npz"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": "rnn"}, "no architecture 'rnn'"),
        ({"epochs": 0}, "setting 'epochs': must be greater than or equal to 1, not 0"),
        ({"dropout": 1.0}, "setting 'dropout': must be less than 1, not 1.0"),
        ({"learning_rate": -1.0}, "setting 'learning_rate': must be greater than 0, not -1.0"),
        ({"options": {"name": "My Model"}}, "'My Model' is not a valid model name"),
        ({"options": {"name": "audioset"}}, "--model audioset names a model of Earmark's own"),
        ({"options": {"seeds": (1, 1)}}, "contains a seed twice"),
        ({"options": {"grid": ("seed=1,2",)}}, "cannot vary 'seed=1,2'"),
        ({"options": {"grid": ("epochs=few",)}}, "cannot vary 'epochs=few'"),
        ({"arch": "dense"}, "the data has no descriptors, which --arch dense reads"),
        ({"arch": "dense", "like": "gtzan"}, "is a model of --arch cnn, not dense"),
        ({"like": "default"}, "--like default has no settings to train with"),
    ],
)
def test_options_are_checked_before_training(
    npz: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    """Half an hour of training fails at the end because of a bad name."""
    with pytest.raises(MisuseError, match=message):
        train_model(npz, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("set.npz/model", "is not a writable directory"),
        ("s3://bucket/model", "must be a local folder"),
        ("gtzan", "--model gtzan names a model of Earmark's own, and would never use this one"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_training(
    npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, message: str
) -> None:
    """The model is lost at the very end."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MisuseError, match=message):
        train_model(npz, Path(out), epochs=10**6, options={"name": "m"})
    assert [path.name for path in tmp_path.iterdir()] == ["set.npz"]


def test_a_folder_with_something_in_it_is_left_alone(npz: Path, tmp_path: Path) -> None:
    """A model, or something else, is overwritten."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("mine")
    with pytest.raises(MisuseError, match="already exists"):
        train_model(npz, tmp_path / "out", epochs=1)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]
