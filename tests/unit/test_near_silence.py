"""What counts as silent: noise floors, hum and offsets do, quiet music does not."""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from pipeline.audio.decode.audio import read_segments
from pipeline.audio.decode.silence import is_silent
from pipeline.audio.features.featurize import featurize_track
from pipeline.demo.synthesis import synthesize
from pipeline.plots.track_view import view_track
from schemas.features import FeatureSpec
from schemas.tracks import is_silent_range
from tests.encoders import encode

pytestmark = pytest.mark.slow

SR = 22050
N = 30 * SR
T = np.arange(N) / SR


def db(level: float) -> float:
    return float(10 ** (level / 20))


def noise(level_db: float, slope: float = 0.0) -> NDArray[np.float64]:
    """White, pink (1) or brown (2) noise."""
    spectrum = np.fft.rfft(np.random.default_rng(0).normal(size=N))
    spectrum *= np.maximum(np.fft.rfftfreq(N, 1 / SR), 10) ** (-slope / 2)
    y = np.fft.irfft(spectrum, N)
    return np.asarray(y * db(level_db) / np.sqrt(np.mean(y**2)))


def hum(hz: float, n_harmonics: int, level_db: float) -> NDArray[np.float64]:
    y = np.sum([np.sin(2 * np.pi * hz * k * T + k * k) / k for k in range(1, n_harmonics + 1)], axis=0)
    return np.asarray(y * db(level_db) / np.sqrt(np.mean(y**2)))


def clicks(n: int, level: float) -> NDArray[np.float64]:
    y = np.zeros(N)
    y[np.random.default_rng(1).integers(0, N, n)] = level
    return y


def dither(bits: int, n_steps: int) -> NDArray[np.float64]:
    return np.random.default_rng(2).integers(-n_steps, n_steps + 1, N) / 2.0 ** (bits - 1)


