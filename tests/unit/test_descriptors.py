"""The 57 descriptors equal librosa's and those of the published tables, column by column."""

import csv
from collections.abc import Iterator
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from pipeline.audio.features.chroma import chroma_filterbank, estimate_tuning, find_peaks
from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES, compute_descriptors, compute_descriptors_of
from pipeline.audio.features.hpss import separate
from tests.unit.plain_librosa import descriptors as by_librosa

pytestmark = pytest.mark.usefixtures("librosa_alone")

RELATIVE = 1e-5
AROUND_ZERO = 1e-6
"""Means of numbers around zero may come out next to nothing; they are compared to this besides."""

AROUND_ZERO_IN_TABLES = 5e-6
"""The same for the tables, which another numpy made, whose sums of single precision end in other digits."""

ROUNDING = 2e-9
"""Of librosa's centroid and bandwidth of a frame, whose spectrum it normalizes in single precision. It shows
in the variance of frames that are almost equal: summed in double precision, that is ours."""

PIECE = 66150
"""Samples of a three-second piece of the published table; each but the last sample is in it."""


def is_around_zero(name: str) -> bool:
    return name.endswith("_mean") and name.startswith(("harmony", "perceptr", "mfcc"))


def assert_equal_columns(
    values: NDArray[np.float64], expected: NDArray[np.float64], around_zero: float = AROUND_ZERO
) -> None:
    """Compare rows of descriptors; the failure prints the worst relative error of each column."""
    values, expected = np.atleast_2d(values), np.atleast_2d(expected)
    difference = np.abs(values - expected)
    slack = np.tile([around_zero * is_around_zero(name) for name in DESCRIPTOR_NAMES], (len(expected), 1))
    for name in ("spectral_centroid", "spectral_bandwidth"):
        mean, var = (DESCRIPTOR_NAMES.index(f"{name}_{kind}") for kind in ("mean", "var"))
        slack[:, var] = 2 * np.sqrt(expected[:, var]) * ROUNDING * expected[:, mean]
    wrong = ~(difference <= RELATIVE * np.abs(expected) + slack)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(difference == 0, 0.0, difference / np.abs(expected)).max(axis=0)
    table = [
        f"{'*' if bad else ' '} {name:26} {error:.1e}"
        for name, error, bad in zip(DESCRIPTOR_NAMES, relative, wrong.any(axis=0), strict=True)
    ]
    assert not wrong.any(), "worst relative errors:\n" + "\n".join(table)


def all_clips(gtzan: Path) -> list[Path]:
    paths = sorted((gtzan / "audio").glob("*/*.flac")) + sorted((gtzan / "audio_trimmed").glob("*/*.flac"))
    assert len(paths) == 88
    return paths


def read(path: Path) -> NDArray[np.float32]:
    y: NDArray[np.float32]
    y, sr = sf.read(path, dtype="float32")
    assert sr == 22050
    return y


def published(table: Path) -> dict[str, NDArray[np.float64]]:
    with table.open(newline="") as file:
        return {
            row["filename"]: np.array([float(row[name]) for name in DESCRIPTOR_NAMES])
            for row in csv.DictReader(file)
        }


