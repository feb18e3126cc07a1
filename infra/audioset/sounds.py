"""Synthesized speech, noises, hums, beeps and clicks: what is no music."""

import io
import subprocess

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FITTED_SPEECH = {
    "en-us": "The committee will meet on Thursday about the budget and the repairs of the old bridge.",
    "de": "Die Sitzung beginnt morgen um neun Uhr, und danach gibt es eine kurze Pause mit Kaffee.",
    "fr-fr": "Le train de huit heures est en retard à cause de la neige, veuillez attendre sur le quai.",
    "es": "Mañana lloverá en el norte del país, y por la tarde habrá viento fuerte en la costa.",
    "pl": "Dzisiaj w bibliotece odbędzie się spotkanie z autorem nowej powieści, zapraszamy czytelników.",
    "sv": "Vädret blir klart i morgon med svag vind från väster och temperaturer omkring tjugo grader.",
}
FITTED_VOICES = ("m1", "m3", "m5", "f1", "f3", "whisper")
MEASURED_SPEECH = {
    "en-gb": "Chapter three. In the morning the captain wrote a letter to his brother about the storm.",
    "it": "La ricetta è semplice: tagliate le cipolle, scaldate la padella e aspettate dieci minuti.",
    "pt-br": "O museu abre todos os dias das dez às seis, e a entrada é gratuita no primeiro domingo.",
    "ru": "Сегодня на выставке можно увидеть картины молодых художников из разных городов страны.",
    "nl": "De vergadering is verplaatst naar volgende week omdat de zaal morgen niet beschikbaar is.",
    "tr": "Yarın sabah erkenden yola çıkacağız ve akşam olmadan önce köye varmış olacağız.",
}
MEASURED_VOICES = ("m2", "m4", "m7", "f2", "f4", "croak")


def fitted_sounds() -> list[bytes]:
    """Return the speech and the noises that what is music is fitted to."""
    return [*speech(FITTED_SPEECH, FITTED_VOICES, seed=1), *noises(seed=1)]


def measured_speech() -> list[bytes]:
    """Return speech of other voices, languages and texts, to measure with."""
    return speech(MEASURED_SPEECH, MEASURED_VOICES, seed=2)


def measured_noises() -> list[bytes]:
    """Return other noises, to measure with."""
    return noises(seed=2)


def speech(texts: dict[str, str], voices: tuple[str, ...], seed: int) -> list[bytes]:
    """Return spoken texts, a few words or several sentences long, at different speeds and pitches."""
    rng = np.random.default_rng(seed)
    spoken = []
    for language, text in texts.items():
        for voice in voices:
            words = [text, f"{text} " * 4, " ".join(text.split()[:6])][int(rng.integers(3))]
            speed, pitch = (str(each) for each in rng.integers([120, 30], [190, 70]))
            command = ["espeak-ng", "-v", f"{language}+{voice}", "-s", speed, "-p", pitch, "--stdout", words]
            made = subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - all words are ours
            spoken.append(made.stdout)
    return spoken


def noises(seed: int) -> list[bytes]:
    """Return noises of several colors, steady and coming and going, hums, beeps and clicks, of 10 s each."""
    rng = np.random.default_rng(seed)
    t = np.arange(320000) / 32000
    sounds = []
    for slope in (0.0, 0.5, 1.0, 1.5):
        spectrum = np.fft.rfft(rng.normal(size=len(t)))
        y = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 30.0) ** slope, len(t))
        sways = 1 + np.sin(2 * np.pi * rng.uniform(0.1, 3) * t)
        sounds += [y, y * sways, y * (np.sin(2 * np.pi * rng.uniform(1, 6) * t) > 0)]
    hz = rng.uniform(50, 2000, 4)
    sounds += [sum(np.sin(2 * np.pi * each * k * t) / k for k in (1, 2, 3)) for each in hz]
    sounds += [np.sin(2 * np.pi * each * t) * (t % 1 < 0.2) for each in hz]
    sounds += [(rng.random(len(t)) < rate).astype(float) for rate in (1e-4, 1e-3)]
    return [_wav(y / np.abs(y).max() * rng.uniform(0.1, 0.9)) for y in sounds]


def _wav(y: Floats) -> bytes:
    file = io.BytesIO()
    sf.write(file, y, 32000, format="WAV")
    return file.getvalue()
