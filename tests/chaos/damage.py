"""The bad files of a chaos catalog, and the failure that each must become."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.encoders import encode, sweep
from tests.hostile import absurd_wav, flac_bomb, write_sparse

RATE = 44100

EXPECTED = {
    "empty": "EmptyFileError",
    "header cut off": "DecodeError",
    "cut short": "TooShortError",
    "text": "DecodeError",
    "zeros": "DecodeError",
    "garbled": "DecodeError",
    "header of hours without samples": "DecodeError",
    "link to nothing": "NotFoundError",
    "link to itself": "NotFoundError",
    "pipe": "NotAFileError",
    "20 MHz": "TooMuchMemoryError",
    "crashes the decoder": "DecoderCrashedError",
    "decodes forever": "TimedOutError",
}
"""The error type of each kind of bad file in the table of failures."""

CRASHES = "crashes the decoder"
"""Its bytes decode for minutes, long enough for `tests.chaos.watch` to crash the decoding process."""

ENDLESS = "decodes forever"


def write_bad(path: Path, kind: str, rng: np.random.Generator) -> None:
    """Write a bad file of a kind of `EXPECTED`."""
    _WRITERS[kind](path, rng)


def _write_bytes(make: Callable[[np.random.Generator], bytes]) -> Callable[[Path, np.random.Generator], None]:
    def write(path: Path, rng: np.random.Generator) -> None:
        path.write_bytes(make(rng))

    return write


def _song(form: str, rng: np.random.Generator, duration_s: float = 3.0) -> bytes:
    y = sweep(RATE, duration_s, 2)
    return encode(y + rng.normal(0, 0.02, y.shape).astype(np.float32), RATE, form)


def _garbled(rng: np.random.Generator) -> bytes:
    """Return the first bytes of a real file, with noise in place of its headers and audio."""
    return _song("flac", rng)[:4] + rng.bytes(40_000)


def _header_of_hours(rng: np.random.Generator) -> bytes:
    """Return a wav header that promises three hours of samples, without any samples."""
    header = bytearray(_song("wav", rng)[:44])
    n_bytes = 3 * 3600 * RATE * 4
    header[4:8], header[40:44] = (
        (n_bytes + 36).to_bytes(4, "little"),
        n_bytes.to_bytes(4, "little"),
    )
    return bytes(header)


def endless_flac() -> bytes:
    """Return weeks of silence in 13 MB, with a wrong header, so that counting the samples takes minutes."""
    return flac_bomb(400, cut=True)


_WRITERS: dict[str, Callable[[Path, np.random.Generator], None]] = {
    "empty": _write_bytes(lambda rng: b""),
    "header cut off": _write_bytes(
        lambda rng: _song(str(rng.choice(("wav", "flac", "m4a", "mp3"))), rng)[:20]
    ),
    "cut short": _write_bytes(lambda rng: _song(str(rng.choice(("wav", "flac", "mp3"))), rng, 2.0)[:14_000]),
    "text": _write_bytes(lambda rng: b"This text file is named like a track.\n" * int(rng.integers(1, 99))),
    "zeros": _write_bytes(lambda rng: bytes(int(rng.integers(1_000, 100_000)))),
    "garbled": _write_bytes(_garbled),
    "header of hours without samples": _write_bytes(_header_of_hours),
    "link to nothing": lambda path, rng: path.symlink_to(path.with_name("gone")),
    "link to itself": lambda path, rng: path.symlink_to(path),
    "pipe": lambda path, rng: os.mkfifo(path),
    "20 MHz": lambda path, rng: write_sparse(path, *absurd_wav(20_000_000)),
    CRASHES: _write_bytes(lambda rng: endless_flac()),
    ENDLESS: _write_bytes(lambda rng: endless_flac()),
}
