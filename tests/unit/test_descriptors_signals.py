"""Descriptors of unusual signals: silence, clicks, tones, very quiet and very short ones."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES, compute_descriptors
from tests.unit.plain_librosa import descriptors as by_librosa
from tests.unit.test_descriptors import assert_equal_columns

pytestmark = pytest.mark.usefixtures("librosa_alone")

ROOT = Path(__file__).resolve().parents[2]
SR = 22050
N = 3 * SR - 1

COLUMN = {name: i for i, name in enumerate(DESCRIPTOR_NAMES)}


def noise(n: int = N, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.1, n).astype(np.float32)


def chords(n: int = N) -> NDArray[np.float64]:
    t = np.arange(n) / SR
    tones = sum((np.sin(2 * np.pi * f * t) for f in (223.1, 280.9, 334.2)), np.zeros(n))
    return 0.2 * tones * (np.sin(4 * np.pi * t) > 0)


def tone(frequency: float) -> NDArray[np.float64]:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(N) / SR)


SIGNALS = {
    "noise": noise(),
    "chords": chords() + 0.01 * noise(),
    "clicks": np.arange(N) % 11025 == 0,
    "one click": np.arange(N) == 30000,
    "a low tone": tone(110),
    "a high tone": tone(10000),
    "a sweep": 0.5 * np.sin(2 * np.pi * np.cumsum(np.linspace(50, 10000, N)) / SR),
    "clipped noise": np.clip(30 * noise(), -1, 1),
    "a clipped tone": np.clip(10 * tone(440), -1, 1),
    "quiet chords": 1e-5 * chords(),
    "quiet noise": 1e-5 * noise(),
    "very quiet noise": 1e-11 * noise(),
    "the last bit of 16": np.round(20 * noise()) / 32768,
    "louder than full scale": 1000 * noise(),
    "silence at the end": np.where(np.arange(N) < N // 2, noise(), 0),
    "silence": np.zeros(N),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SIGNALS)
def test_signals_are_librosas(name: str) -> None:
    """Fails: jingles, test tones, spoken word or faulty transfers get other numbers than librosa's."""
    y = np.asarray(SIGNALS[name], np.float32)
    assert_equal_columns(compute_descriptors(y), by_librosa(y))


@pytest.mark.slow
@pytest.mark.parametrize("sr", [8000, 16000, 44100, 96000])
def test_other_sample_rates_are_librosas(sr: int) -> None:
    """Fails: a catalog featurized at another rate than the tables' has wrong frequencies or tempi."""
    y = (chords() + 0.01 * noise()).astype(np.float32)
    assert_equal_columns(compute_descriptors(y, sr=sr), by_librosa(y, sr))


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2, 511, 1024, 1025, 2047, 2048, 2049, 15 * 512, 32 * 512 - 1, 65 * 512])
def test_short_signals_are_librosas(n: int) -> None:
    """Fails: excerpts shorter than the median's window, or exactly one block long, lose or repeat frames."""
    assert_librosas_where_it_knows(noise(n))


def assert_librosas_where_it_knows(y: NDArray[np.float32]) -> None:
    """Compare all but the parts' columns where there are fewer frames than half the median's window.

    There scipy's median filter reads beyond its rows, and librosa's parts change from call to call;
    `tests.unit.test_hpss` compares the medians of few rows with their definition.
    """
    values, expected = compute_descriptors(y), by_librosa(y)
    if 1 + len(y) // 512 < 16:
        parts = slice(COLUMN["harmony_mean"], COLUMN["perceptr_var"] + 1)
        expected[parts] = values[parts]
    assert_equal_columns(values, expected)


def test_silence_is_defined() -> None:
    """Fails: a silent track has NaN in its row, and every mean over the table has too."""
    values = compute_descriptors(np.zeros(N, np.float32))
    floor = -100 * np.sqrt(128)
    assert values[COLUMN["mfcc1_mean"]] == pytest.approx(floor)
    # A constant's DCT in single precision leaves rounding in the other coefficients.
    assert np.abs(np.delete(values, COLUMN["mfcc1_mean"])).max() < 1e-3


@pytest.mark.slow
def test_dc_has_no_parts_but_itself() -> None:
    """Fails: an offset, which librosa's rounding alone gives a variance, counts as sound."""
    values = compute_descriptors(np.full(N, 0.5, np.float32))
    expected = by_librosa(np.full(N, 0.5, np.float32))
    same = np.delete(np.arange(57), COLUMN["harmony_var"])
    assert values[COLUMN["harmony_mean"]] == pytest.approx(0.5, rel=1e-6)
    assert values[COLUMN["harmony_var"]] < 1e-12
    assert expected[COLUMN["harmony_var"]] < 1e-12
    assert np.allclose(values[same], expected[same], rtol=1e-5, atol=1e-30)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 9000), seed=st.integers(0, 99))
