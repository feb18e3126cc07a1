"""The demonstration catalog: synthesised pieces with tags, in four formats, and three broken files."""

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import mutagen
import numpy as np
import soundfile as sf
from mutagen.id3 import ID3, TALB, TCON, TDRC, TIT2, TPE1, TRCK

from pipeline.demo.styles import STYLES
from pipeline.demo.synthesis import synthesise
from schemas.errors import MisuseError

MARKER = ".earmark-demo-catalog"
"""Hidden file at the root of a demo catalog: the settings it was written with, as JSON."""

N_BROKEN = 3
MIN_DURATION_S = 5.0

_CUT_BYTES = 4096
_BLOCK = 65536
_N_THREADS = 4
_LINER_NOTES = "Recorded in one afternoon.\nThis text has the name of an mp3 and is none.\n"


@dataclass(frozen=True, slots=True)
class _Settings:
    seed: int
    n_tracks: int
    duration_s: float


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


# Seven encodings against ten styles: no style has one format alone. The first is an mp3, to cut it short.
_ENCODINGS = (
    _Encoding("mp3", "MPEG_LAYER_III", 44100, 2),
    _Encoding("ogg", "VORBIS", 32000, 1),
    _Encoding("flac", "PCM_16", 32000, 2),
    _Encoding("mp3", "MPEG_LAYER_III", 24000, 1),
    _Encoding("wav", "PCM_16", 22050, 1),
    _Encoding("ogg", "VORBIS", 44100, 1),
    _Encoding("flac", "PCM_16", 48000, 1),
)

# Two invented artists a style: name, album, date.
_ALBUMS = {
    "blues": (("Lonnie Marsh", "Delta Mile #9", "1962"), ("The Tin Roof Four", "Rain on Tin", "1971-08-02")),
    "classical": (("Quatuor Élan", "Nocturnes & Études", "1998"), ("Jiří Horal", "Suita č. 2", "2004-11-19")),
    "country": (("Dusty Calloway", "Fence Posts", "1978"), ("Mae & the Hollow", "Back Road 40%", "2011-03")),
    "disco": (("Mirror Ball Unit", "120% Night", "1977-06-10"), ("東京ナイトライン", "夜の環状線", "1980")),
    "hiphop": (("C# Collective", "Loop #1", "1994"), ("Señor Ñandú", "Barrio 100%", "2003-09-30")),
    "jazz": (("Sigrún Þórs Tríó", "Blátt í Þrjú", "1959"), ("The Walking Five", "Ride On", "1964-02-14")),
    "metal": (("Rostwerk", "Eisen & Asche", "1986"), ("Null Vector", "Heap #0", "2009-10-31")),
    "pop": (("Ева Светлова", "Лето", "2016-05-20"), ("Paper Lantern Club", "Fold and Float", "1989")),
    "reggae": (
        ("Island Steppers", "One Drop (Dub + Version)", "1976"),
        ("Ras Amaru", "Off Beat", "1983-04-21"),
    ),
    "rock": (("The Half Measures", "What's Left", "1973"), ("Ölände", "100 % Live", "1991-07-13")),
}
_FIRST = (
    "Slow",
    "Blue",
    "Broken",
    "Golden",
    "Night",
    "Última",
    "Second",
    "Paper",
    "No.",
    "Hidden",
    "Café",
    "50%",
)
_SECOND = (
    "River",
    "Train",
    "Mirror",
    "Road",
    "Étude",
    "Signal",
    "Letter",
    "Harbour",
    "Garden",
    "#7",
    "Line",
    "日",
)


