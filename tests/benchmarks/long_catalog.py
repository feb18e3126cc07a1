"""A catalog of mp3s of usual length for benchmarks, written in seconds instead of encoded for an hour.

Passages of a few seconds are synthesized and encoded once, and a track is a long, seeded sequence of them.
Every file has different content, and costs as much to decode as any mp3 of its length and bit rate.
"""

import io
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import soundfile as sf
from mutagen.id3 import ID3, TALB, TCON, TDRC, TIT2, TPE1, TRCK

from pipeline.demo.styles import STYLES
from pipeline.demo.synthesis import synthesize

SR = 44100
SHORTEST_S, LONGEST_S = 180.0, 300.0

_FRAME_S = 1152 / SR
_PASSAGE_S = 4
_PASSAGES_A_STYLE = 4
_STYLES_A_TRACK = 3
_VBR_QUALITY = 0.2  # libsndfile's scale; about 190 kbit/s on this music
_KBITS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)


def write_long_catalog(folder: Path, *, n_tracks: int = 300, seed: int = 0) -> int:
    """Write `n_tracks` mp3s of 3 to 5 minutes: 44.1 kHz stereo, VBR of about 190 kbit/s, tagged.

    Parameters
    ----------
    folder : Path
        A new or empty folder; it gets a folder for every ten tracks, at about 5.5 MB per track.
    n_tracks : int
        Number of files.
    seed : int
        Determines passages and lengths: the same seed gives the same bytes.

    Returns
    -------
    int
        Number of bytes written.
    """
    with ThreadPoolExecutor(4) as pool:
        passages = list(pool.map(partial(_encode_passages, seed=seed), STYLES))
    rng = np.random.default_rng(seed)
    size = 0
    for i in range(n_tracks):
        styles = rng.choice(len(passages), _STYLES_A_TRACK, replace=False)
        choices = [passage for style in styles for passage in passages[style]]
        frames: list[bytes] = []
        duration_s = rng.uniform(SHORTEST_S + _PASSAGE_S, LONGEST_S - _PASSAGE_S)
        while len(frames) * _FRAME_S < duration_s:
            frames += choices[rng.integers(len(choices))]
        album = folder / f"Artist {i // 10:03d}" / f"Album {i // 10:03d}"
        album.mkdir(parents=True, exist_ok=True)
        path = album / f"{i % 10 + 1:02d} Track {i:05d}.mp3"
        size += path.write_bytes(_id3(i, list(STYLES)[styles[0]]) + _xing_frame(frames) + b"".join(frames))
    return size


def write_long_mp3(path: Path, one: Path, *, hours: float) -> None:
    """Write an mp3 of this many hours, with a correct header, by repeating the frames of `one`."""
    data = one.read_bytes()
    frames = _split_frames(data[ID3(one).size :])[1:]  # the first one is the header
    frames *= round(hours * 3600 / (len(frames) * _FRAME_S))
    path.write_bytes(_id3(0, "long") + _xing_frame(frames) + b"".join(frames))


def write_named_catalog(folder: Path, *, n_tracks: int, n_names: int) -> int:
    """Write `n_tracks` mp3s as `write_long_catalog` does, each under `n_names` names; return their bytes.

    Names are hard links: a longer run takes no more space.
    """
    size = write_long_catalog(folder / "0", n_tracks=n_tracks)
    for name in range(1, n_names):
        shutil.copytree(folder / "0", folder / str(name), copy_function=os.link)
    return size


def _encode_passages(style: str, *, seed: int) -> list[list[bytes]]:
    """Return passages as lists of mp3 frames. Each is encoded alone and needs no earlier frames."""
    y = synthesize(style, seed=[seed], duration_s=_PASSAGES_A_STYLE * _PASSAGE_S, sr=SR)
    passages = []
    for passage in np.split(y, _PASSAGES_A_STYLE):
        file = io.BytesIO()
        sf.write(file, passage, SR, format="MP3", bitrate_mode="VARIABLE", compression_level=_VBR_QUALITY)
        passages.append(_split_frames(file.getvalue())[1:])  # the first holds the encoder's own Xing header
    return passages


def _split_frames(mp3: bytes) -> list[bytes]:
    """Cut an MPEG-1 layer III stream at 44.1 kHz into its frames."""
    frames, start = [], 0
    while start < len(mp3):
        kbits, padding = _KBITS[mp3[start + 2] >> 4], mp3[start + 2] >> 1 & 1
        length = 144 * 1000 * kbits // SR + padding
        frames.append(mp3[start : start + length])
        start += length
    return frames


def _xing_frame(frames: list[bytes]) -> bytes:
    """Return the header frame of a VBR file: frames, bytes, a seek table of 100 entries and the quality."""
    header = bytes((0xFF, 0xFB, 0x90, 0x40))  # MPEG-1 layer III, 128 kbit/s, 44.1 kHz, joint stereo
    length = 144 * 128000 // SR
    ends = length + np.cumsum([len(frame) for frame in frames])
    positions = ends[np.arange(100) * len(frames) // 100]
    seek_table: bytes = (positions * 255 // ends[-1]).astype(np.uint8).tobytes()
    counts = len(frames).to_bytes(4, "big") + int(ends[-1]).to_bytes(4, "big")
    scale = round(100 * (1 - _VBR_QUALITY)).to_bytes(4, "big")
    return (header + bytes(32) + b"Xing" + b"\0\0\0\x0f" + counts + seek_table + scale).ljust(length, b"\0")


def _id3(i: int, style: str) -> bytes:
    tags = ID3()
    for frame, text in (
        (TPE1, f"Artist {i // 10:03d}"),
        (TALB, f"Album {i // 10:03d}"),
        (TIT2, f"Track {i:05d}"),
        (TRCK, str(i % 10 + 1)),
        (TDRC, str(1960 + i // 10 % 60)),
        (TCON, style),
    ):
        tags.add(frame(text=[text]))
    file = io.BytesIO()
    tags.save(file)
    return file.getvalue()
