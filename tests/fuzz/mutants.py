"""Mutants: real files of all formats, tagged, with seeded damage."""

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
"""Files of several streams: the form, the rate and the channels of each."""

KINDS = (*FORMS, "wavfloat", "wavulaw", "caf", "w64", "wavpack", "ac3", "oggflac", "mka", "mpegts", "tta")
KINDS += ("spdif wav", *SEVERAL)
HEADER_BYTES = 2000
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

Damage = Callable[[bytearray, random.Random], None]


@cache
def original(kind: str) -> bytes:
    """Return a sound file of three seconds, with tags where mutagen writes them."""
    if kind in MUTAGEN:
        return tagged(kind, 3.0).getvalue()
    if kind in SEVERAL:
        return b"".join(encode(sweep(rate, 1.5, n), rate, form) for form, rate, n in SEVERAL[kind])
    if kind == "spdif wav":
        words = np.frombuffer(encode(sweep(48000, 3.0, 2), 48000, "spdif"), "<i2").reshape(-1, 2)
        return encode(words.astype(np.float32) / 32768, 48000, "wav")
    rate = 48000 if kind == "webm" else 44100
    return encode(sweep(rate, 3.0, 2), rate, kind)


def _place(data: bytearray, chance: random.Random) -> int:
    """Return a position, as often as not in the header, where the damage is worst."""
    most = len(data) if chance.random() < 0.5 else min(len(data), HEADER_BYTES)
    return chance.randrange(max(1, most))


def _range(data: bytearray, chance: random.Random) -> tuple[int, int]:
    first = _place(data, chance)
    return first, min(len(data), first + chance.choice((1, 4, 16, 100, 1000, 10_000)))


def flip_bits(data: bytearray, chance: random.Random) -> None:
    """Flip a bit here and there."""
    for _ in range(chance.choice((1, 3, 20))):
        data[_place(data, chance)] ^= 1 << chance.randrange(8)


def set_bytes(data: bytearray, chance: random.Random) -> None:
    """Write random bytes here and there."""
    for _ in range(chance.choice((1, 5, 50))):
        data[_place(data, chance)] = chance.randrange(256)


def set_number(data: bytearray, chance: random.Random) -> None:
    """Write an extreme number where a length or a count may stand."""
    first, width = _place(data, chance), chance.choice((1, 2, 4, 8))
    number = chance.choice((*EXTREMES, len(data), chance.getrandbits(32))) % (1 << 8 * width)
    data[first : first + width] = number.to_bytes(width, chance.choice(("little", "big")))


def truncate(data: bytearray, chance: random.Random) -> None:
    """Cut the end off."""
    del data[_place(data, chance) + 1 :]


def zero(data: bytearray, chance: random.Random) -> None:
    """Write zeros over a range."""
    first, last = _range(data, chance)
    data[first:last] = bytes(last - first)


def remove(data: bytearray, chance: random.Random) -> None:
    """Take a range out."""
    first, last = _range(data, chance)
    del data[first:last]


def repeat(data: bytearray, chance: random.Random) -> None:
    """Repeat a range."""
    first, last = _range(data, chance)
    data[last:last] = data[first:last] * chance.choice((1, 1, 5, 200))


def move(data: bytearray, chance: random.Random) -> None:
    """Write a range over another place."""
    first, last = _range(data, chance)
    to = _place(data, chance)
    data[to : to + last - first] = data[first:last]


def splice(data: bytearray, chance: random.Random) -> None:
    """Put a range of a file of another kind in."""
    other = bytearray(original(chance.choice(KINDS)))
    first, last = _range(other, chance)
    at = _place(data, chance)
    data[at:at] = other[first:last]


DAMAGES: tuple[Damage, ...] = (
    flip_bits, set_bytes, set_number, set_number, truncate, zero, remove, repeat, move, splice,
)  # fmt: skip


def mutant(seed: int, number: int) -> tuple[str, bytes]:
    """Return the kind and the bytes of a mutant; the same numbers always give the same."""
    chance = random.Random(f"{seed} {number}")
    kind = KINDS[number % len(KINDS)]
    data = bytearray(original(kind))
    for _ in range(chance.choice((1, 1, 2, 4))):
        if data:
            chance.choice(DAMAGES)(data, chance)
    return kind, bytes(data)


def _on_disk(data: bytes) -> BinaryIO:
    """Return a real file, which refuses places that bytes in memory allow to seek to."""
    file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 (its user closes it)
    file.write(data)
    return file


def featurize_mutant(seed: int, number: int) -> str:
    """Featurize a mutant as a worker would, within `LIMITS`; ``ok`` or the kind of its failure.

    Raises
    ------
    Exception
        What is no TrackError: no track may cause that.
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
