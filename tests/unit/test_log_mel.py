"""Log-mels equal librosa's and those in the shared GTZAN arrays."""

import subprocess
import sys
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.audio.features.log_mel import log_mel, log_mel_db, quantize
from pipeline.audio.features.mel_bands import mel_filterbank
from schemas.features import FeatureSpec

pytestmark = pytest.mark.usefixtures("librosa_alone")

SPEC = FeatureSpec()


def librosa_db(y: NDArray[np.float32], spec: FeatureSpec) -> NDArray[np.float32]:
    return librosa.power_to_db(librosa_power(y, spec), ref=np.max, top_db=spec.top_db)


def librosa_power(y: NDArray[np.float32], spec: FeatureSpec) -> NDArray[np.float32]:
    return librosa.feature.melspectrogram(
        y=y, sr=spec.sample_rate, n_fft=spec.n_fft, hop_length=spec.mel_hop, n_mels=spec.n_mels
    )


def levels_of(S: NDArray[np.float32]) -> NDArray[np.float64]:
    levels: NDArray[np.float64] = np.round(255 * (S - S.min()) / -S.min())
    return levels


def gtzan_columns(n_frames: int) -> NDArray[np.intp]:
    """Return the frames of a whole clip's log-mel at hop 512 that the shared GTZAN arrays contain."""
    frames: NDArray[np.intp] = np.floor((np.arange(387) + 0.35) / 387.2 * (n_frames - 1) + 0.5).astype(
        np.intp
    )
    return frames


def clips(gtzan: Path) -> list[Path]:
    paths = sorted((gtzan / "audio").glob("*/*.flac"))
    assert len(paths) == 20
    return paths


@pytest.mark.slow
def test_real_clips_within_one_level_of_librosa(gtzan: Path) -> None:
    """Fails: a model trained on librosa's log-mels sees different ones in a run."""
    for path in clips(gtzan):
        y, _ = sf.read(path, dtype="float32")
        levels, range_db = log_mel(y, SPEC)
        S = librosa_db(y, SPEC)
        off = np.abs(levels - levels_of(S))
        assert levels.dtype == np.uint8
        assert levels.flags.c_contiguous
        assert off.max() <= 1, path
        assert np.mean(off > 0) < 1e-3, path
        assert range_db == pytest.approx(-S.min(), abs=1e-3)


def test_real_clips_equal_the_shared_arrays(gtzan: Path) -> None:
    """Fails: the shipped model was trained on other features than those that tracks get."""
    with np.load(gtzan / "log_mel_128x387.npz") as arrays:
        by_track = dict(zip(arrays["track"], arrays["log_mel"], strict=True))
    for path in clips(gtzan):
        y, _ = sf.read(path, dtype="float32")
        levels, _ = log_mel(y, SPEC.model_copy(update={"mel_hop": 512}))
        columns = levels[:, gtzan_columns(levels.shape[1])]
        assert columns.shape == (128, 387)
        off = np.abs(columns.astype(int) - by_track[path.stem].astype(int))
        assert np.mean(off > 1) <= 2e-4, path


@settings(max_examples=40, deadline=None)
@given(
    st.builds(
        FeatureSpec,
        sample_rate=st.sampled_from([8000, 16000, 22050, 44100]),
        n_fft=st.sampled_from([256, 1024, 2048, 4096]),
        n_mels=st.integers(16, 160),
        mel_hop=st.integers(64, 4000),
        top_db=st.sampled_from([40.0, 80.0, 120.0]),
    ),
    st.integers(1, 30_000),
    st.floats(-6, 1),
)
@pytest.mark.filterwarnings("ignore:Empty filters", "ignore:n_fft=")
def test_any_length_gain_and_spec_equal_librosa(spec: FeatureSpec, n_samples: int, log_gain: float) -> None:
    """Fails: an odd length or a custom feature set meets an edge case that the defaults do not have."""
    y = (10**log_gain * np.random.default_rng(n_samples).normal(size=n_samples)).astype(np.float32)
    S = log_mel_db(y, spec)
    # Librosa's floor of 1e-10 is absolute, and would cut more of the quiet than `top_db` does.
    louder = np.sqrt(1e-9 * 10 ** (spec.top_db / 10) / librosa_power(y, spec).max())
    expected = librosa_db(y * np.float32(max(1.0, louder)), spec)
    assert S.shape == (spec.n_mels, 1 + n_samples // spec.mel_hop) == expected.shape
    np.testing.assert_allclose(S, expected, atol=2e-3)


@pytest.mark.parametrize("sr", [8000, 22050, 44100, 48000])
@pytest.mark.parametrize(("n_fft", "n_mels"), [(2048, 128), (4096, 256), (512, 40), (256, 16)])
def test_filterbank_is_librosas_bit_for_bit(sr: int, n_fft: int, n_mels: int) -> None:
    """Fails: every number downstream of the mel filterbank moves."""
    np.testing.assert_array_equal(
        mel_filterbank(sr, n_fft, n_mels), librosa.filters.mel(sr=sr, n_fft=n_fft, n_mels=n_mels)
    )


def test_silence_is_level_zero() -> None:
    """Fails: a silent track is NaN, divides by zero, or looks like full scale in every band."""
    levels, range_db = log_mel(np.zeros(661_500, np.float32), SPEC)
    assert levels.shape == (128, 388)
    assert not levels.any()
    assert range_db == 0


def test_levels_and_range_give_the_decibels_back() -> None:
    """Fails: the stored log-mel cannot be converted back to dB."""
    y = np.random.default_rng(0).normal(size=50_000).astype(np.float32)
    S = log_mel_db(y, SPEC)
    levels, range_db = quantize(S)
    assert (levels.min(), levels.max()) == (0, 255)
    np.testing.assert_allclose((levels / 255.0 - 1) * range_db, S, atol=range_db / 255 / 2 + 1e-4)


def test_gain_does_not_matter() -> None:
    """Fails: a quiet master gets another genre than a loud one."""
    y = np.random.default_rng(0).normal(0, 0.1, 50_000).astype(np.float32)
    np.testing.assert_array_equal(log_mel(y, SPEC)[0], log_mel(y * np.float32(0.25), SPEC)[0])


def test_quiet_music_has_the_features_of_the_same_music_loud(gtzan: Path) -> None:
    """Fails: a quiet transfer of a record gets another genre than the remaster."""
    for path in clips(gtzan):
        y, _ = sf.read(path, dtype="float32")
        levels, range_db = log_mel(y, SPEC)
        quiet, quiet_range_db = log_mel(y * np.float32(0.01), SPEC)
        off = np.abs(levels.astype(int) - quiet)
        assert off.max() <= 1, path
        assert np.mean(off > 0) < 2e-3, path
        assert quiet_range_db == pytest.approx(range_db, abs=1e-2)


def test_a_worker_pays_for_neither_librosa_nor_tensorflow() -> None:
    """Fails: each of a cluster's workers loads a second and a gigabyte more before its first track."""
    code = (
        "import sys, io, numpy, soundfile; from pipeline.audio.features.featurize import featurize_track; "
        "from schemas.features import FeatureSpec; file = io.BytesIO(); "
        "soundfile.write(file, numpy.zeros(50000), 22050, format='WAV'); "
        "featurize_track(file, 'a', FeatureSpec()); "
        "print({'librosa', 'numba', 'tensorflow', 'sklearn', 'pandas', 'ray'} & set(sys.modules))"
    )
    root = Path(__file__).resolve().parents[2]
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True
    )
    assert printed.stdout.strip() == "set()"
