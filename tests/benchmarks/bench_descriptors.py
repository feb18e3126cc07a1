"""The cost of the 57 descriptors: ``python tests/benchmarks/bench_descriptors.py [TURNS]``.

Compares this package, in one run and with one thread, with plain librosa (one call per feature) and, if
installed, with Essentia's MusicExtractor and openSMILE's ComParE 2016, which compute more and different
numbers. They take turns; printed are medians of processor time, and of the ratios within each turn. Then the
steps of this package beside their lower bound, the whole with decoding and log-mels, a fresh process, and
memory.
"""

import io
import os
import sys
from pathlib import Path

os.environ.update({f"{pool}_NUM_THREADS": "1" for pool in ("OMP", "OPENBLAS", "MKL", "NUMBA")})
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import subprocess
import tempfile
from collections.abc import Callable

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from pipeline.audio.features import chroma, hpss, mfcc, spectral_shape, stft, tempo
from pipeline.audio.features.descriptors import compute_descriptors
from pipeline.audio.features.featurize import featurize_track
from schemas.features import FeatureSpec
from tests.benchmarks.bench_features import ms, music
from tests.encoders import encode
from tests.unit.plain_librosa import descriptors as by_librosa

SR = 22050
Work = Callable[[], object]

FRESH = """
import sys, time
start = time.process_time()
import numpy as np
from pipeline.audio.features.descriptors import compute_descriptors
import scipy.fft
loaded = time.process_time()
compute_descriptors(np.zeros(66149, np.float32))
computed = time.process_time()
print(f"numpy and scipy {loaded - start:.2f} s, numba, kernels and 3 s of audio {computed - loaded:.2f} s")
"""

MEMORY = """
import re, numpy as np
from pathlib import Path
from pipeline.audio.features.descriptors import compute_descriptors
peak_mb = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
compute_descriptors(np.zeros(4096, np.float32))
rng = np.random.default_rng(0)
for seconds in (30, 600):
    y = rng.standard_normal(seconds * 22050, dtype=np.float32)
    before = peak_mb()
    compute_descriptors(y)
    print(f"{seconds:4} s of audio: {peak_mb()} MB at most, {before} MB of it before")
"""


def others(y: NDArray[np.float32], folder: Path) -> dict[str, Work]:
    """Return the other extractors that are installed; Essentia's reads only files."""
    works: dict[str, Work] = {}
    try:
        import essentia
        import essentia.standard
    except ImportError:
        print("Essentia is not installed")
    else:
        essentia.log.infoActive = essentia.log.warningActive = False
        path = folder / f"{len(y)}.wav"
        sf.write(path, y, SR)
        works["Essentia MusicExtractor"] = lambda: essentia.standard.MusicExtractor()(str(path))
    try:
        import opensmile
    except ImportError:
        print("openSMILE is not installed")
    else:
        smile = opensmile.Smile(opensmile.FeatureSet.ComParE_2016, opensmile.FeatureLevel.Functionals)
        works["openSMILE ComParE"] = lambda: smile.process_signal(y, SR)
    return works


def compare(y: NDArray[np.float32], turns: int, folder: Path) -> None:
    """Print the milliseconds of each package, its multiple of real time, and its ratio to ours."""
    works: dict[str, Work] = {
        "ours": lambda: compute_descriptors(y),
        "plain librosa": lambda: by_librosa(y),
        **others(y, folder),
    }
    for work in works.values():
        work()
    # Ours is short: with the median of five, one interruption does not decide a turn.
    took = {name: np.empty(turns) for name in works}
    for turn in range(turns):
        for name, work in works.items():
            took[name][turn] = np.median([ms(work) for _ in range(5 if name == "ours" else 1)])
    seconds = len(y) / SR
    print(f"\n{seconds:.1f} s of audio{'':15} ms     x real time   ours is faster by")
    for name, times in took.items():
        ratio = np.median(times / took["ours"])
        print(f"{name:24} {np.median(times):9.2f} {1e3 * seconds / np.median(times):11.0f} {ratio:15.1f}")


def steps(y: NDArray[np.float32]) -> dict[str, Work]:
    """Return the steps of `compute_descriptors`, each with the results of the steps before it as input."""
    blocks = list(stft.stft_blocks(y, hpss.BLOCK))
    harmonic, S = hpss.separate(y)
    power = S * S
    peaks = chroma.find_peaks(power, SR)
    S_db = mfcc.mel_db(power, SR)
    onsets = tempo.onset_strength(S_db)

    def inverse() -> None:
        part = np.zeros((len(S) + stft.HOPS - 1, stft.HOP_LENGTH), np.float32)
        for first, D in blocks:
            stft.overlap_add(D, first, part)
        stft.unpad(part, len(y))

    return {
        "STFT": lambda: list(stft.stft_blocks(y, hpss.BLOCK)),
        "inverse STFT": inverse,
        "separation, both in it": lambda: hpss.separate(y),
        "statistics of the parts": lambda: hpss.part_statistics(y, harmonic),
        "RMS": lambda: spectral_shape.rms(y),
        "zero crossings": lambda: spectral_shape.zero_crossing_rate(y),
        "centroid, bandwidth, rolloff": lambda: spectral_shape.spectral_shape(S, SR),
        "spectral peaks": lambda: chroma.find_peaks(power, SR),
        "tuning": lambda: chroma.estimate_tuning(peaks),
        "chroma": lambda: chroma.chroma(power, SR, 0.0),
        "log-mel": lambda: mfcc.mel_db(power, SR),
        "MFCC": lambda: mfcc.mfcc(S_db),
        "onsets": lambda: tempo.onset_strength(S_db),
        "tempo": lambda: tempo.tempo(onsets, SR),
        "all": lambda: compute_descriptors(y),
    }


def profile(y: NDArray[np.float32], turns: int) -> None:
    print("\nours by step, ms")
    works = steps(y)
    took: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(3 * turns):
        for name, work in works.items():
            took[name].append(ms(work))
    medians = {name: float(np.median(times[turns:])) for name, times in took.items()}
    for name, time_ms in medians.items():
        print(f"{name:30} {time_ms:7.2f}")
    floor = medians["STFT"] + 2 * medians["inverse STFT"]
    print(
        f"one STFT and two inverse ones  {floor:7.2f}: all takes {medians['all'] / floor:.2f} times as long"
    )


def around(turns: int) -> None:
    """Print how long featurizing a track takes with and without descriptors."""
    data = encode(music(44100, 2), 44100, "mp3")

    def featurize(spec: FeatureSpec) -> float:
        return float(
            np.median([ms(lambda: featurize_track(io.BytesIO(data), "mp3", spec)) for _ in range(turns)])
        )

    featurize(FeatureSpec(descriptors=True))
    without, with_descriptors = featurize(FeatureSpec()), featurize(FeatureSpec(descriptors=True))
    print(
        f"\na 30 s mp3, decoded and featurized: {without:.1f} ms, with descriptors {with_descriptors:.1f} ms"
    )


def main() -> None:
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    y = music(SR, 1).reshape(-1)
    with tempfile.TemporaryDirectory() as folder:
        compare(y, turns, Path(folder))
        compare(y[: 3 * SR], 3 * turns, Path(folder))
    profile(y, turns)
    around(turns)
    for title, code in (("a fresh process, kernels compiled", FRESH), ("memory", MEMORY)):
        root = Path(__file__).resolve().parents[2]
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
        )
        print(f"\n{title}:\n{done.stdout.rstrip()}")


if __name__ == "__main__":
    main()