def test_any_length_has_finite_descriptors(n: int, seed: int) -> None:
    """Fails for some length: a worker raises on, or writes NaN for, a track of that length."""
    values = compute_descriptors(noise(n, seed))
    assert values.shape == (57,)
    assert np.isfinite(values).all()
    assert (values[1:16:2] >= 0).all()
    assert (values[18::2] >= 0).all()


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(n=st.integers(1, 12000), seed=st.integers(0, 99))
@example(n=579, seed=96)
def test_any_length_is_librosas(n: int, seed: int) -> None:
    """Fails for some length: its last frames are not the ones that librosa takes."""
    assert_librosas_where_it_knows(noise(n, seed))


@settings(max_examples=25, deadline=None)
@given(exponent=st.integers(-8, 8), sign=st.sampled_from([-1, 1]), seed=st.integers(0, 9))
def test_gain_moves_only_what_is_a_level(exponent: int, sign: int, seed: int) -> None:
    """Fails: a quietly mastered record gets another tempo, chroma or timbre than the same one louder."""
    gain = sign * 2.0**exponent
    y = (chords(SR) + noise(SR, seed)).astype(np.float32)
    before, after = compute_descriptors(y), compute_descriptors((gain * y).astype(np.float32))
    expected = before.copy()
    for name in ("rms", "harmony", "perceptr"):
        expected[COLUMN[f"{name}_mean"]] *= abs(gain) if name == "rms" else gain
        expected[COLUMN[f"{name}_var"]] *= gain**2
    # All 128 bands rise by as many decibels, which the first coefficient alone sees.
    expected[COLUMN["mfcc1_mean"]] += 20 * np.log10(abs(gain)) * np.sqrt(128)
    # A power of two changes no digit but those of decibels.
    assert np.array_equal(after[:12], expected[:12])
    assert np.allclose(after[12:16], expected[12:16], rtol=1e-12, atol=0)
    assert after[COLUMN["tempo"]] == expected[COLUMN["tempo"]]
    assert np.allclose(after[17:], expected[17:], rtol=1e-4, atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(gain=st.floats(0.01, 50))
def test_any_gain_moves_the_rest_by_rounding_only(gain: float) -> None:
    """Fails: normalizing a catalog's loudness would change its features by more than rounding."""
    y = (chords(SR) + noise(SR)).astype(np.float32)
    before, after = compute_descriptors(y), compute_descriptors((gain * y).astype(np.float32))
    for name in ("chroma_stft", "spectral_centroid", "spectral_bandwidth", "zero_crossing_rate"):
        for i in (COLUMN[f"{name}_mean"], COLUMN[f"{name}_var"]):
            assert after[i] == pytest.approx(before[i], rel=1e-4)
    # A rolloff may fall one bin further in a frame or two.
    assert after[COLUMN["rolloff_mean"]] == pytest.approx(before[COLUMN["rolloff_mean"]], abs=2 * SR / 2048)
    assert after[COLUMN["tempo"]] == before[COLUMN["tempo"]]
    assert np.allclose(after[18:], before[18:], rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_another_process_gets_the_same_bits() -> None:
    """Fails: a retried task writes another row than the one before, and a run cannot be repeated.

    (Another number of BLAS threads adds in another order; Ray gives each task that of its CPUs.)
    """
    code = (
        "import hashlib, numpy as np\n"
        "from pipeline.audio.features.descriptors import compute_descriptors\n"
        "y = np.random.default_rng(0).normal(0, 0.1, 66149).astype(np.float32)\n"
        "print(hashlib.sha256(compute_descriptors(y).tobytes()).hexdigest())\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(2)
    }
    assert len(printed) == 1


@pytest.mark.slow
def test_import_is_cheap() -> None:
    """Fails: `earmark --help`, or a run without descriptors, waits for numba or librosa."""
    code = (
        "import sys, pipeline.audio.features.descriptors\n"
        "print(sorted({'numba', 'scipy', 'librosa', 'pandas'} & set(sys.modules)))\n"
        "import numpy as np\n"
        "pipeline.audio.features.descriptors.compute_descriptors(np.zeros(4096, np.float32))\n"
        "print(sorted({'librosa', 'sklearn', 'pandas'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]"]
