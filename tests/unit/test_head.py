"""A head on embeddings: its folds, its figures, the few tracks it needs, and the model it becomes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs.train_head import _command, _describe_leak, _train
from jobs.training.train import TrainRequest
from pipeline.models.bundle import ModelBundle
from pipeline.models.classifier import Classifier
from pipeline.models.prediction import softmax
from pipeline.training.artist_folds import count_artists, divide
from pipeline.training.embedded_tracks import EmbeddedTracks
from pipeline.training.head import (
    apply_head,
    choose_strength,
    fit_head,
    leave_out_rare_genres,
    train_head,
    train_head_on_list,
)
from pipeline.training.head_bundle import build_head_bundle, measure_head
from pipeline.training.provenance import hash_name
from schemas.errors import MisuseError

N_NUMBERS = 192


def embedded(
    n_tracks: int,
    genres: tuple[str, ...] = ("dub", "ska", "ska-punk"),
    *,
    artists: int = 0,
    spread: float = 1.0,
) -> EmbeddedTracks:
    """Tracks of one to three segments whose genre shows in some of their numbers."""
    rng = np.random.default_rng(3)
    labels = np.tile(np.arange(len(genres)), n_tracks)
    lengths = rng.integers(1, 4, len(labels))
    track_of = np.repeat(np.arange(len(labels)), lengths)
    centers = np.random.default_rng(1).normal(0, 1, (len(genres), N_NUMBERS))
    vectors = 5 + centers[labels[track_of]] + rng.normal(0, spread, (len(track_of), N_NUMBERS))
    names = [f"{number:03}" for number in range(len(labels))]
    artist = [f"Artist {number // len(genres) % artists}" if artists else "" for number in range(len(labels))]
    return EmbeddedTracks(
        vectors.astype(np.float32), track_of, np.array(names), labels, np.array(artist), genres
    )


def test_no_artist_is_in_two_folds_where_artists_are_known() -> None:
    """The figure would be that of recognizing artists, and not hold for new ones."""
    data = embedded(12, artists=4)
    folds = divide(data, seed=0)
    assert folds.n_folds == 4
    for artist in np.unique(data.artists):
        assert len(set(folds.fold_of[data.artists == artist].tolist())) == 1
    assert folds.protocol == "artists apart"


def test_no_artist_of_a_duet_is_in_two_folds() -> None:
    """The figure of a catalog with many duets would be that of recognizing their singers."""
    data = embedded(12, artists=6)
    data = replace(data, artists=data.artists.astype(object))
    data.artists[data.artists == "Artist 1"] = "artist 0; Artist 1"
    data.artists[data.artists == "Artist 3"] = "Artist 3; Artist 2"
    folds = divide(data, seed=0)
    assert folds.n_folds == 4
    for pair in ("01", "23"):
        by_them = [artist[-1] in pair for artist in data.artists]
        assert len(set(folds.fold_of[by_them].tolist())) == 1


def test_unknown_artists_are_admitted() -> None:
    """A figure would be called honest that is not."""
    assert divide(embedded(6), seed=0).protocol.startswith("artists unknown")
    data = embedded(6, artists=6)
    data.artists[:4] = ""
    assert "those of 4 of 18 tracks unknown" in divide(data, seed=0).protocol


def test_a_genre_by_a_single_artist_is_divided_and_named() -> None:
    """The genre would be missing from training in some folds, or the training would fail."""
    data = embedded(6, artists=6)
    data.artists[data.labels == 1] = "Somebody"
    folds = divide(data, seed=0)
    assert folds.one_artist == ("ska",)
    assert "single artist (ska)" in folds.protocol
    assert count_artists(data) == 6
    data.artists[:] = [f"of {label}" for label in data.labels]
    assert "both sides" in divide(data, seed=0).protocol


def test_copies_of_a_track_are_in_one_fold() -> None:
    """A head would be judged by tracks that it was trained on under another name."""
    data = embedded(6)
    n = len(data)
    twice = replace(
        data,
        vectors=np.concatenate([data.vectors] * 2),
        track_of=np.concatenate([data.track_of, data.track_of + n]),
        names=np.concatenate([data.names, np.char.add(data.names, " (copy)")]),
        labels=np.concatenate([data.labels] * 2),
        artists=np.concatenate([data.artists, np.full(n, "Somebody else")]),
    )
    twice.artists[n:][data.labels != 1] = ""
    folds = divide(twice, seed=0)
    assert folds.one_artist == ("ska",)
    assert folds.fold_of[:n].tolist() == folds.fold_of[n:].tolist()
    assert folds.n_folds == 5


def test_a_genre_of_copies_cannot_be_held_out() -> None:
    """The command would end in an internal error of scikit-learn."""
    data = embedded(4)
    row = {track: data.vectors[data.track_of == track][0] for track in range(len(data))}
    same = replace(
        data,
        vectors=np.stack([row[0 if label == 0 else track] for track, label in enumerate(data.labels)]),
        track_of=np.arange(len(data)),
    )
    with pytest.raises(
        MisuseError, match="the tracks of dub are copies of one, so that none can be held out"
    ):
        train_head(same)


def test_segments_weigh_by_genre_and_by_track() -> None:
    """A long track, or a genre with many tracks, would decide for all."""
    data = embedded(5)
    weights = data.segment_weights
    by_track = np.bincount(data.track_of, weights)
    np.testing.assert_allclose(by_track, 1)
    few = data.take(np.arange(10))
    of_genre = np.bincount(few.segment_labels, few.segment_weights)
    np.testing.assert_allclose(of_genre, 10 / 3)


def test_a_head_takes_numbers_as_the_network_gives_them() -> None:
    """Standardized numbers in training and raw ones in labeling would give chance."""
    data = embedded(8)
    head = fit_head(data, 0.1)
    right = apply_head(head, data.vectors).argmax(axis=1) == data.segment_labels
    assert right.all()
    two = embedded(8, ("dub", "ska"))
    right = apply_head(fit_head(two, 0.1), two.vectors).argmax(axis=1) == two.segment_labels
    assert right.all()


def test_a_genre_without_tracks_in_a_fold_is_never_named() -> None:
    """Columns would shift, and each genre be called by the name of its neighbor."""
    data = embedded(6)
    two = data.take(np.flatnonzero(data.labels != 1))
    proba = softmax(apply_head(fit_head(two, 0.1), data.vectors))
    assert proba[:, 1].max() < 1e-3
    kept = data.segment_labels != 1
    assert (proba.argmax(axis=1)[kept] == data.segment_labels[kept]).all()


def test_artists_of_several_genres_can_leave_a_fold_with_one() -> None:
    """A traceback of scikit-learn ended the training where few artists play all genres."""
    artists = ["a", "b", "b", "b", "a", "c", "c", "c"]
    rng = np.random.default_rng(0)
    data = EmbeddedTracks(
        rng.normal(size=(8, 6)).astype(np.float32), np.arange(8), np.array([f"t{n}" for n in range(8)]),
        np.repeat([0, 1], 4), np.array(artists), ("jazz", "rock"),
    )  # fmt: skip
    only = fit_head(data.take(np.arange(4)), 0.1)
    assert (apply_head(only, data.vectors).argmax(axis=1) == 0).all()
    assert train_head(data).proba.shape == (8, 2)


def test_four_tracks_a_genre_are_enough_and_three_are_too_few() -> None:
    """A user who begins with few tracks gets an error of a library, or a figure about nothing."""
    trained = train_head(embedded(4))
    figure = measure_head(trained, "shelf")
    assert (figure.n, figure.protocol, set(figure.by_genre.values()) <= {(3, 4), (4, 4)}) == (
        12,
        "track",
        True,
    )
    with pytest.raises(MisuseError, match=r"at least 4 training tracks of each genre.*dub has 3, ska has 3"):
        train_head(embedded(3))
    with pytest.raises(MisuseError, match="only the genre dub: a model needs two or more"):
        train_head(embedded(8, ("dub",)))


def test_genres_with_too_few_tracks_are_left_out_and_named() -> None:
    """One small folder would keep a user from training on all others, which tables cannot leave out."""
    data = embedded(6)
    chosen = np.flatnonzero((data.labels != 0) | (np.arange(len(data)) < 4))
    said: list[str] = []
    kept = leave_out_rare_genres(data.take(chosen), said.append)
    assert said == ["left out because they have fewer than 4 training tracks with embeddings: dub (2)"]
    assert kept.genres == data.genres[1:]
    names = dict(zip(data.names.tolist(), data.labels.tolist(), strict=True))
    assert [kept.genres[label] for label in kept.labels] == [data.genres[names[name]] for name in kept.names]
    assert len(kept) == 12
    assert leave_out_rare_genres(data, said.append) is data
    few = data.take(np.flatnonzero((data.labels == 1) | (np.arange(len(data)) < 4)))
    assert leave_out_rare_genres(few, said.append) is few, "of one genre nothing can be learned"


@pytest.mark.slow
def test_figures_are_about_tracks_that_were_held_out() -> None:
    """Numbers without any meaning would be learned by heart and measured as knowledge."""
    data = embedded(20, spread=1.0)
    noise = np.random.default_rng(0).normal(size=data.vectors.shape).astype(np.float32)
    meaningless = EmbeddedTracks(noise, data.track_of, data.names, data.labels, data.artists, data.genres)
    trained = train_head(meaningless)
    assert measure_head(trained, "noise").accuracy < 0.6
    assert trained.strength < 1
    assert choose_strength(data, 0) > 1e-3


def test_lists_say_what_is_held_out() -> None:
    """A researcher's split would be ignored."""
    data = embedded(10)
    train, valid = data.take(np.arange(18)), data.take(np.arange(18, 30))
    trained = train_head_on_list(train, valid)
    assert measure_head(trained, "lists").protocol == "file"
    np.testing.assert_array_equal(trained.held_out.names, valid.names)


