"""Files that are made to harm: bombs, floods of tags, odd names."""

import io
import os
import socket
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile as sf
from mutagen.flac import FLAC
from mutagen.id3 import APIC, ID3, PRIV, TIT2

from tests.encoders import encode, sweep

RATE = 44100
BLOCK = 65535
"""The longest block of a flac: 13 bytes hold this many samples of silence."""


def _crc(data: bytes, bits: int, polynomial: int) -> bytes:
    """Return the checksum of flac, most significant bit first."""
    crc = 0
    for byte in data:
        crc ^= byte << (bits - 8)
        for _ in range(8):
            crc = (crc << 1) ^ (polynomial if crc >> (bits - 1) else 0)
            crc &= (1 << bits) - 1
    return crc.to_bytes(bits // 8)


def flac_bomb(hours: float, *, cut: bool = False) -> bytes:
    """Return silence as small as flac can hold it, 35 kB an hour; with `cut`, less than the header says.

    References
    ----------
    RFC 9639, section 9: frames with one constant subframe.
    """
    n_frames = round(hours * 3600 * RATE / BLOCK)
    # What is cut has to be walked through, and then nobody looks at the numbers of the frames.
    frames = _flac_frame(0) * n_frames if cut else b"".join(map(_flac_frame, range(n_frames)))
    n_samples = n_frames * BLOCK + (RATE * 3600 if cut else 0)
    facts = (RATE << 44 | 15 << 36 | n_samples % (1 << 36)).to_bytes(8)
    streaminfo = BLOCK.to_bytes(2) * 2 + bytes(6) + facts + bytes(16)
    return b"fLaC\x80" + len(streaminfo).to_bytes(3) + streaminfo + frames


def _flac_frame(number: int) -> bytes:
    header = b"\xff\xf8\x70\x00" + chr(number).encode("utf-8", "surrogatepass") + (BLOCK - 1).to_bytes(2)
    frame = header + _crc(header, 8, 0x07) + bytes(3)
    return frame + _crc(frame, 16, 0x8005)


def mp3_bomb(hours: float) -> bytes:
    """Return an mp3 of silence, its frames again and again under the header of one of them."""
    second = encode(np.zeros((RATE, 1), np.float32), RATE, "mp3")
    return second * round(hours * 3600)


def chained(form: str, hours: float) -> bytes:
    """Return minutes of silence in an ogg, one stream after the other."""
    rate = 48000 if form == "opus" else RATE
    minute = encode(np.zeros((60 * rate, 1), np.float32), rate, form)
    return minute * round(hours * 60)


def synchsafe(number: int) -> bytes:
    """Return a number as ID3 writes lengths, seven bits a byte."""
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def tag_bomb(n_bytes: int) -> bytes:
    """Return an mp3 whose title is compressed and unpacks to `n_bytes` of zeros."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 24)) for _ in range(n_bytes >> 24)) + packer.flush()
    frame = b"TIT2" + synchsafe(len(packed) + 4) + b"\x00\x09" + synchsafe(1 << 20) + packed
    return b"ID3\x04\x00\x00" + synchsafe(len(frame)) + frame + encode(sweep(RATE, 3), RATE, "mp3")


def with_id3(*frames: object) -> bytes:
    """Return an mp3 with these ID3 frames."""
    file = io.BytesIO(encode(sweep(RATE, 3), RATE, "mp3"))
    tags = ID3()
    for frame in frames:
        tags.add(frame)
    tags.save(file)
    return file.getvalue()


EVIL_TEXT = "\x1b[31mred\x1b[0m\nline \x07 \u202egpj.exe \x00 end"
LONG_TEXT = "long " * 20_000


def evil_tags() -> bytes:
    """Return a flac whose tags steer terminals, are very long, or are many."""
    file = io.BytesIO(encode(sweep(RATE, 3), RATE, "flac"))
    track = FLAC(file)
    track["artist"], track["album"] = EVIL_TEXT, LONG_TEXT
    track["genre"] = [f"genre {number}" for number in range(500)]
    file.seek(0)
    track.save(file)
    return file.getvalue()


def broken_floats() -> bytes:
    """Return a float wav of which a half is no number, infinite, or absurd."""
    y = sweep(RATE, 4, 2)
    for first, value in ((0, np.nan), (RATE, np.inf), (RATE + 9000, -np.inf), (2 * RATE, 3e38)):
        y[first : first + 8000] = value
    return encode(y, RATE, "wavfloat")


def wide_wav(seconds: float) -> bytes:
    """Return a wav of 192 kHz and 32 channels: 12 MB a second."""
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    with sf.SoundFile(file, "w", 192_000, 32, "PCM_16", format="WAVEX") as sound:
        for _ in range(round(seconds * 10)):
            sound.write(rng.integers(-9000, 9000, (19_200, 32), np.int16))
    return file.getvalue()


LABELED: dict[str, Callable[[], bytes]] = {
    "ten hours.flac": lambda: flac_bomb(10),
    "an hour, cut.flac": lambda: flac_bomb(1, cut=True),
    "an hour.mp3": lambda: mp3_bomb(1),
    "an hour.ogg": lambda: chained("vorbis", 1),
    "an hour.opus": lambda: chained("opus", 1),
    "wide.wav": lambda: wide_wav(3),
    "floats.wav": broken_floats,
    "evil tags.flac": evil_tags,
    "cover.mp3": lambda: with_id3(
        APIC(mime="image/png", type=3, data=bytes(12 << 20)), TIT2(encoding=3, text=["Cover"])
    ),
    "private.mp3": lambda: with_id3(
        *(PRIV(owner=f"{n}", data=bytes(500_000)) for n in range(30)), TIT2(encoding=3, text=["Private"])
    ),
    "n" * 251 + ".wav": lambda: encode(sweep(RATE, 3), RATE, "wav"),
    "\x1b[31mred\n\t\x07.wav": lambda: encode(sweep(RATE, 3), RATE, "wav"),
    "-rf --help $(reboot) `x` ; '\" %s {0} [b].wav": lambda: encode(sweep(RATE, 3), RATE, "wav"),
    "album.mp3/track.wav": lambda: encode(sweep(RATE, 3), RATE, "wav"),
    "tag bomb.mp3": lambda: tag_bomb(1 << 30),
    "tag flood.mp3": lambda: with_id3(TIT2(encoding=0, text=["\0" * (12 << 20)])),
}
"""Files that harm nobody, and have audio to be labeled."""


def absurd_wav(rate: int) -> tuple[bytes, int]:
    """Return the header of half a minute of 8-bit silence at an absurd rate, and the length of the file."""
    header = bytearray(encode(np.zeros((1, 1), np.float32), 8000, "wav8")[:44])
    header[24:32] = rate.to_bytes(4, "little") * 2
    header[40:44] = (30 * rate).to_bytes(4, "little")
    return bytes(header), 44 + 30 * rate


def write_sparse(path: Path, header: bytes, size: int) -> None:
    """Write a file that takes no room on the disk."""
    path.write_bytes(header)
    os.truncate(path, size)


FAILING = {"absurd.wav": "TooMuchMemoryError", "weeks.flac": "TimedOutError"}
"""Files that take what nobody has, and what becomes of them."""

STRANGE = {
    "pipe.wav": "NotAFileError",
    "socket.wav": "NotAFileError",
    "zero.wav": "NotAFileError",
    "dangling.mp3": "NotFoundError",
    "self.mp3": "NotFoundError",
}
"""What has the name of a track and is no file."""


def write_hostile_catalog(folder: Path) -> None:
    """Write all of the above, a name that is no UTF-8, and a loop of links."""
    folder.mkdir()
    for name, make in LABELED.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(make())
    write_sparse(folder / "absurd.wav", *absurd_wav(20_000_000))
    (folder / "weeks.flac").write_bytes(flac_bomb(400, cut=True))
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.wav")).write_bytes(encode(sweep(RATE, 3), RATE, "wav"))
    os.mkfifo(folder / "pipe.wav")
    with socket.socket(socket.AF_UNIX) as bound:
        here = Path.cwd()
        os.chdir(folder)  # a socket's path may have no more than 107 bytes
        bound.bind("socket.wav")
        os.chdir(here)
    (folder / "zero.wav").symlink_to("/dev/zero")
    (folder / "dangling.mp3").symlink_to(folder / "nowhere.mp3")
    (folder / "self.mp3").symlink_to(folder / "self.mp3")
    (folder / "loop").symlink_to(folder)
