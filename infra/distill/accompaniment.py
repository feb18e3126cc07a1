"""Music that no game has: accompaniments in the styles of MMA (Debian package ``mma``), played by FluidSynth.

Its 280 files of styles hold reggae, disco, country, swing, hip hop, salsa, polka and more, which the free
music of games lacks. Chords, key and tempo are drawn at random.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

_PROGRESSIONS = (
    ("I", "V", "vi", "IV"),
    ("I", "IV", "V", "I"),
    ("ii7", "V7", "IM7", "IM7"),
    ("I7", "I7", "IV7", "I7", "V7", "IV7", "I7", "V7"),
    ("vi", "IV", "I", "V"),
    ("i", "VI", "VII", "i"),
    ("i", "iv", "V7", "i"),
    ("I", "vi", "ii", "V7"),
    ("i", "VII", "VI", "V7"),
    ("I", "I", "IV", "V"),
)
_DEGREES = {"i": 0, "ii": 2, "iv": 5, "v": 7, "vi": 9, "vii": 11}
_MINOR_DEGREES = {"i": 0, "ii": 2, "iv": 5, "v": 7, "vi": 8, "vii": 10}
_NAMES = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
_MELODY = ("Trumpet", "AltoSax", "ElectricGuitar", "Piano1", "Violin", "Flute", "SquareWave", "VoiceOohs")
_BARS = 16
_TIMEOUT_S = 60


def grooves(library: Path) -> dict[str, list[str]]:
    """Return the grooves that each file of MMA's library defines, by its path there."""
    found = {}
    for path in sorted(library.rglob("*.mma")):
        names = re.findall(r"(?mi)^\s*DefGroove\s+([\w.+-]+)", path.read_text("latin-1"))
        usual = [name for name in names if not re.search(r"(?i)end|intro|fill|none|metro", name)]
        if usual:
            found[str(path.relative_to(library).with_suffix(""))] = usual
    return found


def render(root: Path, sound_font: Path, per_style: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Play pieces in every style.

    Parameters
    ----------
    root : Path
        Where the packages ``mma`` and ``fluidsynth`` were unpacked.
    sound_font : Path
        The instruments, such as ``FluidR3_GM.sf2``.
    per_style : int
        Pieces of each file of styles.
    seed : int
        Chooses chords, keys, tempos and melodies.

    Yields
    ------
    name, data : str and bytes
        The style with a number, and a WAV file at 32 kHz. Styles that MMA cannot play are passed over.
    """
    rng = np.random.default_rng(seed)
    styles = list(grooves(root / "usr/share/mma/lib").items())
    for number in range(per_style):
        for place in rng.permutation(len(styles)):
            style, names = styles[place]
            song = _song(str(rng.choice(names)), style, rng)
            if (data := _play(song, root, sound_font)) is not None:
                yield f"{style}-{number}", data


def _song(groove: str, style: str, rng: np.random.Generator) -> str:
    key, chords = int(rng.integers(12)), _PROGRESSIONS[int(rng.integers(len(_PROGRESSIONS)))]
    lines = [f"Use {style}", f"Groove {groove}", f"Tempo *{rng.uniform(0.85, 1.15):.2f}"]
    if rng.random() < 0.6:
        lines += [
            f"Begin Scale-Lead\n Voice {rng.choice(_MELODY)}\n Octave 6\n Articulate 90",
            f" Sequence {{1 {rng.choice([4, 8])} 80 * {rng.choice([4, 8])}}}",
            f" Direction Random\n Volume {rng.choice(['mp', 'mf', 'f'])}",
            f" RSkip {rng.choice([10, 30, 50])}\nEnd",
        ]
    bars = [_chord(chords[bar % len(chords)], key) for bar in range(_BARS)]
    return "\n".join([*lines, *(f"{bar + 1} {chord}" for bar, chord in enumerate(bars))]) + "\n"


def _chord(numeral: str, key: int) -> str:
    match = re.fullmatch(r"([iv]+|[IV]+)(.*)", numeral)
    if match is None:
        raise ValueError(f"{numeral} is no chord")
    degree, kind = match.groups()
    minor = degree.islower()
    degrees = _MINOR_DEGREES if degree in ("VI", "VII") else _DEGREES
    return f"{_NAMES[(key + degrees[degree.lower()]) % 12]}{'m' if minor else ''}{kind}"


def _play(song: str, root: Path, sound_font: Path) -> bytes | None:
    library = root / "usr/share/mma"  # where MMA looks for itself
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/nonexistent",
        "LD_LIBRARY_PATH": str(root / "usr/lib/x86_64-linux-gnu"),
    }
    with tempfile.TemporaryDirectory(prefix="earmark-mma-") as scratch:
        written, midi, wav = (Path(scratch) / f"song.{kind}" for kind in ("mma", "mid", "wav"))
        written.write_text(song)
        make = [str(root / "usr/bin/mma"), "-f", str(midi), str(written)]
        play = [str(root / "usr/bin/fluidsynth"), "-ni", "-r", "32000", "-g", "0.6", "-F", str(wav)]
        for command in (make, [*play, str(sound_font), str(midi)]):
            try:
                subprocess.run(  # noqa: S603 - all words are ours
                    command, env=environment, cwd=library, check=True, capture_output=True, timeout=_TIMEOUT_S
                )
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
                return None
        return wav.read_bytes() if wav.is_file() else None
