"""Labels of degraded audio: ``python tests/benchmarks/bench_degraded.py CLIPS MODEL...``.

CLIPS holds a folder of clips for each genre. They are compressed, resampled, and changed as old or bad
recordings are, with FFmpeg, NumPy and espeak-ng; each model labels them before and after. A Markdown table
says how many are right, how many have the genre that they had before, and how many get none.
"""

import io
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray
from scipy.signal import fftconvolve

import earmark
from infra.audioset.sounds import measured_speech

Audio = NDArray[np.float64]
Change = Callable[[Audio, int, np.random.Generator], Audio]

CONVERTED = {
    "mp3 of 128 kbit/s": ("mp3", "-c:a libmp3lame -b:a 128k"),
    "mp3 of 64 kbit/s": ("mp3", "-c:a libmp3lame -b:a 64k"),
    "Opus of 24 kbit/s": ("opus", "-c:a libopus -b:a 24k -ac 1"),
    "16,000 Hz": ("flac", "-ar 16000"),
    "11,025 Hz": ("flac", "-ar 11025"),
    "telephone sound: 8,000 Hz, µ-law": ("wav", "-ar 8000 -ac 1 -c:a pcm_mulaw"),
    "resampled to 10,000 Hz and back": ("flac", "-af aresample=10000,aresample=44100"),
    "a low-pass filter at 5 kHz, 24 dB an octave": ("flac", "-af lowpass=f=5000:p=2,lowpass=f=5000:p=2"),
}
"""Endings and FFmpeg's options."""
WIDE, WIDE_HZ = "44,100 Hz, with bands above 10.5 kHz made from those below", 44100


def rms(y: Audio) -> float:
    """Return the root mean square."""
    return float(np.sqrt((y**2).mean()))


def noisy(y: Audio, sr: int, rng: np.random.Generator) -> Audio:
    """Add white noise 20 dB below the music."""
    return y + rng.normal(0, 0.1 * rms(y), len(y))


def crackling(y: Audio, sr: int, rng: np.random.Generator) -> Audio:
    """Add twelve clicks a second, and white noise 34 dB below the music."""
    y = y + rng.normal(0, 0.02 * rms(y), len(y))
    places = rng.integers(len(y), size=12 * len(y) // sr)
    y[places] += rng.normal(0, 4 * rms(y), len(places))
    return y


def humming(y: Audio, sr: int, rng: np.random.Generator) -> Audio:
    """Add 50 and 150 Hz, 19 and 25 dB below the music."""
    t = np.arange(len(y)) / sr
    return y + 0.15 * rms(y) * (np.sin(100 * np.pi * t) + 0.5 * np.sin(300 * np.pi * t))


def reverberant(y: Audio, sr: int, rng: np.random.Generator) -> Audio:
    """Add the reverberation of a hall (1.7 s), 3 dB below the music."""
    tail = rng.normal(size=int(1.2 * sr)) * np.exp(-np.arange(int(1.2 * sr)) / (0.25 * sr))
    return np.asarray(y + 0.7 * fftconvolve(y, tail / np.sqrt((tail**2).sum()))[: len(y)])


def clipped(y: Audio, sr: int, rng: np.random.Generator) -> Audio:
    """Clip the music at 1.6 times its root mean square."""
    return np.clip(y, -1.6 * rms(y), 1.6 * rms(y))


def spoken_over(y: Audio, sr: int, rng: np.random.Generator) -> Audio:
    """Add synthesized speech 6 dB below the music."""
    texts = spoken()
    speech = np.zeros(0)
    while len(speech) < len(y):
        said, said_sr = texts[int(rng.integers(len(texts)))]
        speech = np.concatenate([speech, soxr.resample(said, said_sr, sr)])
    return y + 0.5 * rms(y) / rms(speech[: len(y)]) * speech[: len(y)]


def widened(y: Audio, sr: int) -> Audio:
    """Return a clip of 22,050 Hz at `WIDE_HZ`: at 10.5 to 15.5 kHz with what is 5 kHz below, at -6 dB."""
    y = soxr.resample(y, sr, WIDE_HZ)
    spectrum = np.fft.rfft(y)
    first, last, up = (round(hz * len(y) / WIDE_HZ) for hz in (5500, 10500, 5000))
    spectrum[first + up : last + up] += 0.5 * spectrum[first:last]
    return np.fft.irfft(spectrum, len(y))


@cache
def spoken() -> list[tuple[Audio, int]]:
    """Return synthesized speech, mono, with its sample rates."""
    return [read_mono(io.BytesIO(each)) for each in measured_speech()]


CHANGED: Mapping[str, Change] = {
    "white noise, 20 dB below the music": noisy,
    "clicks and faint noise of a record": crackling,
    "hum of 50 Hz": humming,
    "a hall": reverberant,
    "clipping": clipped,
    "speech, 6 dB below the music": spoken_over,
}


def read_mono(file: Path | io.BytesIO) -> tuple[Audio, int]:
    """Return the mean of a file's channels, and its sample rate."""
    y, sr = sf.read(file, always_2d=True)
    return y.mean(axis=1), int(sr)


def main(clips: Path, models: list[str]) -> None:
    """Print the table."""
    files = sorted(path for path in clips.glob("*/*") if path.is_file())
    before = {model: genres_of(clips, model) for model in models}
    print(f"| {len(files)} clips | {' | '.join(f'`{model}`' for model in models)} |")
    print(f"|---|{'---|' * len(models)}")
    print_row("as they are", before, before)
    for name in [*CONVERTED, WIDE, *CHANGED]:
        with tempfile.TemporaryDirectory(prefix="earmark-degraded-") as folder:
            rng = np.random.default_rng(0)
            for file in files:
                write(name, file, Path(folder) / file.parent.name / file.stem, rng)
            print_row(name, before, {model: genres_of(Path(folder), model) for model in models})


def write(name: str, file: Path, out: Path, rng: np.random.Generator) -> None:
    """Write a clip degraded in one way."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if name in CONVERTED:
        ending, options = CONVERTED[name]
        command = ["ffmpeg", "-v", "error", "-i", str(file), *options.split(), f"{out}.{ending}"]
        subprocess.run(command, check=True)
        return
    y, sr = read_mono(file)
    y, sr = (widened(y, sr), WIDE_HZ) if name == WIDE else (CHANGED[name](y, sr, rng), sr)
    sf.write(f"{out}.wav", y / np.abs(y).max() * 0.9, sr, subtype="FLOAT")


def genres_of(folder: Path, model: str) -> dict[str, str | None]:
    """Return the genre of each clip, by its folder and name."""
    labels = earmark.label(folder, model)
    names = [f"{Path(uri).parent.name}/{Path(uri).stem}" for uri in labels["uri"]]
    return dict(zip(names, labels["genre"].where(labels["genre"].notna(), None), strict=True))


def print_row(
    name: str, before: Mapping[str, dict[str, str | None]], after: Mapping[str, dict[str, str | None]]
) -> None:
    """Print how many clips are right, as before, and without a genre."""
    cells = []
    for model, found in after.items():
        right = sum(clip.partition("/")[0] == genre for clip, genre in found.items())
        same = sum(before[model][clip] == genre for clip, genre in found.items())
        none = sum(genre is None for genre in found.values())
        cells.append(f"{right} ({same})" + (f", {none} without a genre" if none else ""))
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