def write_demo_catalog(folder: Path, *, seed: int = 0, n_tracks: int = 40, duration_s: float = 40.0) -> int:
    """Write a small music catalog: wav, flac, ogg and mp3 in folders by artist and album, with tags.

    The pieces cycle through the styles of `pipeline.demo.styles.STYLES`; a track's genre tag is the name of
    its style. Three further files are broken, as real catalogs have them: an mp3 cut off after its first
    frames, an empty one and a text named ``.mp3``.

    The catalog is written beside `folder` and renamed, so `folder` is complete or not there. One that holds a
    demo catalog of the same settings is left as it is; of other settings, it is replaced.

    Parameters
    ----------
    folder : Path
        New, empty or a demo catalog.
    seed : int
        Chooses the music; the same seed gives the same samples, names and tags.
    n_tracks : int
        Playable tracks, at least 1.
    duration_s : float
        Typical length of a piece in seconds, at least `MIN_DURATION_S`: pieces take 0.85 to 1.05 of it, every
        fifth 1.6 of it (at the default, long enough for two segments of 30 seconds).

    Returns
    -------
    int
        Files in the catalog: `n_tracks` and the `N_BROKEN` that cannot be labelled.

    Raises
    ------
    MisuseError
        `folder` holds something else or cannot be written, or a setting is out of range.
    """
    if n_tracks < 1 or duration_s < MIN_DURATION_S:
        raise MisuseError(
            f"A demo catalog of {n_tracks} tracks of {duration_s:g} s is too small: "
            f"ask for at least 1 track of {MIN_DURATION_S:g} s."
        )
    settings = _Settings(seed, n_tracks, duration_s)
    try:
        if not _is_written(folder, settings):
            _write_whole(folder, settings)
    except OSError as error:
        raise MisuseError(
            f"the demo catalog cannot be written to {folder} ({error.strerror}); choose another folder"
        ) from error
    return n_tracks + N_BROKEN


def _is_written(folder: Path, settings: _Settings) -> bool:
    """Whether `folder` is the demo catalog of these settings; what is not a demo catalog raises."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    marker = folder / MARKER
    if not marker.is_file():
        raise MisuseError(f"{folder} exists and is no demo catalog: choose a new or an empty folder.")
    return marker.read_text("utf-8") == _marker_text(settings)


def _marker_text(settings: _Settings) -> str:
    return json.dumps(asdict(settings)) + "\n"


def _write_whole(folder: Path, settings: _Settings) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".earmark-demo-", dir=folder.parent) as temporary:
        new, old = Path(temporary) / "new", Path(temporary) / "old"
        with ThreadPoolExecutor(_N_THREADS) as pool:  # the encoders leave the interpreter lock
            paths = list(pool.map(partial(_write_track, new, settings.seed), _plan(settings)))
        _write_broken(new, whole_mp3=paths[0])
        (new / MARKER).write_text(_marker_text(settings), "utf-8")
        if folder.exists():
            folder.rename(old)
        new.rename(folder)


def _plan(settings: _Settings) -> list[_Track]:
    """Name every track and choose its style, encoding and length."""
    rng = np.random.default_rng(settings.seed)
    titles = rng.permutation([f"{first} {second}" for first in _FIRST for second in _SECOND])
    styles = tuple(STYLES)
    tracks = []
    for i in range(settings.n_tracks):
        style = styles[i % len(styles)]
        albums = _ALBUMS[style]
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


def _write_track(root: Path, seed: int, track: _Track) -> Path:
    encoding = track.encoding
    name = f"{track.number:02d} {track.title}.{encoding.suffix}"
    path = root / track.artist / track.album / name
    path.parent.mkdir(parents=True, exist_ok=True)
    # The title is part of the seed: pieces of one style differ.
    piece = [seed, *track.title.encode(), track.number]
    y = synthesise(track.style, seed=piece, duration_s=track.duration_s, sr=encoding.sample_rate)
    channels = y if encoding.channels == 2 else y.mean(axis=1)
    with sf.SoundFile(path, "w", encoding.sample_rate, encoding.channels, encoding.subtype) as file:
        # In blocks: libvorbis overflows the stack when it is handed minutes at once (libsndfile #1095).
        for start in range(0, len(channels), _BLOCK):
            file.write(channels[start : start + _BLOCK])
    _write_tags(path, track)
    return path


def _write_tags(path: Path, track: _Track) -> None:
    """ID3 frames in mp3 and wav, Vorbis comments in flac and ogg."""
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
    (album / "98 Unfinished Upload.mp3").write_bytes(whole_mp3.read_bytes()[:_CUT_BYTES])
    (album / "99 Silence.mp3").write_bytes(b"")
    (root / "liner notes.mp3").write_text(_LINER_NOTES, "utf-8")