SWAY = 1 + 0.9 * np.sin(2 * np.pi * 0.1 * T)
NOTHING: dict[str, Callable[[], NDArray[np.float64]]] = {
    "zeros": lambda: np.zeros(N),
    "one click": lambda: clicks(1, 1.0),
    "a few clicks": lambda: clicks(6, 0.9),
    **{
        f"noise {level} dB, slope {slope}": partial(noise, level, slope)
        for level in (-50, -70)
        for slope in (0, 1, 2)
    },
    **{f"dither of {n} at {bits} bits": partial(dither, bits, n) for n in (1, 2) for bits in (8, 16)},
    "offset": lambda: np.full(N, 0.3),
    "offset that steps": lambda: np.repeat([0.0, 0.2, -0.1, 0.05, 0.3], N // 5),
    "offset that drifts": lambda: np.linspace(-0.1, 0.1, N),
    "offset that sways": lambda: 0.05 * np.sin(2 * np.pi * 0.05 * T),
    "a tone that is too low to be heard": lambda: 0.1 * np.sin(2 * np.pi * 8 * T),
    "rumble that is too low to be heard": lambda: 0.1 * np.sin(2 * np.pi * 15 * T) + noise(-65),
    "hum": lambda: 0.003 * np.sin(2 * np.pi * 50 * T),
    "hum with harmonics": lambda: hum(60, 12, -50),
    "hum that sways": lambda: hum(50, 12, -52) * SWAY,
    "buzz that sways over noise": lambda: hum(60, 40, -52) * SWAY + noise(-65, 1),
    "hum that is switched on": lambda: hum(50, 12, -52) * (T > 12) + noise(-65, 1),
    "hiss with clicks": lambda: noise(-58, 0.5) + clicks(8, 0.3),
    "worn record": lambda: (
        noise(-50, 2) * (1 + 0.3 * np.sin(2 * np.pi * 0.555 * T)) + noise(-65) + clicks(200, 0.01)
    ),
    "noise that fades": lambda: noise(-48, 1) * np.exp(-T / 6) + dither(16, 1),
}


@pytest.mark.parametrize("kind", NOTHING)
def test_inaudible_noise_is_silent(kind: str) -> None:
    """Fails: an inaudible track is metal at 0.9, because relative levels make its noise look loud."""
    y = NOTHING[kind]().astype(np.float32)
    stored = [y, y[: 10 * SR]]
    for form in ("wav", "mp3"):
        stored += [each for _, each in read_segments(io.BytesIO(encode(y, SR, form)), "a", FeatureSpec())[1]]
    for each in stored:
        assert is_silent(each, SR)


@pytest.mark.parametrize("genre", ["blues", "classical", "hiphop", "jazz", "metal"])
def test_quiet_music_is_not_silent(genre: str) -> None:
    """Fails: a quiet transfer is taken for a noise floor and has no genre."""
    y = synthesize(genre, seed=[1], duration_s=30, sr=SR).mean(axis=1).astype(np.float32)
    for level_db in (0, -20, -40):
        quiet = y * np.float32(db(level_db))
        assert not is_silent(quiet, SR)
        assert not is_silent(quiet[: 5 * SR], SR)
        (_, stored), *_ = read_segments(io.BytesIO(encode(quiet, SR, "wav")), "a", FeatureSpec())[1]
        assert not is_silent(stored, SR)


NOTES = np.random.default_rng(3).choice([41.2, 55.0, 49.0, 61.7], 75).repeat(SR * 2 // 5)[:N]
PLUCK = np.exp(-(T % 0.4) / 0.2) * np.minimum(T % 0.4 / 0.01, 1)
NARROW = {
    "a bass alone": PLUCK * sum(np.sin(k * np.cumsum(2 * np.pi * NOTES / SR)) / k for k in (1, 2, 3)),
    "a soft pad": sum(
        np.sin(2 * np.pi * f * T) * np.clip(1 - np.abs((T - 6 * k) % 24 - 8) / 8, 0, 1)
        for k, f in enumerate((220.0, 261.6, 329.6, 392.0))
    ),
}


@pytest.mark.parametrize("kind", NARROW)
def test_quiet_music_in_few_bands_is_not_silent(kind: str) -> None:
    """Fails: a quiet bass solo or synthesizer pad, without treble, counts as silent."""
    y = np.asarray(NARROW[kind] / np.std(NARROW[kind]), np.float32)
    for level_db in (-20, -42, -55):
        for form in ("wav", "mp3"):
            data = encode(y * np.float32(db(level_db)), SR, form)
            assert not is_silent(read_segments(io.BytesIO(data), "a", FeatureSpec())[1][0][1], SR)


@pytest.mark.parametrize("form", ["float", "wav", pytest.param("mp3", marks=pytest.mark.thorough)])
def test_real_music_at_any_level_is_not_silent(gtzan: Path, form: str) -> None:
    """Fails: whether a song gets a label depends on how loud it was digitized."""
    for path in sorted((gtzan / "audio").glob("*/*.flac")):
        y, sr = sf.read(path, dtype="float32")
        for level_db in (0, -20, -40):
            quiet = y * np.float32(db(level_db))
            if form != "float":
                ((_, quiet),) = read_segments(io.BytesIO(encode(quiet, sr, form)), "a", FeatureSpec())[1]
            assert not is_silent(quiet, sr), (path, level_db)


def test_loud_noise_is_not_silent() -> None:
    """Fails: noise music counts as silent; above this level nothing does."""
    for level_db in (-30, -10):
        assert not is_silent(noise(level_db).astype(np.float32), SR)


@pytest.mark.slow
@pytest.mark.parametrize("log_mel", [True, False])
def test_every_feature_set_records_silence(log_mel: bool) -> None:
    """Fails: a model of descriptors gives near-silence a genre, or all segments count as silent."""
    spec = FeatureSpec(log_mel=log_mel, descriptors=not log_mel)
    music = synthesize("rock", seed=[1], duration_s=10, sr=SR).mean(axis=1).astype(np.float32)
    for y, silent in ((noise(-60)[: 10 * SR].astype(np.float32), True), (music, False)):
        (segment,) = featurize_track(io.BytesIO(encode(y, SR, "wav")), "a", spec).segments
        assert segment.is_silent is silent
        assert is_silent_range(segment.range_db, has_log_mel=log_mel) is silent


def test_older_tables_are_read_as_before() -> None:
    """Fails: all descriptors that earlier releases stored, with a range of 0, count as silent."""
    assert not is_silent_range(0.0, has_log_mel=False)
    assert is_silent_range(0.0, has_log_mel=True)


def test_explain_chooses_a_segment_with_music(tmp_path: Path) -> None:
    """Fails: `earmark explain` explains the silence in the middle of a track."""
    music = synthesize("rock", seed=[1], duration_s=35, sr=SR).mean(axis=1).astype(np.float32)
    sf.write(tmp_path / "a.wav", np.concatenate((music, np.zeros(65 * SR, np.float32))), SR)
    view = view_track(str(tmp_path / "a.wav"))
    assert [segment.is_silent for segment in view.segments] == [False, True, True]
    assert view.segment(None) is view.segments[0]
