"""Ten clearly different styles of music as tables: tempo, chords and a pattern for each instrument.

A pattern is one bar with one character per step: ``x`` is a hit, ``-`` a rest. Sixteen steps play straight,
twelve swing. A style is named after the music it imitates; a model trained on recordings may label it
differently.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Timbre:
    """The sound of a voice.

    Attributes
    ----------
    partials : tuple of float
        Amplitudes of the harmonics, the fundamental first.
    attack_s : float
        Length of the linear rise, in seconds.
    decay_s : float
        Time constant of the exponential decay, in seconds.
    drive : float
        Gain before a tanh over the mixed notes; 0 for a clean sound.
    """

    partials: tuple[float, ...]
    attack_s: float = 0.005
    decay_s: float = 0.5
    drive: float = 0.0


@dataclass(frozen=True, slots=True)
class Voice:
    """The part of an instrument: its pattern, its sound, and its octaves above the lowest note of the key."""

    pattern: str
    timbre: Timbre
    octave: int


@dataclass(frozen=True, slots=True)
class Style:
    """How a style is played.

    Attributes
    ----------
    bpm : tuple of float
        Slowest and fastest tempo in beats per minute; a bar has four beats.
    chords : tuple of (int, tuple of int)
        One per bar: the root in semitones above the key, and the notes of the chord above the root.
    bass, comp, lead : Voice
        The bass plays the notes of the chord in turn, the accompaniment the whole chord, and the lead a
        random walk over `scale`.
    drums : dict of str to str
        The pattern of each drum that plays, by its name in `pipeline.demo.synthesis.DRUMS`.
    scale : tuple of int
        Semitones above the key.
    """

    bpm: tuple[float, float]
    chords: tuple[tuple[int, tuple[int, ...]], ...]
    bass: Voice
    comp: Voice
    lead: Voice
    drums: dict[str, str] = field(default_factory=dict)
    scale: tuple[int, ...] = (0, 2, 4, 7, 9, 12, 14, 16)


_MAJOR, _MINOR, _POWER = (0, 4, 7), (0, 3, 7), (0, 7, 12)
_SEVENTH, _MINOR_SEVENTH = (0, 4, 7, 10), (0, 3, 7, 10)
_MINOR_PENTATONIC = (0, 3, 5, 7, 10, 12, 15, 17)
_TWELVE_BARS = tuple((root, _SEVENTH) for root in (0, 0, 0, 0, 5, 5, 0, 0, 7, 5, 0, 7))

_BASS = Timbre((1, 0.5, 0.25, 0.1), decay_s=0.35)
_SUB_BASS = Timbre((1, 0.1), decay_s=0.6, drive=2.0)
_UPRIGHT = Timbre((1, 0.35, 0.1), attack_s=0.01, decay_s=0.3)
_ORGAN = Timbre((1, 0.7, 0.4, 0.3, 0, 0.2), attack_s=0.01, decay_s=0.12)
_PIANO = Timbre((1, 0.5, 0.3, 0.2, 0.1, 0.05), decay_s=0.45)
_STRINGS = Timbre((1, 0.4, 0.2, 0.1), attack_s=0.5, decay_s=3.0)
_FLUTE = Timbre((1, 0.1, 0.03), attack_s=0.08, decay_s=1.0)
_REED = Timbre((1, 0.2, 0.6, 0.1, 0.3), attack_s=0.03, decay_s=0.5)
_STEEL_STRING = Timbre((1, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1), attack_s=0.002, decay_s=0.2)
_SAW = Timbre(tuple(1 / k for k in range(1, 11)), decay_s=0.25)
_SQUARE = Timbre((1, 0, 1 / 3, 0, 1 / 5, 0, 1 / 7), decay_s=0.3)
_OVERDRIVE = Timbre((1, 0.6, 0.4, 0.2), decay_s=0.6, drive=3.0)
_DISTORTION = Timbre((1, 0.7, 0.5, 0.3), decay_s=0.4, drive=12.0)

STYLES: dict[str, Style] = {
    "blues": Style(
        bpm=(70, 96),
        chords=_TWELVE_BARS,
        bass=Voice("x-xx-xx-xx-x", _BASS, 0),
        comp=Voice("---x-----x--", _ORGAN, 2),
        lead=Voice("x-x--x---x-x", _OVERDRIVE, 3),
        drums={"ride": "x-xx-xx-xx-x", "kick": "x-----x-----", "snare": "---x-----x--"},
        scale=_MINOR_PENTATONIC,
    ),
    "classical": Style(
        bpm=(54, 72),
        chords=((0, _MAJOR), (9, _MINOR), (5, _MAJOR), (7, _MAJOR)),
        bass=Voice("x-------", _STRINGS, 1),
        comp=Voice("x---x---", _STRINGS, 2),
        lead=Voice("x-x-xxx-", _FLUTE, 3),
    ),
    "country": Style(
        bpm=(104, 126),
        chords=((0, _MAJOR), (5, _MAJOR), (0, _MAJOR), (7, _MAJOR)),
        bass=Voice("x-------x-------", _UPRIGHT, 0),
        comp=Voice("----x-x-----x-xx", _STEEL_STRING, 2),
        lead=Voice("x-x-x---x-xxx---", _STEEL_STRING, 3),
        drums={"kick": "x-------x-------", "hat": "----x-------x---"},
    ),
    "disco": Style(
        bpm=(114, 124),
        chords=((0, _MINOR_SEVENTH), (5, _MINOR_SEVENTH), (10, _MAJOR), (7, _MINOR_SEVENTH)),
        bass=Voice("x-x-x-x-x-x-x-x-", _BASS, 0),
        comp=Voice("--x---x---x-x-x-", _SAW, 2),
        lead=Voice("x-----x---x-----", _STRINGS, 3),
        drums={"kick": "x---x---x---x---", "clap": "----x-------x---", "open_hat": "--x---x---x---x-"},
        scale=_MINOR_PENTATONIC,
    ),
    "hiphop": Style(
        bpm=(84, 96),
        chords=((0, _MINOR), (0, _MINOR), (8, _MAJOR), (0, _MINOR)),
        bass=Voice("x------x--x-----", _SUB_BASS, 0),
        comp=Voice("x---------------", _PIANO, 2),
        lead=Voice("--x---x-----x---", _PIANO, 3),
        drums={"kick": "x------x--x-----", "snare": "----x-------x---", "hat": "x-x-x-x-x-x-x-xx"},
        scale=_MINOR_PENTATONIC,
    ),
    "jazz": Style(
        bpm=(150, 210),
        chords=((2, _MINOR_SEVENTH), (7, _SEVENTH), (0, _MAJOR), (9, _MINOR_SEVENTH)),
        bass=Voice("x--x--x--x--", _UPRIGHT, 0),
        comp=Voice("--x-----x---", _PIANO, 2),
        lead=Voice("x-xx--x-xx-x", _REED, 3),
        drums={"ride": "x--x-xx--x-x", "hat": "---x-----x--", "kick": "x-----------"},
    ),
    "metal": Style(
        bpm=(150, 190),
        chords=((0, _POWER), (0, _POWER), (1, _POWER), (3, _POWER)),
        bass=Voice("xxxxxxxxxxxxxxxx", _BASS, 0),
        comp=Voice("x-xxx-xxx-xxx-xx", _DISTORTION, 1),
        lead=Voice("x---x---x-x-x---", _DISTORTION, 3),
        drums={"kick": "xxxxxxxxxxxxxxxx", "snare": "----x-------x---", "crash": "x-------x-------"},
        scale=_MINOR_PENTATONIC,
    ),
    "pop": Style(
        bpm=(100, 128),
        chords=((0, _MAJOR), (7, _MAJOR), (9, _MINOR), (5, _MAJOR)),
        bass=Voice("x--x--x-x--x--x-", _BASS, 0),
        comp=Voice("x---x---x---x---", _PIANO, 2),
        lead=Voice("x-x-x--xx-x-x---", _SQUARE, 3),
        drums={"kick": "x-----x-x-------", "clap": "----x-------x---", "hat": "x-x-x-x-x-x-x-x-"},
    ),
    "reggae": Style(
        bpm=(68, 84),
        chords=((0, _MINOR), (5, _MINOR), (0, _MINOR), (7, _MINOR)),
        bass=Voice("--x-x-x---x-xx--", _SUB_BASS, 0),
        comp=Voice("----x-------x---", _ORGAN, 2),
        lead=Voice("x---x-x-----x---", _FLUTE, 3),
        drums={"kick": "--------x-------", "snare": "--------x-------", "hat": "x-x-x-x-x-x-x-x-"},
        scale=_MINOR_PENTATONIC,
    ),
    "rock": Style(
        bpm=(112, 140),
        chords=((0, _POWER), (10, _POWER), (5, _POWER), (0, _POWER)),
        bass=Voice("x-x-x-x-x-x-x-x-", _BASS, 0),
        comp=Voice("x-xx--x-x-xx--x-", _OVERDRIVE, 1),
        lead=Voice("x---x-x-x---x-xx", _OVERDRIVE, 3),
        drums={"kick": "x-----x-x-x-----", "snare": "----x-------x---", "hat": "x-x-x-x-x-x-x-x-"},
    ),
}
