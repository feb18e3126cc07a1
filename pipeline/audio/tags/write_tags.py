"""Writes a genre into the tags of an audio file and verifies that nothing else changed."""

import contextlib
import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from pipeline.audio.decode.decoders import UndecodableError
from pipeline.audio.decode.ffmpeg import open_container
from pipeline.audio.decode.source import Source, id3_bytes
from pipeline.audio.tags.flac_blocks import flac_genre_edit
from pipeline.audio.tags.id3_files import chunk_genre_edits, mp3_genre_edits
from pipeline.audio.tags.iff_chunks import read_chunks
from pipeline.audio.tags.native_tags import write_native
from pipeline.audio.tags.same_audio import assert_same_audio
from pipeline.audio.tags.splicing import Edit, splice
from pipeline.audio.tags.tags import read_tags
from pipeline.storage import storage
from schemas.errors import EarmarkError
from schemas.tracks import Tags

TAGGABLE = "wav, aiff, flac, mp3, ogg, opus, m4a and wma"
"""The formats that a genre can be written to, for messages."""

_CHUNKED, _NATIVE = ("wav", "aiff"), ("ogg", "mov", "asf")
_COPY_BYTES = 1 << 20
_ANY_WRITES = 0o222
_LEFTOVER = re.compile(r"\.tmp-[0-9a-f]{32}\.\w+")


def write_tagged(uri: str, size: int, target: Path, genre: str) -> None:
    """Write a copy of a track with another genre, whole or not at all; `target` may be the track itself.

    The copy is made beside `target`, compared with the track, synced and renamed. Its encoded audio is the
    same, packet by packet, its other tags are byte for byte the same, and the genre reads back. It has the
    track's permissions, extended attributes and, if allowed, owner. If `target` is a link, the file that it
    points to is replaced.

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
        If the track cannot be read, its format is not supported, writing would harm something else in it, or
        the copy cannot be written.
    """
    target = target.resolve()
    scratch = target.parent / f".tmp-{uuid.uuid4().hex}.copy"
    fetched = scratch.with_suffix(".original")
    with storage.explain_errors(str(target), "write"):
        _check_unprotected(target)
        made = [folder for folder in target.parents if not folder.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            storage.explain_errors(str(target), "write"),
            _local(uri, size, fetched) as original,
            _create_locked(scratch),
        ):
            before = original.stat()
            _write_copy(original, scratch, genre, uri)
            with scratch.open("rb+") as copy:
                os.fsync(copy.fileno())
            _copy_access(uri, scratch)
            after = original.stat()
            if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise EarmarkError(f"{uri} changed while its genre was written; run again first")
            scratch.replace(target)
    finally:
        for file in (scratch, fetched):
            with contextlib.suppress(OSError):  # a read-only disk raises even for files that do not exist
                file.unlink()
        for folder in made:  # only empty folders can be removed: those of a track that was refused
            with contextlib.suppress(OSError):
                folder.rmdir()


def check_taggable(path: Path, target: Path) -> None:
    """Check what is known before writing: whether a file's format can be written, and `target` is writable.

    Raises
    ------
    EarmarkError
        If `write_tagged` would refuse the file for one of these reasons.
    """
    with storage.explain_errors(str(path), "read"):
        _check_unprotected(target.resolve())
        with path.open("rb") as file:
            _container(file, str(path))


def _check_unprotected(target: Path) -> None:
    if target.exists() and not target.stat().st_mode & _ANY_WRITES:
        raise EarmarkError(f"{target} is write-protected; make it writable first")


def remove_leftovers(folder: Path) -> None:
    """Remove copies that a killed process of this user left in a folder; one that is locked is in use."""
    with contextlib.suppress(OSError):
        for file in folder.iterdir():
            if _LEFTOVER.fullmatch(file.name):
                with contextlib.suppress(OSError), file.open("rb+") as left:
                    fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if os.fstat(left.fileno()).st_uid == os.geteuid():
                        file.unlink()


