"""What distillation changes at random in an excerpt, beside real audio that was changed so; missing bands."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import soxr
from sklearn.linear_model import LinearRegression

from infra.distill import augmentation
from infra.distill.augmentation import (
    BAND_HZ,
    CROP,
    DEGRADED,
    augment,
    band_limited,
    crop,
    noisy,
    reverberant,
)
from infra.distill.bandwidth import fit_bands, narrow_bands, restore_bands
from infra.distill.student import N_BANDS
from infra.distill.training import pooled
from pipeline.audio.features.featurize import featurize_track
from pipeline.models.audioset import FEATURES, N_FRAMES, STEP_DB
from pipeline.models.classifier import fit_frames
from tests.log_mels import log_mel_of


def pooled_levels(y: np.ndarray, sr: int) -> np.ndarray:
    """Return the pooled levels of the first segment of audio."""
    file = io.BytesIO()
    sf.write(file, y, sr, format="WAV", subtype="FLOAT")
    (segment, *_) = featurize_track(io.BytesIO(file.getvalue()), "noise", FEATURES).segments
    return pooled(fit_frames(log_mel_of(segment), N_FRAMES))


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, 10 * FEATURES.sample_rate).astype(np.float32)


def test_an_augmented_crop_is_one_of_levels_again(noise: np.ndarray) -> None:
    excerpt, rng = pooled_levels(noise, FEATURES.sample_rate), np.random.default_rng(1)
    for _ in range(50):
        x = augment(crop(excerpt, rng), rng, DEGRADED)
        assert x.shape == (N_BANDS, CROP)
        assert x.dtype == np.float32
        assert 0 <= x.min() <= x.max() <= 255


def test_a_band_limited_crop_is_the_original_without_its_edges(noise: np.ndarray) -> None:
    excerpt, rng = pooled_levels(noise, FEATURES.sample_rate), np.random.default_rng(2)
    for _ in range(50):
        whole = crop(excerpt, rng)
        x = band_limited(whole, rng)
        same = (x == whole).all(axis=1)
        inside = BAND_HZ[same]
        assert inside.min() <= 400
        assert inside.max() >= 2400
        assert same[np.searchsorted(BAND_HZ, 450) : np.searchsorted(BAND_HZ, 2400)].all()
        assert (x <= whole).all()


@pytest.mark.parametrize("sr", [8000, 11025, 16000])
def test_audio_of_a_low_sample_rate_is_silent_where_a_band_limited_crop_is(
    noise: np.ndarray, sr: int
) -> None:
    levels = np.median(pooled_levels(soxr.resample(noise, FEATURES.sample_rate, sr), sr), axis=1)
    limit = np.searchsorted(BAND_HZ, sr / 2)
    assert levels[limit + 4 :].max() == 0
    whole, rng = (
        crop(pooled_levels(noise, FEATURES.sample_rate), np.random.default_rng(3)),
        np.random.default_rng(4),
    )
    near = [np.abs(np.median(band_limited(whole, rng), axis=1) - levels).max() for _ in range(1000)]
    assert min(near) <= 30  # 15 dB, in the band at the edge


def test_a_noisy_crop_is_what_the_log_mel_of_noisy_audio_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "SNR_DB", (20, 20))
    monkeypatch.setattr(augmentation, "TILT_DB", (0, 0))
    rng, sr = np.random.default_rng(5), FEATURES.sample_rate
    t = np.arange(10 * sr) / sr
    notes = np.sum([0.1 / k * np.sin(2 * np.pi * 220 * k * t) for k in range(1, 40)], axis=0)
    white = rng.normal(0, np.sqrt((notes**2).mean()) / 10, len(notes))
    alone = pooled_levels(notes.astype(np.float32), sr)
    real = np.median(pooled_levels((notes + white).astype(np.float32), sr), axis=1)
    made = np.median(noisy(alone.astype(np.float32), rng), axis=1)
    assert np.abs(made - real).max() * STEP_DB <= 4  # in the lowest band; 1 dB in most
    assert (real - np.median(alone, axis=1)).max() * STEP_DB >= 60  # in the highest


def test_a_sound_fades_in_a_reverberant_crop_as_in_a_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "RT60_S", (1.0, 1.0))
    clap = np.zeros((N_BANDS, CROP), np.float32)
    clap[:, 10] = 200
    x = reverberant(clap, np.random.default_rng(6))
    assert x[:, :10].max() < 5
    assert np.allclose(x[:, 10], 200, atol=2)
    assert (x[:, 11] - x[:, 36]) * STEP_DB == pytest.approx(30, abs=0.5)  # half a second later


def network_of(apply: Callable[[Any], Any]) -> Any:
    """Return the network of some layers over pooled levels."""
    import keras

    pooled_levels = keras.layers.Input((N_BANDS, 500, 1))
    return keras.Model(pooled_levels, apply(pooled_levels))


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """Pooled levels of sound whose bands depend on each other, shape (64, 1500)."""
    rng = np.random.default_rng(7)
    notes = rng.normal(0, 1, (6, 1500))
    return np.clip(130 + rng.normal(0, 12, (N_BANDS, 6)) @ notes + rng.normal(0, 3, (N_BANDS, 1500)), 60, 255)


@pytest.fixture(scope="module")
def restored(frames: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """What the layers that restore bands, fitted to those frames, make of pooled levels."""
    network = network_of(restore_bands)
    for name, weights in fit_bands([frames.astype(np.uint8)]).items():
        network.get_layer(name).set_weights([weights])
    return lambda levels: np.asarray(network(levels[np.newaxis, :, :, np.newaxis].astype(np.float32)))[
        0, :, :, 0
    ]


@pytest.mark.parametrize("first_missing", [31, 40, 48])
def test_missing_bands_are_the_mean_of_what_they_are_given_the_others(
    frames: np.ndarray, restored: Callable[[np.ndarray], np.ndarray], first_missing: int
) -> None:
    levels = frames[:, :500].copy()
    levels[first_missing:] = 0
    found = restored(levels)
    there = slice(first_missing - 3)  # the edge is restored too: no resampler cuts off sharply
    np.testing.assert_array_equal(found[there], levels[there].astype(np.float32))
    fitted_to, missing = frames.astype(np.uint8)[:, ::5], slice(first_missing - 3, None)
    regression = LinearRegression().fit(fitted_to[there].T, fitted_to[missing].T)
    expected = np.clip(regression.predict(levels[there].T).T, 0, 255)
    np.testing.assert_allclose(found[missing], expected, atol=12)
    assert np.abs(found[missing] - frames[missing, :500]).std() < 0.4 * frames[missing, :500].std()


@pytest.mark.parametrize("slope_db", [0.0, 6.0])
def test_bands_that_fade_are_not_restored(
    frames: np.ndarray, restored: Callable[[np.ndarray], np.ndarray], slope_db: float
) -> None:
    """A filter, a dull instrument and a file of GTZAN have little above, but no end."""
    levels = np.maximum(
        frames[:, :500] - np.maximum(np.arange(N_BANDS) - 30, 0)[:, np.newaxis] * slope_db / STEP_DB, 0
    )
    levels[58:] = 0
    np.testing.assert_array_equal(restored(levels), levels.astype(np.float32))
    np.testing.assert_array_equal(restored(np.zeros((N_BANDS, 500))), 0)


def test_the_highest_bands_are_heard_in_half_of_the_frames(frames: np.ndarray) -> None:
    network = network_of(narrow_bands)
    wide = frames[:, :500].astype(np.float32)
    of_gtzan = wide.copy()
    of_gtzan[58:] = 0
    dull = wide.copy()
    dull[59:] = 7.5 / 2 / STEP_DB  # 3.75 dB above the floor
    found = np.asarray(network(np.stack([wide, of_gtzan, dull])[..., np.newaxis]))[..., 0]
    narrow = wide.copy()
    narrow[57:, 250:] = 0
    np.testing.assert_array_equal(found[0], narrow)
    np.testing.assert_array_equal(found[1], of_gtzan)
    np.testing.assert_allclose(found[2, 57:, 250:], dull[57:, 250:] / 2)
    np.testing.assert_array_equal(found[2, 57:, :250], dull[57:, :250])
