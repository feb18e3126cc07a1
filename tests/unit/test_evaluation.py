"""Evaluation: from predictions to figures, checked by hand where possible."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from jobs.cli.summaries.evaluation import print_evaluation
from jobs.evaluation.matched_genres import match_genres
from jobs.evaluation.request import Request
from jobs.evaluation.tested_predictions import predict_tracks_outside
from pipeline.audio.features.log_mel import log_mel
from pipeline.evaluation.evaluation import (
    Predictions,
    Setup,
    coverage_points,
    list_mistakes,
    score,
    summarize,
)
from pipeline.evaluation.ood import predict_outside
from pipeline.models.bundle import ModelBundle
from pipeline.models.classifier import Classifier
from pipeline.models.label import track_probabilities
from pipeline.models.prediction import Prediction
from pipeline.pages.evaluation_page import render_evaluation_page
from pipeline.training.training_set import TrainingSet
from schemas.errors import TrackError
from schemas.evaluation import Evaluation
from schemas.features import FeatureSpec

GENRES = ("jazz", "metal", "rock")


def answers() -> Predictions:
    """Return three tracks: "a" jazz, two segments, "b" rock of two that disagree, "c" metal of one, wrong."""
    return Predictions(
        np.array(
            [[0.8, 0.1, 0.1], [0.6, 0.2, 0.2], [0.1, 0.1, 0.8], [0.5, 0.2, 0.3], [0.1, 0.3, 0.6]],
        ),
        np.array([0, 0, 2, 2, 1]),
        np.array(["a", "a", "b", "b", "c"]),
    )


def evaluation(outside: tuple[str, NDArray[np.float64]] | None = None, seed: int = 0) -> Evaluation:
    setup = Setup("set.npz", "track", "leaks a little")
    return summarize("model-1", answers(), "track", GENRES, setup, outside=outside, seed=seed)


def test_track_figures_use_the_mean_over_segments() -> None:
    """The main figure is not that of the labels, of which a catalog gets one per track."""
    found = evaluation()
    assert (found.unit, found.n_tracks, found.n_segments) == ("track", 3, 5)
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.confusion == ((1, 0, 0), (0, 0, 1), (0, 0, 1))
    assert found.other_unit is not None
    assert (found.other_unit.unit, found.other_unit.n) == ("piece", 5)
    assert found.other_unit.accuracy == pytest.approx(3 / 5)
    assert found.macro_f1 == pytest.approx((1 + 0 + 2 / 3) / 3)
    assert [one.support for one in found.per_genre] == [1, 1, 1]
    assert (found.per_genre[1].precision, found.per_genre[1].recall) == (None, 0.0)
    assert sum(one.n for one in found.reliability) == 3
    assert found.ece == pytest.approx((abs(1 - 0.7) + abs(1 - 0.55) + 0.6) / 3)


def test_track_figures_count_segments_as_labeling_does() -> None:
    """The accuracy of tracks with spoken intros is not that of their labels."""
    proba = np.array([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8]])
    labels, tracks, is_music = np.array([1, 1, 0]), np.array(["a", "a", "b"]), np.array([0.1, 0.9, np.nan])
    found = Predictions(proba, labels, tracks, is_music).by_unit("track")
    of_label = track_probabilities(Prediction(proba[:2], is_music[:2]), [False] * 2)
    np.testing.assert_allclose(found.proba, [of_label, proba[2]])
    assert found.predicted.tolist() == [1, 1]


def test_a_set_of_one_segment_a_track_has_one_figure() -> None:
    """The same number twice, under two names, is noise."""
    whole = answers().by_unit("track")
    found = summarize("m", whole, "track", GENRES, Setup("d", "file", "l"))
    assert found.other_unit is None


def test_coverage_and_accuracy_by_threshold() -> None:
    """Users choose a wrong --min-confidence from this table."""
    outside = np.array([[0.34, 0.33, 0.33], [0.9, 0.05, 0.05]])
    points = {point.min_confidence: point for point in coverage_points(answers().by_unit("track"), outside)}
    assert points[0.0].coverage == 1
    assert points[0.0].outside_accepted == 1
    # Confidences of the tracks: a 0.70, b 0.55, c 0.60 (wrong).
    assert points[0.6].coverage == pytest.approx(2 / 3)
    assert points[0.6].accuracy == pytest.approx(1 / 2)
    assert points[0.65].accuracy == 1
    assert points[0.6].outside_accepted == pytest.approx(1 / 2)
    assert (points[0.8].coverage, points[0.8].accuracy) == (0, None)


def test_mistakes_are_sorted_by_confidence_then_name() -> None:
    """The list of mistakes changes from run to run."""
    proba = np.array([[0.6, 0.3, 0.1], [0.9, 0.05, 0.05], [0.6, 0.2, 0.2], [0.1, 0.8, 0.1]])
    found = list_mistakes(Predictions(proba, np.array([1, 2, 1, 1]), np.array(["z", "y", "x", "w"])), GENRES)
    assert [(one.track, one.genre, one.predicted) for one in found] == [
        ("y", "rock", "jazz"),
        ("x", "metal", "jazz"),
        ("z", "metal", "jazz"),
    ]


def test_out_of_distribution_tracks_are_reported() -> None:
    """Users do not see how many tracks of no known genre the model labels anyway."""
    outside = ("noise", np.array([[0.2, 0.2, 0.6], [0.1, 0.1, 0.8], [0.5, 0.3, 0.2]]))
    found = evaluation(outside=outside)
    assert found.outside is not None
    assert (found.outside.n, found.outside.taken_for) == (3, {"rock": 2, "jazz": 1})
    assert found.outside.mean_confidence == pytest.approx((0.6 + 0.8 + 0.5) / 3)
    assert found.coverage[0].outside_accepted == 1


def test_tracks_that_the_model_recognizes_as_no_music_are_not_accepted() -> None:
    """A model that rejects speech would be reported as one that labels all of it."""
    outside = ("speech", np.array([[0.0, 0.0, 0.0], [0.1, 0.1, 0.8], [0.0, 0.0, 0.0]]))
    found = evaluation(outside=outside)
    assert found.outside is not None
    assert (found.outside.n, found.outside.taken_for, found.outside.not_music) == (3, {"rock": 1}, 2)
    assert found.coverage[0].outside_accepted == pytest.approx(1 / 3)
    page = render_evaluation_page(found)
    assert "predicted as <bdi>rock</bdi> 1; 2 recognized as no music." in page


def test_a_folder_of_another_genre_that_is_no_music_is_not_accepted() -> None:
    """A folder speech/ beside the genres makes `default` look as if it labeled all speech."""
    bundle = ModelBundle.load("default")
    features = bundle.info.features
    white = np.random.default_rng(0).normal(0, 0.1, 320_000).astype(np.float32)
    noise = log_mel(white, features)[0]
    names = np.array(["speech/a", "speech/b"])
    speech = TrainingSet(np.stack([noise, noise]), np.zeros(2, np.intp), names, ("speech",))
    classifier = Classifier(bundle, batch_size=2)
    found = predict_tracks_outside(Request("my/data"), speech, classifier, lambda sentence: None)
    assert found is not None
    source, proba = found
    assert (source, proba.shape) == ("speech of data", (2, len(bundle.info.genres)))
    assert not proba.any()


def test_silence_out_of_distribution_is_left_out(tmp_path: Path) -> None:
    """A run gives silence no genre, but it counted as accepted, and as the first genre of the model."""
    for name, level in (("noise", 0.1), ("silence", 0.0)):
        y = level * np.random.default_rng(0).normal(size=5 * 22_050)
        soundfile.write(tmp_path / f"{name}.wav", y, 22_050)
    left_out: list[TrackError] = []

    def predict(log_mels: Any, descriptors: Any) -> Prediction:
        return Prediction(np.full((len(log_mels), 2), [0.3, 0.7]))

    proba = predict_outside(str(tmp_path), FeatureSpec(), predict, left_out.append)
    np.testing.assert_allclose(proba, [[0.3, 0.7]])
    (error,) = left_out
    assert str(error) == f"{tmp_path}/silence.wav is silent, and silence gets no genre"


def test_tracks_of_known_genres_that_are_no_music_are_not_kept() -> None:
    """Users expect genres for tracks that labeling leaves without one, at any --min-confidence."""
    # By track the means are a 0.4, b 0.6, c 0.5, which labeling accepts.
    heard = replace(answers(), is_music=np.array([0.1, 0.7, 0.3, 0.9, 0.5]))
    found = summarize("m", heard, "track", GENRES, Setup("d", "as given", "l"))
    points = {point.min_confidence: point for point in found.coverage}
    assert (points[0.0].coverage, points[0.0].accuracy) == pytest.approx((2 / 3, 1 / 2))
    assert (points[0.6].coverage, points[0.6].accuracy) == pytest.approx((1 / 3, 0))
    assert found.accuracy == pytest.approx(2 / 3), "the most probable genres are measured as before"
    folds = Predictions.concatenate([heard, heard])
    assert folds.is_music is not None
    assert len(folds.is_music) == len(folds)
    assert replace(heard, is_music=np.full(5, np.nan)).accepted_proba.all(), "unknown is not 'no music'"


def test_json_has_the_documented_keys() -> None:
    """A dashboard misses a key, or shows a figure without its protocol and leaks."""
    written = json.loads(evaluation().model_dump_json())
    for key in (
        "accuracy", "accuracy_interval", "ece", "macro_f1", "protocol", "leak", "n_tracks", "genres",
        "confusion", "per_genre", "baselines", "reliability", "coverage", "mistakes", "seed",
    ):  # fmt: skip
        assert key in written, key
    assert Evaluation.model_validate_json(json.dumps(written)) == evaluation()


def test_a_classifier_without_probabilities_has_no_calibration_error() -> None:
    """Margins of a support vector machine are reported as confidences."""
    found = score("svm", answers(), "track", ranks=False, calibrated=False)
    assert (found.ece, found.top3_accuracy) == (None, None)
    assert found.accuracy == pytest.approx(2 / 3)


def test_the_interval_is_fixed_by_the_seed() -> None:
    """A figure changes between two evaluations of the same predictions."""
    rng = np.random.default_rng(0)
    tracks = rng.integers(0, 40, 90).astype(str)
    many = Predictions(rng.dirichlet(np.ones(3), 90), rng.integers(0, 3, 90), tracks)
    assert score("m", many, "piece", seed=1) == score("m", many, "piece", seed=1)
    assert score("m", many, "piece", seed=1) != score("m", many, "piece", seed=2)


def test_genres_that_play_no_part_are_counted_but_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Nine rows of dashes, and a confusion matrix wider than the terminal, hid the ten genres of the data."""
    mine = answers()
    wide = np.insert(mine.proba, [1, 3], 0.0, axis=1)
    labels = np.array([0, 2, 3])[mine.labels]
    genres = ("jazz", "latin", "metal", "rock", "vocal")
    print_evaluation(
        summarize("m", Predictions(wide, labels, mine.tracks), "track", genres, Setup("d", "file", "l"))
    )
    printed = capsys.readouterr().out
    assert "genres of the model that are neither in the data nor predicted: 2" in printed
    assert "latin" not in printed
    assert [line.split() for line in printed.splitlines() if line.startswith("metal")] == [
        ["metal", "–", "0.000", "0.000", "1"],
        ["metal", "·", "·", "1"],
    ]


def test_tags_mean_genres_and_folders_name_them() -> None:
    """Music tagged "Hard Bop" would be no jazz for the model that is measured on it; a folder "not rock"
    beside the genres would be rock."""
    said: list[str] = []
    names = ["jazz", "Jazz ", "Hard Bop", "Hip-Hop", "not rock", "Sea Shanty", "!"]
    genres = ("jazz", "hiphop", "rock")
    spelled = {"jazz": "jazz", "Jazz ": "jazz", "Hip-Hop": "hiphop"}
    assert match_genres(names, genres, "folder", said.append) == spelled
    assert said == ["genres of the data taken as genres of the model: Hip-Hop as hiphop, Jazz  as jazz"]
    tagged = match_genres(names, genres, "genre_tag", said.append)
    assert tagged == spelled | {"Hard Bop": "jazz", "not rock": "rock"}
