"""An offset beneath quiet music does not change its features, and music without one stays bit for bit."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from pipeline.audio.decode.audio import read_segments
from pipeline.audio.decode.offset import without_offset
from pipeline.audio.features.log_mel import log_mel
from schemas.features import FeatureSpec

RATE = 44100
SPEC = FeatureSpec()


def chords(duration_s: float) -> NDArray[np.float64]:
    """Return a chord a second, with bass and noise, at about -16 dB."""
    t = np.arange(round(RATE * duration_s)) / RATE
    root = 55 * 2 ** (np.random.default_rng(0).integers(0, 12, int(duration_s) + 1)[t.astype(int)] / 12)
    y = sum(np.sin(2 * np.pi * root * n * t) / n for n in (1, 2, 3, 5, 9, 16)) * np.exp(-3 * (t % 1))
    y = 0.2 * y + np.random.default_rng(1).normal(0, 0.003, len(t))
    centered: NDArray[np.float64] = y - np.mean(y)
    return centered


def excerpt(y: NDArray[np.float64]) -> NDArray[np.float32]:
    file = io.BytesIO()
    sf.write(file, y, RATE, subtype="PCM_24", format="WAV")
    return read_segments(file, "quiet.wav", SPEC)[1][0][1]


@pytest.mark.parametrize("offset", [0.01, 0.1, -0.1, 0.3, "one channel"])
def test_an_offset_beneath_quiet_music_is_removed(offset: float | str) -> None:
    """Fails: a quiet recording from a sound card with an offset is labeled blues, whatever it is."""
    y = chords(12)[:, np.newaxis].repeat(2, axis=1) * 0.01
    offset_of = np.array([0.1, 0.0]) if isinstance(offset, str) else offset
    levels, range_db = log_mel(excerpt(y + offset_of), SPEC)
    expected, expected_db = log_mel(excerpt(y), SPEC)
    assert range_db == pytest.approx(expected_db, abs=0.1)
    assert np.abs(levels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("kind", ["wanders", "settles"])
def test_an_offset_that_drifts_is_removed(kind: str) -> None:
    """Fails: an offset that changes with temperature, or settles after power-on, is labeled blues."""
    y = chords(12)
    t = np.arange(len(y)) / RATE
    drift = 0.3 + 0.05 * np.sin(2 * np.pi * 0.1 * t) if kind == "wanders" else 0.3 * np.exp(-t / 2)
    found, expected = excerpt(y * 0.01 + drift), excerpt(y * 0.01)
    inner = slice(SPEC.sample_rate, -SPEC.sample_rate)
    assert np.sqrt(np.mean((found - expected)[inner] ** 2)) < 0.1 * np.std(expected)


def test_an_offset_alone_is_silence() -> None:
    """Fails: rounding noise of a constant voltage gets a genre."""
    assert not excerpt(np.full(RATE * 12, 0.25)).any()


def test_music_without_an_offset_stays_bit_for_bit(gtzan: Path) -> None:
    """Fails: tables that are continued mix features of two kinds."""
    for path in sorted(gtzan.glob("audio/*/*.flac")):
        y, sr = sf.read(path, dtype="float32")
        assert without_offset(y, sr) is y


@pytest.mark.parametrize("sr", [1, 30, 8000, 192_000])
@pytest.mark.parametrize("n_samples", [0, 1, 7, 5000])
def test_any_length_and_rate_is_accepted(n_samples: int, sr: int) -> None:
    """Fails: a very short track, or one whose header has an odd rate, ends in a traceback."""
    y = np.linspace(0, 0.5, n_samples, dtype=np.float32)
    assert np.isfinite(without_offset(y, sr)).all()
    assert len(without_offset(y, sr)) == n_samples


def test_deep_bass_is_not_an_offset() -> None:
    """Fails: music for subwoofers loses its bass."""
    t = np.arange(RATE * 10) / RATE
    y = np.sin(2 * np.pi * 25 * t).astype(np.float32)
    assert without_offset(y, RATE) is y