def write_lists(folder: Path, *parts: EmbeddedTracks) -> tuple[Path, Path]:
    """Write a list of training tracks and one of tracks to measure on."""
    lists = folder / "train.txt", folder / "valid.txt"
    for path, part in zip(lists, parts, strict=True):
        path.write_text("".join(f"{name}.wav\n" for name in part.names))
    return lists


def test_genres_that_a_list_has_too_few_tracks_of_are_left_out_of_both_lists(tmp_path: Path) -> None:
    """A genre somewhere in the tables, in neither list, keeps a researcher from training on a split."""
    data = embedded(10, ("dub", "oddity", "ska", "polka"))
    number = np.arange(len(data)) // 4  # of each track among those of its genre
    listed = data.labels != data.genres.index("oddity")
    few = (data.labels == data.genres.index("polka")) & (number >= 3)
    train = data.take(np.flatnonzero(listed & (number < 6) & ~few))
    valid = data.take(np.flatnonzero(listed & (number >= 6)))
    said: list[str] = []
    trained_on, trained = _train(data, write_lists(tmp_path, train, valid), 0, said.append)
    assert said == [
        "left out because they have fewer than 4 training tracks with embeddings: oddity (0), polka (3)",
        "left out with their genres: 4 of 12 tracks to measure on",
        "training a head on 12 tracks of 2 genres",
    ]
    assert trained_on.genres == trained.held_out.genres == ("dub", "ska")
    genre_of = dict(zip(data.names.tolist(), data.labels.tolist(), strict=True))
    for part in (trained_on, trained.held_out):
        assert [part.genres[label] for label in part.labels] == [
            data.genres[genre_of[name]] for name in part.names.tolist()
        ]
    assert trained.head.weights.shape == (N_NUMBERS, 2)
    assert measure_head(trained, "lists").n == 8


