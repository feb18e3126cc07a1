"""The chaos catalog: hundreds of short, tagged tracks from real encoders, and a share of bad files."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import mutagen
import numpy as np
from mutagen.id3 import ID3, TIT2, TPE1
from mutagen.wave import WAVE
from numpy.typing import NDArray

from pipeline.demo.styles import STYLES
from pipeline.demo.synthesis import synthesize
from tests.chaos.damage import EXPECTED, RATE, write_bad
from tests.encoders import encode

_SUFFIXES = {"wav": "wav", "flac": "flac", "mp3": "mp3", "vorbis": "ogg", "opus": "opus", "m4a": "m4a"}
_SOURCE_S = 12.0
_TRACKS_PER_FOLDER = 20
_OPUS_RATE = 48000


@dataclass(frozen=True)
class ChaosCatalog:
    """A catalog and its expected results.

    Attributes
    ----------
    root : Path
        The folder.
    titles : dict
        The title tag of each good file, by its path.
    bad : dict
        The kind of each bad file, by its path.
    """

    root: Path
    titles: dict[str, str]
    bad: dict[str, str]


def write_chaos_catalog(
    root: Path, *, n_files: int, seed: int, bad_share: float = 0.05, kinds: tuple[str, ...] = tuple(EXPECTED)
) -> ChaosCatalog:
    """Write `n_files` files in folders of twenty; `bad_share` of them are bad, of each of `kinds` in turn.

    Good files are 2 to 4 s of mixed pieces in six formats, and no two have the same audio. The same seed
    gives the same samples, names and tags.
    """
    n_bad = max(len(kinds), round(bad_share * n_files))
    rng = np.random.default_rng(seed)
    kind_of = dict(zip(rng.choice(n_files, n_bad, replace=False).tolist(), kinds * n_bad, strict=False))
    catalog = ChaosCatalog(root, {}, {})
    good = []
    for number in range(n_files):
        form = tuple(_SUFFIXES)[number % len(_SUFFIXES)]
        path = root / f"Album {number // _TRACKS_PER_FOLDER:03d}" / f"{number:05d}.{_SUFFIXES[form]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind := kind_of.get(number):
            write_bad(path, kind, rng)
            catalog.bad[str(path)] = kind
        else:
            catalog.titles[str(path)] = f"Track {number:05d}"
            good.append((number, path, form))
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(partial(_write_good, seed), good, chunksize=20))
    return catalog


def _write_good(seed: int, track: tuple[int, Path, str]) -> None:
    number, path, form = track
    rng = np.random.default_rng((seed, number))
    n_samples = round(rng.uniform(2.0, 4.0) * RATE)
    y = np.zeros((n_samples, 2), np.float32)
    for style in rng.choice(tuple(STYLES), 2, replace=False):
        source = _source(str(style), seed)
        start = int(rng.integers(len(source) - n_samples))
        y += np.float32(rng.uniform(0.2, 0.6)) * source[start : start + n_samples]
    path.write_bytes(encode(y, _OPUS_RATE if form == "opus" else RATE, form))
    _tag(path, f"Artist {number % 17:02d}", f"Track {number:05d}")


@cache
def _source(style: str, seed: int) -> NDArray[np.float32]:
    return synthesize(style, seed=[seed], duration_s=_SOURCE_S, sr=RATE)


def _tag(path: Path, artist: str, title: str) -> None:
    file = mutagen.File(path, easy=True)
    if file.tags is None:
        file.add_tags()
    if isinstance(file, WAVE):
        assert isinstance(file.tags, ID3)
        for frame, text in ((TPE1, artist), (TIT2, title)):
            file.tags.add(frame(text=[text]))
    else:
        file["artist"], file["title"] = [artist], [title]
    file.save()
