"""Writing a genre into the tags of an audio file, by mutagen; the audio is left as it is."""

import contextlib
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from pipeline.decoding.tags import read_tags
from pipeline.stores import storage
from schemas.errors import EarmarkError

TAGGABLE = "wav, aiff, flac, mp3, ogg, opus, m4a and wma"
"""The formats that a genre can be written to, for messages."""

_COPY_BYTES = 1 << 20


def write_tagged(uri: str, size: int, target: Path, genre: str) -> None:
    """Write a copy of a track with its genre tag changed, whole or not at all; over the track itself if
    asked.

    The copy is made beside `target`, tagged, synced and renamed. It has the track's permissions and, where
    that is allowed, its owner; of a link, what it points to is replaced.

    Parameters
    ----------
    uri : str
        The track: a local path or an object.
    size : int
        Its size, bytes.
    target : Path
        The file to write.
    genre : str
        The tag's new text.

    Raises
    ------
    EarmarkError
        If the track cannot be read, its format has no tags that can be written, or the copy cannot be
        written.
    """
    target = target.resolve()
    # The suffix stays: mutagen looks at it where the content leaves a doubt.
    scratch = target.parent / f".tmp-{uuid.uuid4().hex}{target.suffix}"
    with storage.explained(str(target), "write"):
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with storage.explained(str(target), "write"):
            with storage.open_binary(uri, size) as source, scratch.open("wb") as copy:
                shutil.copyfileobj(source, copy, _COPY_BYTES)
            write_genre(scratch, genre, uri)
            _copy_access(uri, scratch)
            with scratch.open("rb+") as copy:
                os.fsync(copy.fileno())
            scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)


def write_genre(path: Path, genre: str, name: str) -> None:
    """Change the genre tag of a file where it lies.

    Other tags stay as they are, ID3 in its version. A wav whose tags are in RIFF INFO gets an ID3 chunk with
    the same artist, album, title and date: programs that find such a chunk look no further.

    Parameters
    ----------
    path : Path
        The file.
    genre : str
        The tag's new text.
    name : str
        What the file is called in messages.

    Raises
    ------
    EarmarkError
        If its format has no tags that can be written, or they are broken.
    """
    import mutagen
    from mutagen.aiff import AIFF
    from mutagen.asf import ASF
    from mutagen.flac import FLAC
    from mutagen.mp3 import MP3
    from mutagen.mp4 import MP4
    from mutagen.oggflac import OggFLAC
    from mutagen.oggopus import OggOpus
    from mutagen.oggvorbis import OggVorbis
    from mutagen.wave import WAVE

    try:
        tagged = mutagen.File(path)
        if isinstance(tagged, MP3 | WAVE | AIFF):
            _write_id3(tagged, path, genre)
            return
        keys = {FLAC: "genre", OggVorbis: "genre", OggOpus: "genre", OggFLAC: "genre"}
        keys |= {MP4: "\xa9gen", ASF: "WM/Genre"}
        key = keys.get(type(tagged))
        if key is None:
            raise EarmarkError(f"{name} has no tags that can be written; they can in {TAGGABLE}")
        if tagged.tags is None:
            tagged.add_tags()
        tagged[key] = [genre]
        tagged.save()
    except mutagen.MutagenError as error:
        raise EarmarkError(f"the tags of {name} cannot be written: {error}") from error


def _write_id3(tagged: Any, path: Path, genre: str) -> None:
    """Write the genre frame of mp3, wav or aiff, in the version of ID3 that the file has."""
    from mutagen.id3 import TCON

    if tagged.tags is None:
        _add_id3(tagged, path)
    elif tagged.tags.version[:2] == (2, 3):
        # Read again as it stands: mutagen otherwise turns dates and people into frames of 2.4, for good.
        tagged = type(tagged)(path, translate=False)
    version = 3 if tagged.tags.version[:2] == (2, 3) else 4
    tagged.tags.setall("TCON", [TCON(encoding=1 if version == 3 else 3, text=[genre])])
    tagged.save(v2_version=version)


def _add_id3(tagged: Any, path: Path) -> None:
    """Add ID3 to a file without it, with what other tags it has."""
    from mutagen.id3 import TALB, TDRC, TIT2, TPE1

    with path.open("rb") as file:
        known = read_tags(file, str(path))
    tagged.add_tags()
    frames = ((TPE1, known.artist), (TALB, known.album), (TIT2, known.title), (TDRC, known.release_date))
    for frame, text in frames:
        if text is not None:
            tagged.tags.add(frame(encoding=3, text=[text]))


def _copy_access(uri: str, copy: Path) -> None:
    """Give a copy the permissions of a local track and, where that is allowed, its owner."""
    protocol, path = storage.split(uri)
    if protocol == "file":
        shutil.copymode(path, copy)
        status = Path(path).stat()
        with contextlib.suppress(PermissionError):
            os.chown(copy, status.st_uid, status.st_gid)
