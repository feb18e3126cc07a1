"""The inputs of teacher and student: game music, accompaniments, train clips, speech and noise."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

from infra.audioset.clips import listed_files, log_mels_of
from infra.audioset.imitation import imitations
from infra.audioset.sounds import FITTED_SPEECH, FITTED_VOICES, noises, speech
from infra.distill.accompaniment import render
from pipeline.audio.features.featurize import featurize_track
from pipeline.audio.features.log_mel import log_mel
from pipeline.models.audioset import FEATURES, N_FRAMES
from pipeline.models.classifier import fit_frames
from schemas.errors import TrackError

Levels = NDArray[np.uint8]

PER_FILE = 12
"""Excerpts of a long file, spaced evenly; a file of a package has one for every ten seconds at most."""
SHORT_S, SHORT_FILES = 12.0, 80
"""A package's files that are no longer than this are effects or speech: so many of them are used."""
SPEEDS = (0.89, 1.0, 1.12)
"""At which a clip of GTZAN is played: two semitones down and up."""
MORE_SPEECH = {
    "cs": "Zítra ráno bude oblačno a odpoledne se vyjasní, teploty vystoupí na patnáct stupňů.",
    "fi": "Huomenna kokous alkaa kello yhdeksän, ja sen jälkeen juodaan kahvia pihalla.",
    "hu": "A könyvtár hétfőn zárva tart, de kedden egész nap várja az olvasókat.",
    "en-us": "Turn left at the station, walk past the market, and you will see the house with a green door.",
    "el": "Το μουσείο είναι ανοιχτό κάθε μέρα εκτός από τη Δευτέρα.",
    "ro": "Trenul de seară pleacă la ora opt din gara centrală, de la linia a doua.",
}
MORE_VOICES = ("m6", "m8", "f5", "Alex", "klatt2", "whisperf")


@dataclass(frozen=True, slots=True)
class Sound:
    """Excerpts of one recording.

    Attributes
    ----------
    name : str
        Which recording it is; its genre before the first dot if GTZAN names one.
    excerpts : list of ndarray of uint8, each of shape (128, 1000)
        Levels as `pipeline.models.audioset.FEATURES` has them.
    """

    name: str
    excerpts: list[Levels]


def games(folder: Path) -> Iterator[Sound]:
    """Yield the music, effects and speech of the packages that were unpacked there, in random order."""
    endings = {".ogg", ".mp3", ".flac", ".opus", ".wav", ".oga"}
    rng = np.random.default_rng(0)
    chosen: list[tuple[Path, int]] = []
    for package in sorted(folder.iterdir()):
        files = sorted(path for path in package.rglob("*") if path.suffix.lower() in endings)
        durations_s = [(path, _duration_s(path)) for path in files]
        short = [path for path, duration_s in durations_s if 1 <= duration_s <= SHORT_S]
        chosen += [(short[place], 1) for place in rng.permutation(len(short))[:SHORT_FILES]]
        chosen += [(path, int(min(PER_FILE, t // 10))) for path, t in durations_s if t > SHORT_S]
    for place in rng.permutation(len(chosen)):
        path, n = chosen[place]
        yield from _featurized(str(path.relative_to(folder)), path.read_bytes(), n)


def accompaniments(folder: Path) -> Iterator[Sound]:
    """Yield pieces in all styles of MMA, which was unpacked there."""
    sound_font = folder / "usr/share/sounds/sf2/FluidR3_GM.sf2"
    for name, data in render(folder, sound_font, per_style=2):
        yield from _featurized(name, data, 3)


def spoken(folder: Path) -> Iterator[Sound]:
    """Yield synthesized speech and noise: none of the voices, languages or texts that are measured with."""
    made = [*speech(FITTED_SPEECH, FITTED_VOICES, seed=1), *speech(MORE_SPEECH, MORE_VOICES, seed=3)]
    for seed in range(3, 8):
        made += noises(seed)
    for number, data in enumerate(made):
        yield from _featurized(f"sound-{number}", data, 3)


def clips(gtzan: Path) -> Iterator[Sound]:
    """Yield the clips of the train list that have audio, at several speeds and offsets."""
    for name, path in listed_files(gtzan, "train").items():
        y, sr = sf.read(path, dtype="float32")
        for speed in SPEEDS:
            played = np.asarray(soxr.resample(y, sr * speed, FEATURES.sample_rate), np.float32)
            length = int(FEATURES.segment_s * FEATURES.sample_rate)
            starts = np.linspace(0, max(0, len(played) - length), 5 if len(played) > 2 * length else 3)
            excerpts = [log_mel(played[int(start) : int(start) + length], FEATURES)[0] for start in starts]
            yield Sound(name, [fit_frames(each, N_FRAMES) for each in excerpts])


def imitated(gtzan: Path) -> Iterator[Sound]:
    """Yield imitations of all clips of the train list."""
    names, _, excerpts_of = imitations(gtzan, train_segments(gtzan))
    for name, excerpts in zip(names, excerpts_of, strict=True):
        yield Sound(name, [fit_frames(each, N_FRAMES) for each in excerpts])


def train_segments(gtzan: Path) -> dict[str, list[Levels]]:
    """Return the segments of the train clips that have audio, by their names."""
    files = listed_files(gtzan, "train").items()
    return {name: log_mels_of(name, path.read_bytes()) for name, path in files}


def _featurized(name: str, data: bytes, n: int) -> Iterator[Sound]:
    spec = FEATURES.model_copy(update={"max_segments": n})
    try:
        segments = featurize_track(io.BytesIO(data), name, spec).segments
    except TrackError:
        return
    log_mels = [each.log_mel for each in segments if each.log_mel is not None and each.range_db > 0]
    yield Sound(name, [fit_frames(each, N_FRAMES) for each in log_mels])


def _duration_s(path: Path) -> float:
    try:
        return float(sf.info(path).duration)
    except (sf.LibsndfileError, RuntimeError):
        return 0.0
