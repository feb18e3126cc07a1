"""Model bundles and the classifier, on which every row of the labels table depends."""

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.models.bundle import ModelBundle, network_bytes, shipped_models
from pipeline.models.classifier import Classifier, fit_frames
from pipeline.models.cnn import build_cnn
from pipeline.tables.kept_models import keep_model
from schemas.errors import MisuseError
from schemas.features import FeatureSpec
from schemas.model import Measurement, ModelInfo

N_MELS, N_FRAMES = 32, 48
GENRES = ("blues", "jazz", "rock")
LogMels = list[NDArray[np.uint8]]


def make_info(**changes: object) -> ModelInfo:
    values: dict[str, object] = {
        "name": "tiny",
        "genres": GENRES,
        "features": FeatureSpec(n_mels=N_MELS),
        "n_frames": N_FRAMES,
        "temperature": 1.5,
    }
    return ModelInfo.model_validate(values | changes)


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    """Return a small network of the real architecture with random weights."""
    import keras

    keras.utils.set_random_seed(0)
    return ModelBundle(make_info(), network_bytes(build_cnn(N_MELS, N_FRAMES, len(GENRES), width=8)))


@pytest.fixture
def log_mels() -> LogMels:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (N_MELS, t), dtype=np.uint8) for t in (48, 49, 13, 1, 100, 47, 48, 20, 5)]


def read_member(weights: bytes, member: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(weights)) as archive:
        return archive.read(member)


def replace_member(weights: bytes, folder: Path, member: str, data: bytes) -> bytes:
    source, target = folder / "source.keras", folder / "target.keras"
    source.write_bytes(weights)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, data if name == member else old.read(name))
    return target.read_bytes()


def test_save_then_load_gives_the_same_model(bundle: ModelBundle, tmp_path: Path) -> None:
    """A bundle changes when it is saved and loaded, and whole catalogs are labeled again."""
    bundle.save(tmp_path / "models" / "tiny")
    loaded = ModelBundle.load(str(tmp_path / "models" / "tiny"))
    assert loaded == bundle
    assert loaded.model == bundle.model
    assert loaded.model.startswith("tiny-")
    assert len(loaded.model) == len("tiny-") + 8
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["tiny"]


def test_load_takes_any_fsspec_uri(bundle: ModelBundle, tmp_path: Path) -> None:
    """Clusters cannot read a model from a bucket."""
    import fsspec

    bundle.save(tmp_path / "tiny")
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "tiny"), "/models/tiny", recursive=True)
    assert ModelBundle.load("memory://models/tiny").model == bundle.model


def test_model_name_depends_on_what_labels_depend_on(bundle: ModelBundle, tmp_path: Path) -> None:
    """Labels of different models mix, or measuring a model again relabels a catalog."""
    figure = Measurement(protocol="track", dataset="d", accuracy=0.5, n=10)
    measured = ModelBundle(bundle.info.model_copy(update={"figures": (figure,)}), bundle.weights)
    redated = ModelBundle(bundle.info, replace_member(bundle.weights, tmp_path, "metadata.json", b"{}"))
    hotter = ModelBundle(bundle.info.model_copy(update={"temperature": 2.0}), bundle.weights)
    weights = replace_member(bundle.weights, tmp_path, "model.weights.h5", b"others")
    assert measured.model == redated.model == bundle.model
    assert len({bundle.model, hotter.model, ModelBundle(bundle.info, weights).model}) == 3


def test_save_never_overwrites(bundle: ModelBundle, tmp_path: Path) -> None:
    """A second training silently replaces a model that took hours."""
    bundle.save(tmp_path / "tiny")
    with pytest.raises(MisuseError, match=r"cannot write the model folder .*tiny"):
        bundle.save(tmp_path / "tiny")
    assert ModelBundle.load(str(tmp_path / "tiny")).model == bundle.model