def test_a_list_of_no_trained_genre_measures_nothing(tmp_path: Path) -> None:
    """A user gets an error of a library about empty arrays."""
    data = embedded(6)
    rare = data.labels == data.genres.index("ska")
    lists = write_lists(tmp_path, data.take(np.flatnonzero(~rare)), data.take(np.flatnonzero(rare)))
    with pytest.raises(MisuseError, match=r"valid.txt names no track of the genres .* \(dub, ska-punk\)"):
        _train(data, lists, 0, lambda sentence: None)


def test_tracks_that_the_network_learned_from_are_not_passed_off_as_new() -> None:
    """A network remembers what it was trained on: a head on its embeddings of that is right every time."""
    data = embedded(4)
    base = ModelBundle.load("gtzan")
    heard = " ".join(hash_name(name) for name in data.names[:5])
    info = base.info.model_copy(update={"training": {"trained_on": heard, "calibrated_on": heard}})
    said: list[str] = []
    network = ModelBundle(info, base.weights)
    found = _describe_leak(data, network, said.append)
    assert found == f"; LEAKS: 5 of the 12 held-out tracks were used to train {network.model}"
    assert "accuracy and calibration are optimistic" in said[0]
    assert _describe_leak(data.take(np.arange(5, 12)), network, said.append) == ""
    assert len(said) == 1


