"""Networks over descriptors, and over both kinds of features: their training and their classifier."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.models.bundle import ModelBundle
from pipeline.models.classifier import Classifier
from pipeline.models.dense import build_dense
from pipeline.models.metrics import cross_calibrate, expected_calibration_error, fit_temperature
from pipeline.models.prediction import softmax
from pipeline.training.batches import TrainingBatches, balancing_weights
from pipeline.training.checkpoints import Checkpoint
from pipeline.training.splits import split_by_track
from pipeline.training.train_model import TrainingOptions, measure, train, train_by_epoch
from pipeline.training.trainer import Epoch
from pipeline.training.training_set import TrainingSet
from pipeline.training.training_settings import TrainingSettings
from schemas.errors import EarmarkError, MisuseError
from schemas.features import FeatureSpec
from schemas.model import Arch, ModelInfo
from tests.log_mels import log_mel_of

pytestmark = pytest.mark.slow

GENRES = ("loud", "mild", "quiet")


def make_set(n_a_genre: int = 12) -> TrainingSet:
    """Return noise whose level depends on the genre, in the log-mel and in descriptors of different units."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), n_a_genre)
    log_mel = rng.integers(0, 60, (len(labels), 16, 20)) + 90 * (2 - labels)[:, None, None]
    scale = 10.0 ** rng.integers(-5, 7, 57)
    descriptors = (rng.normal(size=(len(labels), 57)) + 100) * scale
    descriptors[:, :20] += 4 * labels[:, None] * scale[:20]
    descriptors[:, 20] = 7.0
    tracks = np.array([f"{GENRES[label]}.{i:03d}" for i, label in enumerate(labels)])
    spec = FeatureSpec(n_mels=16, descriptors=True)
    return TrainingSet(log_mel.astype(np.uint8), labels, tracks, GENRES, descriptors, spec)


def settings_of(arch: str, **changes: Any) -> TrainingSettings:
    short = {"epochs": 30, "batch_size": 8, "threads": 1, "learning_rate": 2e-3}
    return replace(TrainingSettings.for_arch(arch), **(short | changes))


def fit(
    settings: TrainingSettings,
    *,
    tensorboard: str | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> ModelBundle:
    sets = split_by_track(make_set(), seed=0)
    options = TrainingOptions("m", "track", "d", settings, tensorboard=tensorboard)
    return train(*sets, options, on_epoch=on_epoch)


def weights(bundle: ModelBundle) -> list[NDArray[Any]]:
    from pipeline.models.bundle import load_network

    return [np.array(weight.numpy()) for weight in load_network(bundle).weights]


@pytest.mark.parametrize("arch", ["dense", pytest.param("both", marks=pytest.mark.thorough)])
def test_a_model_of_descriptors_learns_and_labels(arch: Arch, tmp_path: Path) -> None:
    """A model of descriptors cannot be trained, saved and used."""
    fit(settings_of(arch, batch_size=8 if arch == "dense" else 4)).save(tmp_path / "m")
    bundle = ModelBundle.load(str(tmp_path / "m"))
    assert bundle.info.arch == arch
    assert bundle.info.features == FeatureSpec(n_mels=16, log_mel=arch == "both", descriptors=True)
    assert bundle.info.figures[0].n == 6
    data = make_set()
    classifier = Classifier(bundle, batch_size=8)
    proba = classifier.predict_proba(data.log_mel, data.descriptors)
    assert np.mean(proba.argmax(axis=1) == data.labels) >= 0.8
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-12)
    if arch == "dense":
        np.testing.assert_array_equal(classifier.predict_proba(descriptors=data.descriptors), proba)
    with pytest.raises(MisuseError, match="the model m reads descriptors, which this data does not have"):
        classifier.predict_proba(data.log_mel)


def test_the_first_layer_is_the_standard_scaler() -> None:
    """The scaler of a bundle differs from scikit-learn's StandardScaler."""
    import keras
    from sklearn.preprocessing import StandardScaler

    described = make_set().descriptors
    assert described is not None
    network = build_dense(described, 3)
    scaler = keras.Model(network.inputs, network.layers[1].output)
    expected = StandardScaler().fit(described).transform(described)
    np.testing.assert_allclose(np.asarray(scaler([described.astype(np.float32)])), expected, atol=2e-3)
    unseen = described * 1.01
    unseen[:, 20] = 8.0  # did not vary in training
    found = np.asarray(scaler([unseen.astype(np.float32)]))
    np.testing.assert_allclose(found, StandardScaler().fit(described).transform(unseen), atol=2e-3)


