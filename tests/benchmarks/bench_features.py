"""The cost of log-mel features: ``python tests/benchmarks/bench_features.py [TURNS]``.

Measures `featurize_track` on 30 s clips in several formats, in one run and with one thread, as a whole and by
step. It is compared with the minimum of work for the same bytes (decode, mix, resample, one STFT and the mel
product, as simply as possible, with libsndfile if it reads the format and with FFmpeg), and with librosa.
They take turns; printed are medians, and the medians of the ratios within each turn.
"""

import io
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import av
import librosa
import numpy as np
import scipy.fft
import soundfile as sf
import soxr
from numpy.typing import NDArray

from pipeline.audio.decode.audio import open_source, read_segments
from pipeline.audio.features.featurize import featurize_track
from pipeline.audio.features.log_mel import log_mel
from pipeline.audio.features.mel_bands import mel_filterbank
from pipeline.audio.tags.tags import read_tags
from schemas.features import FeatureSpec
from tests.encoders import encode

SPEC = FeatureSpec()
CLIPS = (
    ("mp3", 44100, 2),
    ("mp3", 22050, 1),
    ("flac", 22050, 1),
    ("flac", 44100, 2),
    ("wav", 44100, 2),
    ("vorbis", 44100, 2),
    ("m4a", 44100, 2),
)


def music(rate: int, channels: int) -> NDArray[np.float32]:
    """Return 30.013 s (the length of a GTZAN clip) of seeded chords and beats, as hard to decode as music."""
    rng = np.random.default_rng(0)
    t = np.arange(round(30.013 * rate)) / rate
    y = np.zeros((len(t), channels))
    for i, root in enumerate(rng.choice([55.0, 65.4, 73.4, 82.4], 60)):
        note = (t >= i / 2) & (t < i / 2 + 0.5)
        age = t[note] - i / 2
        for harmonic in range(1, 24):
            pan = rng.uniform(0, 1, channels)
            tone = np.sin(2 * np.pi * root * harmonic * age + rng.uniform(0, 6)) / harmonic
            y[note] += 0.15 * pan * (tone * np.exp(-3 * age))[:, np.newaxis]
        y[note] += rng.normal(0, 0.1, (len(age), channels)) * np.exp(-30 * age)[:, np.newaxis]
    return np.clip(y, -1, 1).astype(np.float32)


def decode_libsndfile(data: bytes) -> tuple[NDArray[np.float32], int]:
    y, rate = sf.read(io.BytesIO(data), dtype="float32", always_2d=True)
    return y.T, rate


def decode_ffmpeg(data: bytes) -> tuple[NDArray[np.float32], int]:
    with av.open(io.BytesIO(data), "r") as container:
        fifo = av.AudioFifo()
        for frame in container.decode(audio=0):
            frame.pts = None
            fifo.write(frame)
        whole = fifo.read()
        assert whole is not None
        samples, channels, packed = whole.to_ndarray(), len(whole.layout.channels), not whole.format.is_planar
    samples = samples.reshape(-1, channels).T if packed else samples
    scale = np.float32(1 << 8 * samples.itemsize - 1) if samples.dtype.kind == "i" else np.float32(1)
    return samples.astype(np.float32, copy=False) / scale, whole.sample_rate


def least(decode: Callable[[bytes], tuple[NDArray[np.float32], int]], data: bytes) -> NDArray[np.float32]:
    """Decode, mix, resample, one STFT, one mel product; no decibels, no tags, no checks."""
    y, rate = decode(data)
    y = np.full(len(y), 1 / len(y), np.float32) @ y[:, : 30 * rate]
    if rate != SPEC.sample_rate:
        y = soxr.resample(y, rate, SPEC.sample_rate, quality="HQ")
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(y, SPEC.n_fft // 2), SPEC.n_fft)[:: SPEC.mel_hop]
    X: NDArray[Any] = scipy.fft.rfft(frames * np.hanning(SPEC.n_fft + 1)[:-1].astype(np.float32))
    filters = mel_filterbank(SPEC.sample_rate, SPEC.n_fft, SPEC.n_mels)
    mels: NDArray[np.float32] = (X.real**2 + X.imag**2) @ filters.T
    return mels


def by_librosa(data: bytes) -> NDArray[np.float32]:
    """Compute log-mels in the usual way: librosa.load, melspectrogram, power_to_db."""
    y, sr = librosa.load(io.BytesIO(data), sr=SPEC.sample_rate, duration=30)
    power = librosa.feature.melspectrogram(
        y=y, sr=sr, n_fft=SPEC.n_fft, hop_length=SPEC.mel_hop, n_mels=SPEC.n_mels
    )
    levels: NDArray[np.float32] = librosa.power_to_db(power, ref=np.max, top_db=SPEC.top_db)
    return levels


def ms(work: Callable[[], object]) -> float:
    """Return the milliseconds of processor time that `work` takes, which other processes do not affect."""
    start = time.process_time()
    work()
    return 1e3 * (time.process_time() - start)


def compared(took: dict[str, NDArray[np.float64]], name: str) -> str:
    """Return the cell of another method: its milliseconds, and its ratio to ours."""
    if name not in took:
        return " " * 15
    return f"{np.median(took[name]):8.1f} {np.median(took[name] / took['ours']):6.2f}"


def row(form: str, rate: int, channels: int, turns: int) -> str:
    """Return one line of the table."""
    data = encode(music(rate, channels), rate, form)
    works: dict[str, Callable[[], object]] = {
        "ours": lambda: featurize_track(io.BytesIO(data), form, SPEC),
        "ffmpeg": lambda: least(decode_ffmpeg, data),
    }
    if form != "m4a":
        works["libsndfile"] = lambda: least(decode_libsndfile, data)
        works["librosa"] = lambda: by_librosa(data)
    _, [(_, y)] = read_segments(io.BytesIO(data), form, SPEC)
    works["read"] = lambda: read_segments(io.BytesIO(data), form, SPEC)
    works["open"] = lambda: open_source(io.BytesIO(data), form)
    works["tags"] = lambda: read_tags(io.BytesIO(data), form)
    works["log_mel"] = lambda: log_mel(y, SPEC)
    for work in works.values():
        work()
    took = {name: np.array([]) for name in works}
    for _ in range(turns):
        for name, work in works.items():
            took[name] = np.append(took[name], ms(work))
    cells = [f"{form:7s}{rate:6d} Hz x{channels}", f"{np.median(took['ours']):8.1f}"]
    cells += [compared(took, name) for name in ("libsndfile", "ffmpeg", "librosa")]
    cells += [f"{np.median(took[name]):7.1f}" for name in ("read", "log_mel", "tags")]
    return "  ".join(cells)


def main(turns: int) -> None:
    """Measure and print."""
    print(f"30 s to log-mel 128 x 388 at hop {SPEC.mel_hop}, one thread, medians of {turns} turns, ms;")
    print("ratios tell how many times as fast ours is (the goal is 0.85 of the minimum)")
    print(f"{'':19s}  {'':8s}  {'minimum, by':>15s}  {'minimum, by':>15s}  {'':15s}  {'ours by step':>16s}")
    print(
        f"{'clip':19s}  {'ours':>8s}  {'libsndfile':>15s}  {'FFmpeg':>15s}  {'librosa':>15s}"
        f"  {'read':>7s}  {'log-mel':>7s}  {'tags':>7s}"
    )
    for clip in CLIPS:
        print(row(*clip, turns), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 21)
