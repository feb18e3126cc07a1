"""The model ``gtzan``: users must get its published figure, from arrays and from audio."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.audio.features.featurize import featurize_track
from pipeline.models import metrics
from pipeline.models.bundle import ModelBundle
from pipeline.models.classifier import Classifier
from pipeline.training.data.importers import import_npz
from pipeline.training.splits import split_by_lists
from pipeline.training.training_set import TrainingSet
from tests.log_mels import log_mel_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return ModelBundle.load("gtzan")


@pytest.fixture(scope="module")
def classifier(bundle: ModelBundle) -> Classifier:
    return Classifier(bundle, batch_size=8)


@pytest.fixture(scope="module")
def valid_set(gtzan: Path) -> TrainingSet:
    data = import_npz(gtzan / "log_mel_128x387.npz")
    return split_by_lists(data, gtzan / "splits/train_filtered.txt", gtzan / "splits/valid_filtered.txt")[1]


def test_the_recorded_figure_is_what_the_package_gives(
    bundle: ModelBundle, classifier: Classifier, valid_set: TrainingSet
) -> None:
    """The shipped weights do not reach the figure in model.json."""
    proba = classifier.predict_proba(list(log_mel_of(valid_set)))
    figure = bundle.info.figures[0]
    assert (figure.protocol, figure.n) == ("file", 197)
    assert metrics.accuracy(proba, valid_set.labels) == pytest.approx(figure.accuracy, abs=0.006)
    assert metrics.expected_calibration_error(proba, valid_set.labels) == pytest.approx(figure.ece, abs=0.02)
    assert figure.accuracy > 0.6


def test_labels_by_way_of_audio_are_those_of_the_arrays(
    bundle: ModelBundle, classifier: Classifier, gtzan: Path
) -> None:
    """The model is trained on arrays and used on audio; features that differ cost accuracy unnoticed.

    The frames of the arrays lie up to half a window beside those of the audio, so a clip that is between two
    genres may flip: at most one of the 20 whole clips.
    """
    data = import_npz(gtzan / "log_mel_128x387.npz")
    by_audio: list[NDArray[np.uint8]] = []
    by_array: list[NDArray[np.uint8]] = []
    for path in sorted(gtzan.glob("audio*/*/*.flac")):
        with path.open("rb") as file:
            (segment,) = featurize_track(file, str(path), bundle.info.features).segments
        by_audio.append(log_mel_of(segment))
        by_array.append(log_mel_of(data)[data.tracks == path.stem][0][:, : by_audio[-1].shape[1]])
    heard, read = classifier.predict_proba(by_audio), classifier.predict_proba(by_array)
    differs = heard.argmax(axis=1) != read.argmax(axis=1)
    whole = np.array([log_mel.shape[1] == 387 for log_mel in by_array])
    assert (len(whole), whole.sum()) == (88, 20)
    assert differs[whole].sum() <= 1
    assert np.abs(heard - read).mean() < 0.02


def test_a_few_levels_more_or_less_change_little(classifier: Classifier, valid_set: TrainingSet) -> None:
    """Labels depend on the alignment of frames, which shifts the maximum that levels are relative to."""
    log_mels = log_mel_of(valid_set)[::4]
    plain = classifier.predict_proba(list(log_mels))
    for shift in (-5, 5):
        moved = np.clip(log_mels.astype(np.int16) + shift, 0, 255).astype(np.uint8)
        shifted = classifier.predict_proba(list(moved))
        assert np.mean(shifted.argmax(axis=1) == plain.argmax(axis=1)) >= 0.9