def test_a_network_that_does_not_fit_its_notes_is_refused(tmp_path: Path) -> None:
    """A run feeds 57 numbers to a network of log-mels instead of stopping."""
    bundle = fit(settings_of("dense", epochs=1))
    info = bundle.info.model_dump()
    both = info | {"arch": "both", "n_frames": 20, "features": info["features"] | {"log_mel": True}}
    ModelBundle(ModelInfo.model_validate(both), bundle.weights).save(tmp_path / "m")
    with pytest.raises(
        MisuseError, match=r"takes arrays of shape \(57,\), but model\.json says \(16, 20, 1\) and"
    ):
        ModelBundle.load(str(tmp_path / "m"))
    for wrong in ({"arch": "cnn"}, {"n_frames": 20}):
        with pytest.raises(ValueError, match=r"do not match the architecture|n_frames must be set"):
            ModelInfo.model_validate(info | wrong)


@pytest.mark.parametrize("arch", ["dense", pytest.param("both", marks=pytest.mark.thorough)])
def test_the_seed_fixes_every_weight(arch: Arch) -> None:
    """The recorded command does not reproduce a published figure."""
    first, second = (fit(settings_of(arch, epochs=2)) for _ in range(2))
    assert first.model == second.model
    for one, other in zip(weights(first), weights(second), strict=True):
        np.testing.assert_array_equal(one, other)
    assert fit(settings_of(arch, epochs=2, seed=1)).model != first.model


