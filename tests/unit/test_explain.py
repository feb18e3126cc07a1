"""Explanations: whether they show what the model read, or only look as if."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from numpy.typing import NDArray

import earmark
from jobs.explain import explain_track
from pipeline.demo.synthesis import synthesize
from pipeline.models.bundle import ModelBundle, network_bytes
from pipeline.models.classifier import Classifier
from pipeline.models.cnn import build_cnn
from pipeline.models.explanation import Explanation, Method, explain, find_strongest_patches, run_masking_test
from pipeline.plots.track_view import view_track
from schemas.errors import MisuseError
from schemas.features import FeatureSpec
from schemas.model import ModelInfo

pytestmark = pytest.mark.slow

N_MELS, N_FRAMES = 64, 128
SPEC = FeatureSpec(n_mels=N_MELS)
PLANTED = (slice(40, 56), slice(64, 96))
"""The bands and frames in which one of two genres is louder."""


def segments(rng: np.random.Generator, n: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    x = rng.integers(60, 140, (n, N_MELS, N_FRAMES)).astype(np.uint8)
    genre = np.arange(n) % 2
    x[genre == 1, PLANTED[0], PLANTED[1]] += 80
    return x, genre


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    """A network of the real architecture that has learned a genre which is one patch of the log-mel."""
    import keras

    keras.utils.set_random_seed(0)
    network = build_cnn(N_MELS, N_FRAMES, 2, width=4)
    x, genre = segments(np.random.default_rng(0), 96)
    network.compile(keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    network.fit(x[..., np.newaxis].astype(np.float32), genre, batch_size=16, epochs=12, verbose=0)
    info = ModelInfo(
        name="planted", genres=("plain", "planted"), features=SPEC, n_frames=N_FRAMES, temperature=1.0
    )
    return Classifier(ModelBundle(info, network_bytes(network)))


@pytest.fixture(scope="module")
def planted() -> NDArray[np.uint8]:
    log_mel: NDArray[np.uint8] = segments(np.random.default_rng(1), 2)[0][1]
    return log_mel


@pytest.mark.parametrize("method", ["occlusion", "grad-cam"])
def test_the_planted_patch_is_found(
    classifier: Classifier, planted: NDArray[np.uint8], method: Method
) -> None:
    """The picture would point a curator at seconds that the model did not look at."""
    found = explain(planted, classifier, method=method)
    assert found.genre == "planted"
    assert found.probability > 0.9
    assert found.importance.shape == planted.shape
    inside = np.zeros(planted.shape, bool)
    inside[PLANTED] = True
    assert found.importance[inside].mean() > 2 * np.abs(found.importance[~inside].mean())
    band, frame = np.unravel_index(found.importance.argmax(), planted.shape)
    assert inside[max(band - 8, 0) : band + 8, max(frame - 16, 0) : frame + 16].any()


def test_masking_what_was_found_takes_the_genre_away(
    classifier: Classifier, planted: NDArray[np.uint8]
) -> None:
    """The figure that says how far to trust an explanation would say nothing."""
    tested = run_masking_test(planted, classifier, explain(planted, classifier, method="occlusion"))
    assert tested.whole > 0.9
    assert tested.without_top < tested.without_random - 0.3


def test_the_strongest_patch_is_named_in_seconds_and_hertz(
    classifier: Classifier, planted: NDArray[np.uint8]
) -> None:
    """The words would send one to another place than the picture."""
    found = explain(planted, classifier, method="occlusion")
    (first, *_) = find_strongest_patches(found, SPEC, 10.0)
    frame_s = SPEC.mel_hop / SPEC.sample_rate
    assert first[0] < 10 + 96 * frame_s
    assert first[1] > 10 + 64 * frame_s
    assert 0 <= first[2] < first[3] <= SPEC.sample_rate / 2
    importance = np.zeros((N_MELS, N_FRAMES))
    assert find_strongest_patches(Explanation("occlusion", "plain", 1.0, 0, importance), SPEC, 0.0) == []


@pytest.mark.parametrize("n_frames", [3, 50, 128, 200])
@pytest.mark.parametrize("method", ["occlusion", "grad-cam"])
def test_segments_of_any_length_are_explained(classifier: Classifier, n_frames: int, method: Method) -> None:
    """Short tracks, which the model reads repeated, would be an error."""
    log_mel = np.random.default_rng(2).integers(0, 256, (N_MELS, n_frames), dtype=np.uint8)
    found = explain(log_mel, classifier, method=method, genre="plain")
    assert found.importance.shape == (N_MELS, min(n_frames, N_FRAMES))
    assert found.first_frame == max(0, (n_frames - N_FRAMES) // 2)
    assert np.isfinite(found.importance).all()


def test_an_unknown_genre_is_named(classifier: Classifier, planted: NDArray[np.uint8]) -> None:
    """A typing error would explain another genre."""
    with pytest.raises(MisuseError, match="no genre 'polka'"):
        explain(planted, classifier, method="occlusion", genre="polka")


def _explain_to_file(y: NDArray[np.float64], model: str, out: Path) -> str:
    """Explain a sound of 32 kHz and return what was written; images in it are decoded."""
    track = out.with_suffix(".wav")
    sf.write(track, y, 32000)
    explain_track(str(track), str(out), model, None, "grad-cam", None)
    images = re.compile(r"data:image/svg\+xml;base64,([\w+/=]+)")
    return images.sub(lambda found: base64.b64decode(found[1]).decode(), out.read_text("utf-8"))


def test_silence_is_given_no_genre(tmp_path: Path) -> None:
    """A script or a picture would say that six seconds of nothing are classical."""
    silence = np.zeros(6 * 32000)
    why = json.loads(_explain_to_file(silence, "gtzan", tmp_path / "why.json"))
    assert (why["is_silent"], why["is_music"], why["strongest"]) == (True, None, [])
    page = _explain_to_file(silence, "gtzan", tmp_path / "why.html")
    assert "<h2>Nothing to label</h2>" in page
    assert ">Nothing to label</text>" in page
    assert "Evidence for" not in page


def test_what_is_not_music_is_not_said_to_have_a_genre(tmp_path: Path) -> None:
    """The heading would give a genre to what the sentence below says has none."""
    n = np.arange(8 * 32000)
    bursts = np.random.default_rng(0).normal(0, 0.1, len(n)) * (n // 7000 % 2)
    why = json.loads(_explain_to_file(bursts, "default", tmp_path / "why.json"))
    assert not why["is_silent"]
    assert 0 < why["is_music"] < 0.5
    page = _explain_to_file(bursts, "default", tmp_path / "why.html")
    assert "<h2>Probably not music</h2>" in page
    assert f">Probably not music. Evidence for {why['genre']} (red) and against it (blue)</text>" in page
    assert "so it has no genre" in page


def test_music_is_explained_by_its_genre(tmp_path: Path) -> None:
    """The words for silence and speech would stand above music too."""
    music = synthesize("rock", seed=[1], duration_s=8, sr=32000).mean(axis=1)
    why = json.loads(_explain_to_file(music, "gtzan", tmp_path / "why.json"))
    assert (why["is_silent"], why["is_music"]) == (False, None)  # gtzan does not tell music from speech
    assert why["strongest"]
    page = _explain_to_file(music, "gtzan", tmp_path / "why.html")
    assert f"<h2>Why {why['genre']}</h2>" in page
    assert f">Evidence for {why['genre']} (red) and against it (blue)</text>" in page


def test_another_label_of_the_track_is_said(tmp_path: Path) -> None:
    """A page "Why electronic" beside a label that is classical would look like a fault."""
    parts = [
        synthesize(style, seed=[2], duration_s=40, sr=32000).mean(axis=1) for style in ("metal", "classical")
    ]
    y = np.concatenate([parts[1], parts[0], parts[1]])
    page = _explain_to_file(y, "default", tmp_path / "why.html")
    why = json.loads(_explain_to_file(y, "default", tmp_path / "why.json"))
    label = earmark.label(tmp_path / "why.wav")["genre"][0]
    assert label != why["genre"]
    assert f"The label of the track, over all its segments, is {label}." in page


def test_a_track_without_a_genre_is_not_given_one(tmp_path: Path) -> None:
    """One song in an hour of talk: the page would name a label that the tables do not have."""
    n = np.arange(40 * 32000)
    bursts = np.random.default_rng(0).normal(0, 0.1, len(n)) * (n // 16000 % 2)
    music = synthesize("metal", seed=[2], duration_s=40, sr=32000).mean(axis=1)
    page = _explain_to_file(np.concatenate([bursts, music, bursts]), "default", tmp_path / "why.html")
    (label,) = earmark.label([tmp_path / "why.wav"])["genre"]
    assert pd.isna(label)
    assert "<h2>Why " in page, "the segment in the middle is music"
    assert "The track, over all its segments, is probably not music, so it has no genre." in page


@pytest.mark.thorough
def test_on_real_music_what_is_found_matters(gtzan: Path) -> None:
    """With the model that ships, explanations would be no better than chance."""
    classifier = Classifier(ModelBundle.load("gtzan"))
    for name in ("metal/metal.00000", "rock/rock.00001", "pop/pop.00099"):
        log_mel = (
            view_track(str(gtzan / "audio" / f"{name}.flac"), classifier.info.features).segments[0].log_mel
        )
        occluded = run_masking_test(log_mel, classifier, explain(log_mel, classifier, method="occlusion"))
        quick = run_masking_test(log_mel, classifier, explain(log_mel, classifier, method="grad-cam"))
        assert occluded.without_top < occluded.without_random - 0.05
        assert quick.without_top < quick.without_random
