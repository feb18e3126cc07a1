"""The demo catalogs: synthesized, tagged pieces in four formats.

`write_demo_catalog` writes the music to be labeled, in folders by artist, with three broken files;
`write_demo_shelves` writes the training music, in folders by genre.
"""

import json
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import mutagen
import numpy as np
import soundfile as sf
from mutagen.id3 import ID3, TALB, TCON, TDRC, TIT2, TPE1, TRCK

from pipeline.demo.names import ALBUMS, FIRST_WORDS, SECOND_WORDS
from pipeline.demo.styles import STYLES
from pipeline.demo.synthesis import synthesize
from schemas.errors import MisuseError

MARKER = ".earmark-demo-catalog"
"""Hidden file at the root of a demo catalog, with the settings it was written with, as JSON."""

N_BROKEN = 3
MIN_DURATION_S = 5.0

_CUT_BYTES = 4096
_BLOCK = 65536
_N_THREADS = 4
_TRUNCATED, _EMPTY, _TEXT = "98 Unfinished Upload.mp3", "99 Silence.mp3", "liner notes.mp3"
_LINER_NOTES = "Recorded in one afternoon.\nThis text file is named like an mp3.\n"


@dataclass(frozen=True, slots=True)
class _Settings:
    seed: int
    n_tracks: int
    duration_s: float
    artists: tuple[int, ...]
    shelved: bool = False

    def check(self) -> None:
        if self.n_tracks < 1 or self.duration_s < MIN_DURATION_S:
            raise MisuseError(
                f"a demo catalog of {self.n_tracks} tracks of {self.duration_s:g} s is too small: "
                f"choose at least 1 track of {MIN_DURATION_S:g} s"
            )


@dataclass(frozen=True, slots=True)
class _Encoding:
    suffix: str
    subtype: str
    sample_rate: int
    channels: int


@dataclass(frozen=True, slots=True)
class _Track:
    style: str
    artist: str
    album: str
    date: str
    number: int
    title: str
    duration_s: float
    encoding: _Encoding

    @property
    def file_name(self) -> str:
        return f"{self.number:02d} {self.title}.{self.encoding.suffix}"


# Seven encodings for ten styles, so that every style has several formats. The first is an mp3, which
# _write_broken truncates.
_ENCODINGS = (
    _Encoding("mp3", "MPEG_LAYER_III", 44100, 2),
    _Encoding("ogg", "VORBIS", 32000, 1),
    _Encoding("flac", "PCM_16", 32000, 2),
    _Encoding("mp3", "MPEG_LAYER_III", 24000, 1),
    _Encoding("wav", "PCM_16", 22050, 1),
    _Encoding("ogg", "VORBIS", 44100, 1),
    _Encoding("flac", "PCM_16", 48000, 1),
)


def write_demo_catalog(
    folder: Path,
    *,
    seed: int = 0,
    n_tracks: int = 40,
    duration_s: float = 40.0,
    artists: tuple[int, ...] = (0, 1),
) -> int:
    """Write a small music catalog: tagged wav, flac, ogg and mp3 in folders by artist and album.

    The pieces cycle through the styles of `pipeline.demo.styles.STYLES`; a track's genre tag is the name of
    its style. Three more files are broken, as in real catalogs: an mp3 truncated after its first frames, an
    empty file, and a text file named ``.mp3``.

    The catalog is written beside `folder` and renamed, so `folder` is complete or absent. A demo catalog with
    the same settings is kept; one with other settings is replaced, unless it holds other files.

    Parameters
    ----------
    folder : Path
        A new or empty folder, or a demo catalog.
    seed : int
        Determines the music: the same seed gives the same samples, names and tags.
    n_tracks : int
        Playable tracks, at least 1.
    duration_s : float
        Typical length of a piece in seconds, at least `MIN_DURATION_S`. Pieces take 0.85 to 1.05 of it, every
        fifth 1.6 (by default, long enough for two segments of 30 seconds).
    artists : tuple of int
        Indices of the artists of each style that play: 0, 1 or both.

    Returns
    -------
    int
        Number of files in the catalog: `n_tracks`, and `N_BROKEN` that cannot be labeled.

    Raises
    ------
    MisuseError
        If `folder` holds something else or cannot be written, or a setting is out of range.
    """
    _write(folder, _Settings(seed, n_tracks, duration_s, artists))
    return n_tracks + N_BROKEN


def write_demo_shelves(
    folder: Path, *, seed: int = 0, n_tracks: int = 60, duration_s: float = 20.0, artists: tuple[int, ...]
) -> int:
    """Write labeled music for training: a folder for each style, without broken files.

    Parameters
    ----------
    folder, seed, n_tracks, duration_s, artists
        See `write_demo_catalog`.

    Returns
    -------
    int
        Number of files.

    Raises
    ------
    MisuseError
        See `write_demo_catalog`.
    """
    _write(folder, _Settings(seed, n_tracks, duration_s, artists, shelved=True))
    return n_tracks


def _write(folder: Path, settings: _Settings) -> None:
    settings.check()
    try:
        if not _is_written(folder, settings):
            _write_whole(folder, settings)
    except OSError as error:
        raise MisuseError(
            f"the demo catalog cannot be written to {folder} ({error.strerror}); choose another folder"
        ) from error