def test_loading_does_not_import_tensorflow(bundle: ModelBundle, tmp_path: Path) -> None:
    """A nightly run with nothing to do loads TensorFlow, which takes four seconds."""
    bundle.save(tmp_path / "tiny")
    code = (
        "import sys; from pipeline.models.bundle import ModelBundle; "
        f"ModelBundle.load({str(tmp_path / 'tiny')!r}).model; "
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'librosa', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda info: info.pop("genres"), "not valid: genres: Field required"),
        (
            lambda info: info.update(format_version=3),
            r"newer Earmark \(format 3, .* up to 2\); upgrade",
        ),
        (lambda info: info.update(format_version="two"), "not valid: format_version"),
        (
            lambda info: info["features"].update(taper="hann"),
            r"features .* does not know \(taper\)",
        ),
        (lambda info: info.update(temperature=0), "not valid: temperature"),
        (lambda info: info.update(n_frames=60), r"takes arrays of shape \(32, 48, 1\).*\(32, 60, 1\)"),
        (lambda info: info["genres"].append("ska"), "has 3 outputs, but model.json names 4"),
        (lambda info: info["genres"].__setitem__(1, info["genres"][0]), "two genres have the same name"),
    ],
)
def test_a_model_json_that_is_wrong_is_refused(
    bundle: ModelBundle, tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    """A bundle whose files do not match writes wrong labels instead of stopping the run."""
    bundle.save(tmp_path / "tiny")
    info = json.loads((tmp_path / "tiny/model.json").read_text())
    change(info)
    (tmp_path / "tiny/model.json").write_text(json.dumps(info))
    with pytest.raises(MisuseError, match=message):
        ModelBundle.load(str(tmp_path / "tiny"))


def test_missing_and_broken_files_are_named(bundle: ModelBundle, tmp_path: Path) -> None:
    """Users do not see which file of which folder to fix."""
    with pytest.raises(MisuseError, match="there is no model 'nope'"):
        ModelBundle.load("nope")
    with pytest.raises(MisuseError, match=r"there is no model\.json in .*tiny"):
        ModelBundle.load(str(tmp_path / "tiny"))
    with pytest.raises(MisuseError, match="bogus:// locations are not supported"):
        ModelBundle.load("bogus://tiny")
    bundle.save(tmp_path / "tiny")
    (tmp_path / "tiny/model.json").write_text("{")
    with pytest.raises(MisuseError, match=r"model\.json is not valid"):
        ModelBundle.load(str(tmp_path / "tiny"))
    (tmp_path / "tiny/model.json").write_text(bundle.info.model_dump_json())
    (tmp_path / "tiny/model.keras").write_bytes(bundle.weights[:1000])
    with pytest.raises(MisuseError, match=r"model\.keras is not a network"):
        ModelBundle.load(str(tmp_path / "tiny"))
    (tmp_path / "tiny/model.keras").unlink()
    with pytest.raises(MisuseError, match=r"there is no model\.keras"):
        ModelBundle.load(str(tmp_path / "tiny"))


def test_code_in_a_network_is_refused(tmp_path: Path) -> None:
    """A model folder from a stranger runs code on the cluster."""
    import keras

    x = keras.Input((N_MELS, N_FRAMES, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Lambda(lambda levels: levels * 2)(x))
    network = keras.Model(x, keras.layers.Dense(len(GENRES))(pooled))
    with pytest.raises(MisuseError, match="Keras refuses the network of tiny"):
        Classifier(ModelBundle(make_info(), network_bytes(network)))


def test_a_network_that_is_a_bomb_is_refused(bundle: ModelBundle, tmp_path: Path) -> None:
    """A small file from a stranger takes all the memory of whoever loads it."""
    bundle.save(tmp_path / "tiny")
    file = tmp_path / "tiny" / "model.keras"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", read_member(bundle.weights, "config.json"))
        archive.writestr("model.weights.h5", bytes(50 << 20))
    with pytest.raises(MisuseError, match=r"model\.keras would unpack to 52.* MB, .* times its size"):
        ModelBundle.load(str(tmp_path / "tiny"))
    file.write_bytes(replace_member(bundle.weights, tmp_path, "config.json", b"[" * 100_000 + b"]" * 100_000))
    with pytest.raises(MisuseError, match=r"model\.keras is not a network that Earmark can read"):
        ModelBundle.load(str(tmp_path / "tiny"))


def test_a_network_of_other_layers_is_refused(bundle: ModelBundle, tmp_path: Path) -> None:
    """The user is told to install a library of the stranger's, or to report an internal error."""
    config = json.loads(read_member(bundle.weights, "config.json"))
    layer = next(each for each in config["config"]["layers"] if each["class_name"] == "Conv2D")
    layer |= {"class_name": "TorchModuleWrapper", "config": {"name": layer["config"]["name"], "module": {}}}
    weights = replace_member(bundle.weights, tmp_path, "config.json", json.dumps(config).encode())
    with pytest.raises(MisuseError, match=r"Keras refuses the network of tiny.*torch"):
        Classifier(ModelBundle(make_info(), weights))


@pytest.mark.parametrize("spoiled", ["model.json", "model.keras"])
def test_labels_are_of_the_model_whose_name_they_have(
    bundle: ModelBundle, tmp_path: Path, spoiled: str
) -> None:
    """Tables of others hold another network under the name of the default, and every run labels with it."""
    folder = tmp_path / bundle.model
    keep_model(bundle, str(folder), lambda: None)
    other = ModelBundle(make_info(temperature=9), bundle.weights)
    (folder / spoiled).write_bytes(other.files["model.json"] if spoiled == "model.json" else b"half")
    keep_model(bundle, str(folder), lambda: None)
    assert ModelBundle.load(str(folder)) == bundle


def test_predict_proba_is_the_tempered_softmax_of_keras(
    bundle: ModelBundle, log_mels: LogMels, tmp_path: Path
) -> None:
    """The compiled, padded, batched network gives other results than Keras for single segments."""
    network = build_cnn(N_MELS, N_FRAMES, len(GENRES), width=8)
    (tmp_path / "tiny.weights.h5").write_bytes(read_member(bundle.weights, "model.weights.h5"))
    network.load_weights(tmp_path / "tiny.weights.h5")
    expected = []
    for log_mel in log_mels:
        x = fit_frames(log_mel, N_FRAMES)[None, :, :, None].astype(np.float32)
        logits = np.asarray(network(x, training=False), np.float64)[0] / 1.5
        expected.append(np.exp(logits) / np.exp(logits).sum())
    found = Classifier(bundle, batch_size=4).predict_proba(log_mels)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_probabilities_do_not_depend_on_the_batch(bundle: ModelBundle, log_mels: LogMels) -> None:
    """The same file gets different labels in different shards."""
    classifier = Classifier(bundle, batch_size=4)
    together = classifier.predict_proba(log_mels)
    assert together.shape == (len(log_mels), len(GENRES))
    assert together.dtype == np.float64
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-12)
    alone = np.concatenate([classifier.predict_proba([log_mel]) for log_mel in log_mels])
    np.testing.assert_array_equal(alone, together)
    np.testing.assert_array_equal(classifier.predict_proba(log_mels[::-1])[::-1], together)
    of_one = Classifier(bundle, batch_size=1).predict_proba(log_mels)
    np.testing.assert_allclose(of_one, together, atol=1e-6)
    assert classifier.predict_proba([]).shape == (0, len(GENRES))


def test_many_models_in_one_process_are_no_reason_to_warn(
    bundle: ModelBundle, log_mels: LogMels, caplog: pytest.LogCaptureFixture
) -> None:
    """TensorFlow would warn of retracing in a notebook that labels a sixth time."""
    for _ in range(7):
        Classifier(bundle, batch_size=4).predict_and_embed(log_mels)
    assert not [record.message for record in caplog.records if record.levelname == "WARNING"]


def test_fit_frames_repeats_short_segments_and_cuts_the_middle_of_long_ones() -> None:
    """A one-second jingle is labeled as one second of music and 29 s of silence."""
    log_mel = np.arange(10, dtype=np.uint8).reshape(2, 5)
    assert fit_frames(log_mel, 12).tolist() == [
        [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1],
        [5, 6, 7, 8, 9, 5, 6, 7, 8, 9, 5, 6],
    ]
    assert fit_frames(log_mel, 3).tolist() == [[1, 2, 3], [6, 7, 8]]
    assert fit_frames(log_mel, 5).tolist() == log_mel.tolist()


def test_shipped_models_load() -> None:
    """The default model is missing or broken, and no run works."""
    assert "default" in shipped_models()
    for name in shipped_models():
        bundle = ModelBundle.load(name)
        assert len(bundle.weights) < 5_000_000
        assert bundle.info.figures
