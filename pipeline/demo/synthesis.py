"""Seeded synthesis of music in the styles of `pipeline.demo.styles`: additive voices and noise drums."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.demo.styles import STYLES, Style, Timbre, Voice

Samples = NDArray[np.float32]
Note = tuple[int, int]  # step from the loop's start, semitones above the voice's octave of the key

FADE_S = 1.5
_SECTION_BARS = 4
_TABLE_BITS = 12
_TABLE_SIZE = 1 << _TABLE_BITS
_LEVELS = {"drums": 0.8, "bass": 0.9, "comp": 0.35, "lead": 0.35}
_PAN = {"drums": 0.5, "bass": 0.5, "comp": 0.3, "lead": 0.7}  # 0 left, 1 right
_SECTIONS = (
    ("drums", "bass", "comp"),
    ("drums", "bass", "comp", "lead"),
    ("bass", "comp", "lead"),
)


def synthesize(style: str, *, seed: Sequence[int], duration_s: float, sr: int = 44100) -> Samples:
    """Synthesize a piece.

    Parameters
    ----------
    style : str
        A key of `pipeline.demo.styles.STYLES`.
    seed : sequence of int
        Determines tempo, key, melody and sections: the same seed gives the same samples.
    duration_s : float
        Length in seconds, more than `FADE_S`; the last `FADE_S` fade out.
    sr : int
        Sample rate in Hz.

    Returns
    -------
    ndarray of float32, shape (round(duration_s * sr), 2)
        Stereo, peak 0.8.
    """
    rng = np.random.default_rng(seed)
    score = STYLES[style]
    bar = round(4 * 60 / rng.uniform(*score.bpm) * sr)
    y = _arrange(_play_stems(score, rng, sr, bar), rng, round(duration_s * sr), _SECTION_BARS * bar)
    n_fade = min(len(y), round(FADE_S * sr))
    y[len(y) - n_fade :] *= np.linspace(1, 0, n_fade, dtype=np.float32)[:, None]
    y *= 0.8 / np.abs(y).max()
    return y


def _arrange(stems: dict[str, Samples], rng: np.random.Generator, n: int, n_section: int) -> Samples:
    """Fill `n` stereo samples with sections of the looped stems, never the same section twice in a row."""
    y = np.zeros((2, n), np.float32)
    n_loop = len(stems["drums"])
    chosen = -1
    for start in range(0, n, n_section):
        chosen = int(rng.choice([i for i in range(len(_SECTIONS)) if i != chosen]))
        section = y[:, start : start + n_section]
        for name in _SECTIONS[chosen]:
            stem = stems[name][start % n_loop :][: section.shape[1]] * np.float32(_LEVELS[name])
            section[0] += np.float32(1 - _PAN[name]) * stem
            section[1] += np.float32(_PAN[name]) * stem
    return np.ascontiguousarray(y.T)


def _play_stems(score: Style, rng: np.random.Generator, sr: int, bar: int) -> dict[str, Samples]:
    """Play the chords once, and return mono loops of the drums and the three voices."""
    n = bar * len(score.chords)
    key_hz = 55 * 2 ** (int(rng.integers(-4, 6)) / 12)
    stems = {"drums": np.zeros(n, np.float32)}
    for drum, pattern in score.drums.items():
        hit = DRUMS[drum](rng, sr)
        for step in _steps(pattern, len(score.chords)):
            _add_wrapped(stems["drums"], hit, round(step * bar / len(pattern)))
    stems["bass"] = _play_voice(score.bass, _bass_notes(score), n, bar, key_hz, sr)
    stems["comp"] = _play_voice(score.comp, _comp_notes(score), n, bar, key_hz, sr)
    stems["lead"] = _play_voice(score.lead, _lead_notes(score, rng), n, bar, key_hz, sr)
    return stems


def _play_voice(voice: Voice, notes: Iterable[Note], n: int, bar: int, key_hz: float, sr: int) -> Samples:
    y = np.zeros(n, np.float32)
    envelope = _envelope(voice.timbre, min(round(4 * voice.timbre.decay_s * sr), bar), sr)
    tones: dict[int, Samples] = {}
    for step, semitones in notes:
        if semitones not in tones:
            hz = key_hz * 2 ** (voice.octave + semitones / 12)
            tones[semitones] = _tone(voice.timbre, hz, envelope, sr)
        _add_wrapped(y, tones[semitones], round(step * bar / len(voice.pattern)))
    if voice.timbre.drive:
        np.tanh(voice.timbre.drive * y, out=y)
    return y


def _envelope(timbre: Timbre, n: int, sr: int) -> Samples:
    t = np.arange(n, dtype=np.float32) / np.float32(sr)
    attack = np.minimum(t / timbre.attack_s, 1)
    release = np.minimum((n / sr - t) / 0.01, 1)
    envelope: Samples = (attack * release * np.exp(-t / timbre.decay_s)).astype(np.float32)
    return envelope


def _tone(timbre: Timbre, hz: float, envelope: Samples, sr: int) -> Samples:
    """Return a note by table lookup, with the partials below the Nyquist frequency."""
    phase = np.arange(_TABLE_SIZE) * (2 * np.pi / _TABLE_SIZE)
    table = np.zeros(_TABLE_SIZE)
    for k, amplitude in enumerate(timbre.partials, start=1):
        if k * hz < sr / 2:
            table += amplitude * np.sin(k * phase)
    table /= sum(timbre.partials)
    # A 32-bit phase wraps around by itself; a 64-bit modulo would take most of the time of the demo.
    phase_step = np.uint32(round(hz / sr * 2**32))
    position = (np.arange(len(envelope), dtype=np.uint32) * phase_step) >> np.uint32(32 - _TABLE_BITS)
    tone: Samples = table.astype(np.float32)[position] * envelope
    return tone


def _add_wrapped(y: Samples, note: Samples, start: int) -> None:
    """Add a note to a loop; what rings past the end continues at the beginning."""
    fits = min(len(note), len(y) - start)
    y[start : start + fits] += note[:fits]
    y[: len(note) - fits] += note[fits:]


def _steps(pattern: str, n_bars: int) -> list[int]:
    return [i for i, hit in enumerate(pattern * n_bars) if hit == "x"]


def _bass_notes(score: Style) -> list[Note]:
    steps = len(score.bass.pattern)
    notes = []
    for i, step in enumerate(_steps(score.bass.pattern, len(score.chords))):
        root, chord = score.chords[step // steps]
        notes.append((step, root + chord[i % len(chord)]))
    return notes


def _comp_notes(score: Style) -> list[Note]:
    steps = len(score.comp.pattern)
    notes = []
    for step in _steps(score.comp.pattern, len(score.chords)):
        root, chord = score.chords[step // steps]
        notes += [(step, (root + interval) % 12) for interval in chord]
    return notes


def _lead_notes(score: Style, rng: np.random.Generator) -> list[Note]:
    degree, notes = len(score.scale) // 2, []
    for step in _steps(score.lead.pattern, len(score.chords)):
        degree = int(np.clip(degree + rng.integers(-2, 3), 0, len(score.scale) - 1))
        notes.append((step, score.scale[degree]))
    return notes


def _kick(rng: np.random.Generator, sr: int) -> Samples:
    t = np.arange(round(0.3 * sr)) / sr
    sweep = np.cumsum(50 + 120 * np.exp(-t / 0.03)) / sr
    return (np.sin(2 * np.pi * sweep) * np.exp(-t / 0.1)).astype(np.float32)


def _snare(rng: np.random.Generator, sr: int) -> Samples:
    noise = _noise(rng, sr, low_hz=1000, decay_s=0.08, level=0.6)
    t = np.arange(len(noise)) / sr
    return noise + (0.4 * np.sin(2 * np.pi * 190 * t) * np.exp(-t / 0.06)).astype(np.float32)


def _noise(rng: np.random.Generator, sr: int, *, low_hz: float, decay_s: float, level: float) -> Samples:
    """Return decaying noise above `low_hz`."""
    t = np.arange(round(5 * decay_s * sr)) / sr
    spectrum = np.fft.rfft(rng.standard_normal(len(t)))
    spectrum[np.fft.rfftfreq(len(t), 1 / sr) < low_hz] = 0
    noise: Samples = (level / 2 * np.fft.irfft(spectrum, len(t)) * np.exp(-t / decay_s)).astype(np.float32)
    return noise


def _cymbal(low_hz: float, decay_s: float, level: float) -> Callable[[np.random.Generator, int], Samples]:
    return lambda rng, sr: _noise(rng, sr, low_hz=low_hz, decay_s=decay_s, level=level)


DRUMS: dict[str, Callable[[np.random.Generator, int], Samples]] = {
    "kick": _kick,
    "snare": _snare,
    "clap": _cymbal(1500, 0.05, 0.6),
    "hat": _cymbal(7000, 0.03, 0.4),
    "open_hat": _cymbal(6000, 0.12, 0.4),
    "ride": _cymbal(5000, 0.25, 0.25),
    "crash": _cymbal(3000, 0.6, 0.35),
}