@contextlib.contextmanager
def _create_locked(scratch: Path) -> Iterator[None]:
    """Create a file and keep it locked during a ``with`` block, for `remove_leftovers`."""
    with scratch.open("xb") as file:
        with contextlib.suppress(OSError):  # some network mounts have no locks: nothing is removed there
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


@contextlib.contextmanager
def _local(uri: str, size: int, fetched: Path) -> Iterator[Path]:
    """Give the track's file to a ``with`` block; an object is fetched first."""
    protocol, path = storage.split(uri)
    if protocol == "file":
        yield Path(path)
        return
    with _create_locked(fetched):
        with storage.open_binary(uri, size) as source, fetched.open("wb") as copy:
            shutil.copyfileobj(source, copy, _COPY_BYTES)
        yield fetched


def _write_copy(original: Path, copy: Path, genre: str, name: str) -> None:
    """Write a copy with another genre and verify it against the original.

    ID3 keeps its version. A wav tagged in RIFF INFO, or an mp3 tagged in ID3v1, gets an ID3v2 tag with the
    same artist, album, title and date: most programs ignore the other tags if there is ID3v2. So an mp3 that
    is tagged in APEv2 gets none.
    """
    try:
        with original.open("rb") as file:
            known = read_tags(file, name)
            container = _container(file, name)
            splice(file, _edits(file, container, known, genre, name), copy)
        if container in _NATIVE:
            write_native(copy, genre)
        assert_same_audio(original, copy)
        with copy.open("rb") as file:
            written = read_tags(file, name)
        if written.genre_tag != genre:
            raise EarmarkError(
                f"the genre of {name} cannot be written (it reads back as {written.genre_tag or 'none'}); "
                "the file is left unchanged"
            )
        if replace(written, genre_tag=known.genre_tag) != known:
            raise EarmarkError(
                f"a genre would hide the other tags of {name}; the file is left unchanged. Remux it with "
                "'ffmpeg -i OLD -c copy NEW.m4a' first"
            )
    except (EarmarkError, OSError):
        raise
    except Exception as error:  # on odd bytes mutagen raises any Python exception
        reason = str(error) or type(error).__name__
        raise EarmarkError(
            f"the tags of {name} cannot be written ({reason}); the file is left unchanged"
        ) from error


def _container(file: BinaryIO, name: str) -> str:
    """Return FFmpeg's name of the format; raise an error if tags cannot be written to it."""
    with contextlib.suppress(UndecodableError), open_container(Source(file, name)) as container:
        found = container.format.name.split(",")[0]
        if found in {*_CHUNKED, *_NATIVE, "mp3", "flac"}:
            return found
    raise EarmarkError(f"{name} has a format that Earmark cannot write tags to; it can for {TAGGABLE}")


def _edits(file: BinaryIO, container: str, known: Tags, genre: str, name: str) -> list[Edit]:
    """Return the edits that set the genre; none for formats that mutagen writes."""
    if container in _NATIVE:
        return []
    source = Source(file, name)
    if container == "flac":  # some taggers put ID3 before it
        return [flac_genre_edit(file, id3_bytes(source), genre)]
    if container == "mp3":
        return mp3_genre_edits(source, known, genre)
    chunks = read_chunks(file)
    if chunks is None:
        raise EarmarkError(f"{name} has no valid chunks, so its tags cannot be written; convert it first")
    return chunk_genre_edits(file, chunks, known, genre)


def _copy_access(uri: str, copy: Path) -> None:
    """Give a copy of a local track the same owner, permissions and extended attributes, but a new time.

    File managers keep ratings and labels in extended attributes, and Linux its access control lists.
    """
    protocol, path = storage.split(uri)
    if protocol == "file":
        status = Path(path).stat()
        with contextlib.suppress(PermissionError):
            os.chown(copy, status.st_uid, status.st_gid)
        shutil.copystat(path, copy)
        os.utime(copy)
