"""Mutants: tagged files of all formats with seeded damage."""

import random
import tempfile
from collections.abc import Callable
from functools import cache
from typing import BinaryIO, cast

import numpy as np

from pipeline.audio.features.featurize import featurize_track
from pipeline.shards.limits import TrackLimits
from schemas.errors import ReadError, TrackError
from schemas.features import FeatureSpec
from tests.encoders import FORMS, encode, sweep
from tests.unit.test_tags import MUTAGEN, tagged

LIMITS = TrackLimits(timeout_s=60.0, memory_bytes=320 << 20)
SPEC = FeatureSpec(segment_s=1.0)
SEVERAL = {
    "chained vorbis": (("vorbis", 22050, 1), ("vorbis", 44100, 2), ("opus", 48000, 2)),
    "glued mp3": (("mp3", 22050, 1), ("mp3", 44100, 2)),
    "glued adts": (("adts", 22050, 1), ("adts", 44100, 2)),
}
"""Files of several streams: the format, the rate and the channels of each."""

KINDS = (
    *FORMS, "wavfloat", "wavulaw", "caf", "w64", "wavpack", "ac3", "oggflac", "mka", "mpegts", "tta",
    "spdif wav", *SEVERAL,
)  # fmt: skip
HEADER_BYTES = 2000
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

Damage = Callable[[bytearray, random.Random], None]


@cache
def original(kind: str) -> bytes:
    """Return a sound file of three seconds, with tags if mutagen can write them."""
    if kind in MUTAGEN:
        return tagged(kind, 3.0).getvalue()
    if kind in SEVERAL:
        return b"".join(encode(sweep(rate, 1.5, n), rate, form) for form, rate, n in SEVERAL[kind])
    if kind == "spdif wav":
        words = np.frombuffer(encode(sweep(48000, 3.0, 2), 48000, "spdif"), "<i2").reshape(-1, 2)
        return encode(words.astype(np.float32) / np.float32(32768), 48000, "wav")
    rate = 48000 if kind == "webm" else 44100
    return encode(sweep(rate, 3.0, 2), rate, kind)


def _position(data: bytearray, rng: random.Random) -> int:
    """Return a position, half of the time in the header, where damage does the most harm."""
    end = len(data) if rng.random() < 0.5 else min(len(data), HEADER_BYTES)
    return rng.randrange(max(1, end))


def _range(data: bytearray, rng: random.Random) -> tuple[int, int]:
    first = _position(data, rng)
    return first, min(len(data), first + rng.choice((1, 4, 16, 100, 1000, 10_000)))


def flip_bits(data: bytearray, rng: random.Random) -> None:
    """Flip single bits."""
    for _ in range(rng.choice((1, 3, 20))):
        data[_position(data, rng)] ^= 1 << rng.randrange(8)


def set_bytes(data: bytearray, rng: random.Random) -> None:
    """Write single random bytes."""
    for _ in range(rng.choice((1, 5, 50))):
        data[_position(data, rng)] = rng.randrange(256)


def set_number(data: bytearray, rng: random.Random) -> None:
    """Write an extreme number, possibly over a length or a count."""
    first, width = _position(data, rng), rng.choice((1, 2, 4, 8))
    number = rng.choice((*EXTREMES, len(data), rng.getrandbits(32))) % (1 << 8 * width)
    data[first : first + width] = number.to_bytes(width, rng.choice(("little", "big")))


def truncate(data: bytearray, rng: random.Random) -> None:
    """Cut the end off."""
    del data[_position(data, rng) + 1 :]


def zero(data: bytearray, rng: random.Random) -> None:
    """Write zeros over a range."""
    first, last = _range(data, rng)
    data[first:last] = bytes(last - first)


def remove(data: bytearray, rng: random.Random) -> None:
    """Remove a range."""
    first, last = _range(data, rng)
    del data[first:last]


def repeat(data: bytearray, rng: random.Random) -> None:
    """Repeat a range."""
    first, last = _range(data, rng)
    data[last:last] = data[first:last] * rng.choice((1, 1, 5, 200))


def overwrite(data: bytearray, rng: random.Random) -> None:
    """Copy a range over another position."""
    first, last = _range(data, rng)
    to = _position(data, rng)
    data[to : to + last - first] = data[first:last]


def splice(data: bytearray, rng: random.Random) -> None:
    """Insert a range of a file of another kind."""
    other = bytearray(original(rng.choice(KINDS)))
    first, last = _range(other, rng)
    at = _position(data, rng)
    data[at:at] = other[first:last]


DAMAGES: tuple[Damage, ...] = (
    flip_bits, set_bytes, set_number, set_number, truncate, zero, remove, repeat, overwrite, splice,
)  # fmt: skip


def mutant(seed: int, number: int) -> tuple[str, bytes]:
    """Return the kind and the bytes of a mutant; the same arguments give the same mutant."""
    rng = random.Random(f"{seed} {number}")
    kind = KINDS[number % len(KINDS)]
    data = bytearray(original(kind))
    for _ in range(rng.choice((1, 1, 2, 4))):
        if data:
            rng.choice(DAMAGES)(data, rng)
    return kind, bytes(data)


def _on_disk(data: bytes) -> BinaryIO:
    """Return a file on disk, which refuses seeks that BytesIO allows."""
    file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 (its user closes it)
    file.write(data)
    return file


def featurize_mutant(seed: int, number: int) -> str:
    """Featurize a mutant as a worker would, within `LIMITS`, and return ``ok`` or the type of its failure.

    Raises
    ------
    Exception
        Anything but a TrackError, which no track should cause.
    """
    kind, data = mutant(seed, number)
    try:
        with LIMITS.enforce(_on_disk(data), remote=False) as file:
            features = featurize_track(file, f"mutant {number}.{kind}", SPEC)
    except ReadError as error:
        raise RuntimeError(f"a disk was blamed: {error}") from error
    except TrackError as error:
        str(error).encode()
        return type(error).__name__
    for segment in features.segments:
        assert segment.log_mel is not None
        assert np.isfinite(segment.range_db)
    for text in (features.tags.artist, features.tags.album, features.tags.title, features.tags.genre_tag):
        assert text is None or text.encode()
    return "ok"