def test_the_recorded_command_names_a_model_that_can_be_loaded(tmp_path: Path) -> None:
    """Of a head on audio, the command was refused: only tables know models by their full names."""
    base = ModelBundle.load("gtzan")
    (tmp_path / "my shelves").mkdir()
    for start, name in ((None, "default"), ("gtzan", "gtzan"), (f"{tmp_path}/own model/", "'own model'")):
        audio = TrainRequest(
            f"{tmp_path}/my shelves/", tmp_path / "out", start=start, label_column="my genre"
        )
        assert _command(audio, base) == (
            f"earmark train 'my shelves' --on embeddings --out MODEL --from {name} --split track "
            "--label-column 'my genre' --seed 0 --name out"
        )
    (tmp_path / "tables" / "_runs").mkdir(parents=True)
    (tmp_path / "tables" / "_runs" / "run.json").touch()
    assert f" --from {base.model} " in _command(TrainRequest(f"{tmp_path}/tables", tmp_path / "out"), base)


@pytest.mark.slow
def test_the_model_is_the_network_with_the_head_and_keeps_its_license(tmp_path: Path) -> None:
    """The head's genres would come from other numbers than it was trained on, or without their license."""
    base = ModelBundle.load("gtzan")
    base = ModelBundle(base.info.model_copy(update={"license": "MIT", "source": "somewhere"}), base.weights)
    data = embedded(4)
    trained = train_head(data)
    made = build_head_bundle(base, trained, "my-head", measure_head(trained, "shelf"), {"seed": 0})
    made.save(tmp_path / "head")
    bundle = ModelBundle.load(str(tmp_path / "head"))
    assert (bundle.info.genres, bundle.info.license, bundle.info.source) == (data.genres, "MIT", "somewhere")
    assert bundle.info.features == base.info.features
    assert bundle.model == made.model
    log_mels = np.random.default_rng(0).integers(0, 256, (3, 128, 387), np.uint8)
    _, vectors = Classifier(base, batch_size=3).predict_and_embed(log_mels)
    prediction, again = Classifier(bundle, batch_size=3).predict_and_embed(log_mels)
    np.testing.assert_allclose(again, vectors, atol=1e-5)
    expected = softmax(apply_head(trained.head, vectors) / trained.temperature)
    np.testing.assert_allclose(prediction.proba, expected, atol=1e-5)