def _is_written(folder: Path, settings: _Settings) -> bool:
    """Return whether `folder` is the demo catalog with these settings; raise if it holds anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    marker = folder / MARKER
    if not marker.is_file():
        raise MisuseError(f"{folder} exists and is not a demo catalog: choose a new or an empty folder")
    written = marker.read_text("utf-8")
    if written == _marker_text(settings):
        return True
    if foreign := _find_foreign(folder, written):
        raise MisuseError(
            f"{folder} holds {foreign[0]}, which is not of the demo catalog there and would be removed with "
            "it: move it away, or choose another folder"
        )
    return False


def _find_foreign(folder: Path, written: str) -> list[str]:
    """Return the files in a demo catalog that are not of the settings in its marker."""
    try:
        found = json.loads(written)
        settings = _Settings(**(found | {"artists": tuple(found["artists"])}))
        own = set(_list_files(settings))
    except (ValueError, TypeError, LookupError):  # of another version, or edited
        own = set()
    files = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    return sorted(str(file) for file in files if file not in own and file != Path(MARKER))


def _list_files(settings: _Settings) -> list[Path]:
    """Return the paths of all tracks and broken files, below the catalog."""
    tracks = _plan(settings)
    if settings.shelved:
        return [_shelf_path(track) for track in tracks]
    paths = [_album_path(track) for track in tracks]
    album = paths[0].parent
    return [*paths, album / _TRUNCATED, album / _EMPTY, Path(_TEXT)]


def _marker_text(settings: _Settings) -> str:
    return json.dumps(asdict(settings)) + "\n"


def _write_whole(folder: Path, settings: _Settings) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".earmark-demo-", dir=folder.parent) as temporary:
        new, old = Path(temporary) / "new", Path(temporary) / "old"
        with ThreadPoolExecutor(_N_THREADS) as pool:  # the encoders release the GIL
            path_of = _shelf_path if settings.shelved else _album_path
            paths = list(pool.map(partial(_write_track, new, path_of, settings.seed), _plan(settings)))
        if not settings.shelved:
            _write_broken(new, whole_mp3=paths[0])
        (new / MARKER).write_text(_marker_text(settings), "utf-8")
        if folder.exists():
            folder.rename(old)
        new.rename(folder)


def _plan(settings: _Settings) -> list[_Track]:
    """Choose the name, style, encoding and length of every track."""
    rng = np.random.default_rng(settings.seed)
    titles = rng.permutation([f"{first} {second}" for first in FIRST_WORDS for second in SECOND_WORDS])
    styles = tuple(STYLES)
    tracks = []
    for i in range(settings.n_tracks):
        style = styles[i % len(styles)]
        albums = [ALBUMS[style][artist] for artist in settings.artists]
        artist, album, date = albums[i // len(styles) % len(albums)]
        share = float(rng.uniform(0.85, 1.05)) if i % 5 else 1.6
        tracks.append(
            _Track(
                style=style,
                artist=artist,
                album=album,
                date=date,
                number=i // (len(styles) * len(albums)) + 1,
                title=str(titles[i % len(titles)]),
                duration_s=share * settings.duration_s,
                encoding=_ENCODINGS[i % len(_ENCODINGS)],
            )
        )
    return tracks


def _album_path(track: _Track) -> Path:
    return Path(track.artist, track.album, track.file_name)


def _shelf_path(track: _Track) -> Path:
    return Path(track.style, f"{track.artist} - {track.file_name}")


def _write_track(root: Path, path_of: Callable[[_Track], Path], seed: int, track: _Track) -> Path:
    encoding = track.encoding
    path = root / path_of(track)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The title is part of the seed, so that pieces of one style differ.
    piece_seed = [seed, *track.title.encode(), track.number]
    y = synthesize(track.style, seed=piece_seed, duration_s=track.duration_s, sr=encoding.sample_rate)
    channels = y if encoding.channels == 2 else y.mean(axis=1)
    with sf.SoundFile(path, "w", encoding.sample_rate, encoding.channels, encoding.subtype) as file:
        # In blocks: libvorbis overflows the stack if it gets minutes at once (libsndfile #1095).
        for start in range(0, len(channels), _BLOCK):
            file.write(channels[start : start + _BLOCK])
    _write_tags(path, track)
    return path


def _write_tags(path: Path, track: _Track) -> None:
    """Write ID3 frames to mp3 and wav, and Vorbis comments to flac and ogg."""
    audio = mutagen.File(path)
    if audio.tags is None:
        audio.add_tags()
    if isinstance(audio.tags, ID3):
        values = {
            TPE1: track.artist,
            TALB: track.album,
            TIT2: track.title,
            TDRC: track.date,
            TCON: track.style,
        }
        for frame, text in (values | {TRCK: str(track.number)}).items():
            audio.tags.add(frame(text=[text]))
    else:
        audio.update(artist=track.artist, album=track.album, title=track.title, date=track.date)
        audio.update(genre=track.style, tracknumber=str(track.number))
    audio.save()


def _write_broken(root: Path, *, whole_mp3: Path) -> None:
    album = whole_mp3.parent
    (album / _TRUNCATED).write_bytes(whole_mp3.read_bytes()[:_CUT_BYTES])
    (album / _EMPTY).write_bytes(b"")
    (root / _TEXT).write_text(_LINER_NOTES, "utf-8")
