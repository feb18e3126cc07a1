"""A small catalog that changes over three nights, with the same sizes and times on every machine."""

import os
import wave
from pathlib import Path

import numpy as np

GENRES = ("blues", "jazz", "rock")
RATE = 22050
WRITTEN_AT = 1_767_225_600
"""2026-01-01. Size and modification time are the version of a local file."""

_NIGHTS: tuple[dict[str, float | bytes | None], ...] = (
    {
        "blues/one.wav": 3.0,
        "blues/two.wav": 4.0,
        "jazz/one.wav": 3.5,
        "jazz/two.wav": 65.0,
        "broken.mp3": b"liner notes, not music",
        "empty.mp3": b"",
    },
    {"blues/one.wav": None, "blues/three.wav": 3.0, "jazz/two.wav": 4.5},
    {"jazz/three.wav": 3.0, "blues/two.wav": 5.0, "jazz/one.wav": None, "empty.mp3": 3.2},
)
"""By path: seconds of music, other content, or None for a deleted file."""


def write_night(folder: Path, night: int) -> None:
    """Apply the changes that precede night 0, 1 or 2."""
    for name, content in _NIGHTS[night].items():
        path = folder / name
        if content is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            _write_music(path, content)
        os.utime(path, (WRITTEN_AT + night, WRITTEN_AT + night))


def _write_music(path: Path, seconds: float) -> None:
    """Write plucked notes as 16-bit wav, without a library whose headers may change."""
    t = np.arange(round(seconds * RATE)) / RATE
    beat = t % 0.5
    y = np.exp(-6 * beat) * np.sin(2 * np.pi * 220 * (1 + np.floor(t / 0.5) % 4 / 4) * beat)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((y * 16000).astype("<i2").tobytes())