def as_published(y: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the descriptors as the librosa of 2020 had them, which lost the end of both parts."""
    values = compute_descriptors(y)
    for i, percussive in ((12, False), (14, True)):
        part = separate(y, percussive=percussive)[0].copy()
        part[len(y) // 512 * 512 :] = 0
        values[i : i + 2] = part.mean(), part.var()
    return values


def test_the_published_columns_in_the_published_order(gtzan: Path) -> None:
    """Fails: tables cannot be appended to the published ones, nor a model trained on both."""
    header = (gtzan / "features_30_sec.csv").read_text().splitlines()[0].split(",")
    assert header == ["filename", "length", *DESCRIPTOR_NAMES, "label"]
    assert len(DESCRIPTOR_NAMES) == 57


@pytest.mark.thorough
@pytest.mark.slow
def test_whole_clips_are_librosas(gtzan: Path) -> None:
    """Fails: what analysts compute with librosa differs from what a run writes."""
    for path in all_clips(gtzan)[:20:10]:
        y = read(path)
        assert_equal_columns(compute_descriptors(y), by_librosa(y))


@pytest.mark.slow
@pytest.mark.parametrize("every", [12, pytest.param(1, marks=pytest.mark.thorough)])
def test_a_piece_of_every_clip_is_librosas(gtzan: Path, every: int) -> None:
    """Fails for some kind of music: one genre's descriptors are off, and its labels with them."""
    pieces = [read(path)[PIECE : 2 * PIECE - 1] for path in all_clips(gtzan)[::every]]
    assert_equal_columns(compute_descriptors_of(pieces), np.stack([by_librosa(y) for y in pieces]))


def test_magnitudes_are_librosas_to_the_last_bit(gtzan: Path) -> None:
    """Fails: a rolloff, tuning or tempo that depends on the last bit may differ."""
    y = read(all_clips(gtzan)[0])[: 10 * PIECE // 3]
    D = librosa.stft(y, pad_mode="reflect")
    S = separate(y)[1]
    assert np.array_equal(S, np.abs(D).T)
    power = S**2
    tuning = librosa.estimate_tuning(S=power.T, sr=22050)
    assert estimate_tuning(find_peaks(power, 22050)) == tuning


@pytest.mark.slow
def test_published_rows_of_whole_clips(gtzan: Path) -> None:
    """Fails: our tables and the published ones are no longer the same measurement."""
    rows = published(gtzan / "features_30_sec.csv")
    paths = sorted((gtzan / "audio").glob("*/*.flac"))
    values = np.stack([as_published(read(path)) for path in paths])
    expected = np.stack([rows[f"{path.stem}.wav"] for path in paths])
    assert_equal_columns(values, expected, AROUND_ZERO_IN_TABLES)


def pieces_of(gtzan: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for genre in ("classical", "jazz", "rock"):
        for path in sorted((gtzan / "audio" / genre).glob("*.flac")):
            y = read(path)
            for i in range(10):
                yield f"{path.stem}.{i}.wav", y[i * PIECE : (i + 1) * PIECE - 1]


@pytest.mark.slow
def test_published_rows_of_pieces(gtzan: Path) -> None:
    """Fails: three-second pieces, which most tutorials train on, differ from the published ones."""
    rows = published(gtzan / "features_3_sec.csv")
    names, pieces = zip(*((name, y) for name, y in pieces_of(gtzan) if name in rows), strict=True)
    assert len(names) > 80
    values = np.stack([as_published(y) for y in pieces])
    expected = np.stack([rows[name] for name in names])
    assert_equal_columns(values, expected, AROUND_ZERO_IN_TABLES)


@pytest.mark.slow
@pytest.mark.parametrize("tuning", [-0.5, -0.03, 0.0, 0.17, 0.49])
@pytest.mark.parametrize("sr", [8000, 22050, 48000])
def test_chroma_filterbank_is_librosas(sr: int, tuning: float) -> None:
    """Fails: chroma is off, most of all for recordings that are not tuned to A440."""
    expected = librosa.filters.chroma(sr=sr, n_fft=2048, tuning=tuning)
    assert np.array_equal(chroma_filterbank(sr, tuning), expected)


def test_many_signals_are_each_signal() -> None:
    """Fails: a segment's descriptors would depend on which segments it is computed with."""
    rng = np.random.default_rng(0)
    signals = [rng.normal(0, 0.1, n).astype(np.float32) for n in (22050, 5000, 70000)]
    table = compute_descriptors_of(iter(signals))
    assert table.dtype == np.float64
    for y, row in zip(signals, table, strict=True):
        assert np.array_equal(row, compute_descriptors(y))
    assert compute_descriptors_of([]).shape == (0, 57)


@pytest.mark.parametrize(
    ("y", "sr", "message"),
    [
        (np.zeros((2, 4096), np.float32), 22050, "mono"),
        (np.zeros(0, np.float32), 22050, "mono"),
        (np.zeros(4096, np.int16), 22050, "int16"),
        (np.full(4096, np.nan, np.float32), 22050, "NaN or infinite"),
        (np.full(4096, np.inf, np.float32), 22050, "infinite"),
        (np.zeros(4096, np.float32), 500, "500"),
    ],
)
def test_invalid_signals_are_refused(y: NDArray[np.float32], sr: int, message: str) -> None:
    """Fails: a caller's mistake, such as stereo, becomes a row of meaningless numbers."""
    with pytest.raises(ValueError, match=message):
        compute_descriptors(y, sr=sr)
