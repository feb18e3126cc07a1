"""What is wrong with the bad files of a chaos catalog, and the failure that each must end as."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.encoders import encode, sweep

RATE = 44100
_FLAC_INFO_BYTES = 42
"""The magic and the first block, which is there in every FLAC."""

EXPECTED = {
    "empty": "EmptyFileError",
    "header cut off": "DecodeError",
    "cut short": "TooShortError",
    "text": "DecodeError",
    "zeros": "DecodeError",
    "garbled": "DecodeError",
    "hours claimed, none there": "DecodeError",
    "link to nothing": "NotFoundError",
    "link to itself": "NotFoundError",
    "a gigabyte of pictures": "TooMuchMemoryError",
    "crashes the decoder": "DecoderCrashedError",
    "decodes for ever": "TimedOutError",
}
"""The error type that a file of each kind must be named with in the table of failures."""

CRASHES = "crashes the decoder"
"""Its bytes decode for minutes: long enough for `tests.chaos.watch` to end whatever process decodes them."""

ENDLESS = "decodes for ever"


def write_bad(path: Path, kind: str, rng: np.random.Generator) -> None:
    """Write a bad file of a kind of `EXPECTED`."""
    _WRITERS[kind](path, rng)


def _bytes(make: Callable[[np.random.Generator], bytes]) -> Callable[[Path, np.random.Generator], None]:
    def write(path: Path, rng: np.random.Generator) -> None:
        path.write_bytes(make(rng))

    return write


def _song(form: str, rng: np.random.Generator, duration_s: float = 3.0) -> bytes:
    y = sweep(RATE, duration_s, 2)
    return encode(y + rng.normal(0, 0.02, y.shape).astype(np.float32), RATE, form)


def _garbled(rng: np.random.Generator) -> bytes:
    """A real file's first bytes, and noise where its headers and its audio were."""
    return _song("flac", rng)[:4] + rng.bytes(40_000)


def _claims_hours(rng: np.random.Generator) -> bytes:
    """A wav header that promises three hours of samples, and not one of them."""
    header = bytearray(_song("wav", rng)[:44])
    n_bytes = 3 * 3600 * RATE * 4
    header[4:8], header[40:44] = (n_bytes + 36).to_bytes(4, "little"), n_bytes.to_bytes(4, "little")
    return bytes(header)


def _write_pictures(path: Path, rng: np.random.Generator) -> None:
    """A FLAC with sixty pictures of 16 MB of zeros before its audio: sparse, so it takes no such place."""
    song = _song("flac", rng)
    audio = song.index(b"\xff\xf8", _FLAC_INFO_BYTES)
    size = (1 << 24) - 1
    picture = (3).to_bytes(4, "big") + (10).to_bytes(4, "big") + b"image/jpeg" + bytes(20)
    picture += (size - len(picture) - 4).to_bytes(4, "big")
    with path.open("wb") as file:
        file.write(song[:_FLAC_INFO_BYTES])
        for _ in range(60):
            file.write(b"\6" + size.to_bytes(3, "big") + picture)
            file.seek(size - len(picture), os.SEEK_CUR)
        file.write(b"\x81" + (16).to_bytes(3, "big") + bytes(16))  # the last block: padding
        file.write(song[audio:])


def endless_flac(n_frames: int = 40_000, n_channels: int = 8) -> bytes:
    """A small FLAC of many silent frames, each 65,535 samples of each channel in 38 bytes.

    Its header promises more samples than there are, so that they have to be counted, which takes minutes.
    """
    claimed = (1 << 36) - 1
    facts = RATE << 44 | (n_channels - 1) << 41 | 15 << 36 | claimed
    info = (65535).to_bytes(2, "big") * 2 + bytes(6) + facts.to_bytes(8, "big") + bytes(16)
    head = b"fLaC" + bytes((0x80, 0, 0, len(info))) + info
    return head + b"".join(_silent_frame(number, n_channels) for number in range(n_frames))


def _silent_frame(number: int, n_channels: int) -> bytes:
    """A FLAC frame of constant subframes; its number is coded as UTF-8 codes characters (RFC 9639, 9.1)."""
    header = bytes((0xFF, 0xF8, 0x70, n_channels - 1 << 4)) + chr(number).encode() + b"\xff\xfe"
    header += _crc(header, 0x07, 8).to_bytes(1, "big")
    frame = header + bytes(3 * n_channels)
    return frame + _crc(frame, 0x8005, 16).to_bytes(2, "big")


def _crc(data: bytes, polynomial: int, n_bits: int) -> int:
    top, mask, value = 1 << n_bits - 1, (1 << n_bits) - 1, 0
    for byte in data:
        value ^= byte << n_bits - 8
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value & top else 0)) & mask
    return value


_WRITERS: dict[str, Callable[[Path, np.random.Generator], None]] = {
    "empty": _bytes(lambda rng: b""),
    "header cut off": _bytes(lambda rng: _song(str(rng.choice(("wav", "flac", "m4a", "mp3"))), rng)[:20]),
    "cut short": _bytes(lambda rng: _song(str(rng.choice(("wav", "flac", "mp3"))), rng, 2.0)[:14_000]),
    "text": _bytes(
        lambda rng: b"This text has the name of a track and is none.\n" * int(rng.integers(1, 99))
    ),
    "zeros": _bytes(lambda rng: bytes(int(rng.integers(1_000, 100_000)))),
    "garbled": _bytes(_garbled),
    "hours claimed, none there": _bytes(_claims_hours),
    "link to nothing": lambda path, rng: path.symlink_to(path.with_name("gone")),
    "link to itself": lambda path, rng: path.symlink_to(path),
    "a gigabyte of pictures": _write_pictures,
    CRASHES: _bytes(lambda rng: endless_flac()),
    ENDLESS: _bytes(lambda rng: endless_flac()),
}