@pytest.mark.parametrize(
    ("arch", "patience"),
    [("dense", 3), *(pytest.param(arch, None, marks=pytest.mark.thorough) for arch in ("dense", "both"))],
)
def test_a_training_that_was_cut_off_goes_on_as_if_nothing_had_been(
    arch: Arch, patience: int | None, tmp_path: Path
) -> None:
    """A training that was interrupted on a spot machine gives other weights than its recorded seed."""
    settings = settings_of(arch, epochs=6, early_stopping=patience, class_weights=True)
    sets = split_by_track(make_set(), seed=0)
    options = TrainingOptions("m", "track", "d", settings)
    kept = replace(options, checkpoint=str(tmp_path / "kept"))
    whole = train(*sets, options)
    cut = train_by_epoch(*sets, kept)
    next(cut)
    cut.close()
    assert len(list((tmp_path / "kept").iterdir())) == 1
    numbers: list[int] = []
    again = train(*sets, kept, on_epoch=lambda epoch: numbers.append(epoch.number))
    assert numbers[0] == 2
    for one, other in zip(weights(whole), weights(again), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.model == whole.model
    at_once: list[int] = []
    done = train(*sets, kept, on_epoch=lambda epoch: at_once.append(epoch.number))
    assert not at_once, "a finished training is not trained again"
    assert done.model == whole.model


def test_a_checkpoint_belongs_to_one_training_and_damage_is_named(tmp_path: Path) -> None:
    """A training silently resumes from the weights of another."""
    sets = split_by_track(make_set(), seed=0)
    settings = settings_of("dense")
    one = Checkpoint(str(tmp_path), *sets, settings)
    assert one.read() is None
    one.write({"a": 1}, [np.arange(3)], final=True)
    other = Checkpoint(str(tmp_path), *sets, replace(settings, seed=5))
    assert other.read() is None
    kept = Checkpoint(str(tmp_path), *sets, settings).read()
    assert kept is not None
    assert kept[0] == {"a": 1}
    np.testing.assert_array_equal(kept[1][0], np.arange(3))
    Path(one.location).write_bytes(b"PK no more")
    with pytest.raises(EarmarkError, match=r"checkpoint .* is damaged .*; remove it"):
        one.read()


def test_early_stopping_keeps_the_best_weights() -> None:
    """600 epochs on a small set overfit."""
    epochs: list[Any] = []
    bundle = fit(settings_of("dense", epochs=400, early_stopping=5), on_epoch=epochs.append)
    assert len(epochs) < 400
    best = fit(settings_of("dense", epochs=len(epochs) - 5))
    for one, other in zip(weights(bundle), weights(best), strict=True):
        np.testing.assert_array_equal(one, other)


def test_class_weights_make_up_for_rare_genres() -> None:
    """A genre with a tenth of the tracks is hardly learned or predicted."""
    labels = np.repeat(np.arange(3), [80, 15, 5])
    found = balancing_weights(labels, 4)
    np.testing.assert_allclose(found[:3] * [80, 15, 5], 100 / 3, rtol=1e-6)
    assert found[labels].mean() == pytest.approx(1)
    assert found[3] == 1
    plain, weighted = (fit(settings_of("dense", epochs=2, class_weights=on)) for on in (False, True))
    assert plain.model == weighted.model, "genres of one size weigh the same"


def test_mixup_blends_descriptors_with_their_music() -> None:
    """The log-mel of one track is trained on together with the descriptors of another."""
    data = make_set()
    means = log_mel_of(data).mean(axis=(1, 2))
    described = np.tile(means[:, None], 57)
    settings = replace(
        TrainingSettings.for_arch("both"),
        batch_size=8,
        augmentation=replace(
            TrainingSettings().augmentation,
            stretch=0,
            shift=0,
            gain=0,
            tilt=0,
            contrast=0,
            band_mask=0,
            frame_mask=0,
        ),
    )
    (levels, beside), y = next(TrainingBatches(replace(data, descriptors=described), 20, settings))
    assert (levels.shape, beside.shape, y.shape) == ((8, 16, 20, 1), (8, 57), (8, 3))
    np.testing.assert_allclose(levels.mean(axis=(1, 2, 3)), beside[:, 0], rtol=1e-4)


def test_the_temperature_is_fitted_to_tracks_that_were_not_trained_on() -> None:
    """A temperature fitted to training tracks gives confidences near 1 that mean nothing."""
    valid_set = split_by_track(make_set(), seed=0)[1]
    bundle = fit(settings_of("dense", epochs=5))
    raw = Classifier(ModelBundle(bundle.info.model_copy(update={"temperature": 1.0}), bundle.weights))
    logits = np.log(raw.predict_proba(descriptors=valid_set.descriptors))
    assert fit_temperature(logits, valid_set.labels) == pytest.approx(bundle.info.temperature, rel=1e-2)
    tempered = Classifier(bundle).predict_proba(descriptors=valid_set.descriptors)
    np.testing.assert_allclose(softmax(logits / bundle.info.temperature), tempered, atol=1e-6)


def test_the_calibration_error_is_not_that_of_the_tracks_of_the_temperature() -> None:
    """A page claims an error of zero, on the very tracks that the temperature was fitted to."""
    rng = np.random.default_rng(1)
    data = make_set()
    logits = rng.normal(0, 1, (len(data), 3)) + 2 * np.eye(3)[data.labels]
    calibrated = cross_calibrate(logits, data.labels, data.tracks)
    temperature = fit_temperature(logits, data.labels)
    measured = measure(logits, temperature, data, "track", "d")
    assert measured.ece == round(expected_calibration_error(calibrated, data.labels), 4)
    assert measured.ece != round(expected_calibration_error(softmax(logits / temperature), data.labels), 4)


def test_settings_are_read_from_the_notes_of_a_model() -> None:
    """`--like MODEL` loses a setting and trains a different model."""
    settings = settings_of("dense", early_stopping=4, class_weights=True, dropout=0.35, seed=3)
    bundle = fit(replace(settings, epochs=1))
    noted = ModelInfo.model_validate_json(bundle.info.model_dump_json())
    assert TrainingSettings.from_notes("dense", noted.training) == replace(settings, epochs=1)
    shipped = ModelBundle.load("gtzan").info
    recorded = TrainingSettings.from_notes(shipped.arch, shipped.training)
    for key, value in recorded.to_notes().items():
        assert shipped.training.get(key, value) == value


def test_tensorboard_can_read_the_losses(tmp_path: Path) -> None:
    """TensorBoard cannot read the event file, which is noticed only after the training."""
    import tensorflow as tf

    epochs: list[Any] = []
    fit(settings_of("dense", epochs=3), tensorboard=str(tmp_path), on_epoch=epochs.append)
    (file,) = tmp_path.glob("events.out.tfevents.*")
    found: dict[str, list[float]] = {}
    for record in tf.compat.v1.io.tf_record_iterator(str(file)):
        for value in tf.compat.v1.Event.FromString(record).summary.value:
            assert value.metadata.plugin_data.plugin_name in ("scalars", "")
            found.setdefault(value.tag, []).append(float(tf.make_ndarray(value.tensor)))
    np.testing.assert_allclose(found["loss"], [epoch.loss for epoch in epochs], rtol=1e-6)
    np.testing.assert_allclose(found["valid_accuracy"], [epoch.valid_accuracy for epoch in epochs], rtol=1e-6)
