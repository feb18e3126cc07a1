"""Local disk and object stores behind a handful of functions: whole-object reads and writes, listing.

See `pipeline.storage.locations` for what a location is.
"""

import contextlib
import io
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, cast

from pipeline.log import about
from pipeline.storage.errors import explain_errors as explain_errors
from pipeline.storage.errors import reason as reason
from pipeline.storage.late_writes import put_under_lease
from pipeline.storage.local_files import create_file, write_file
from pipeline.storage.local_files import rename_over as rename_over
from pipeline.storage.local_files import sync_folder as sync_folder
from pipeline.storage.local_kind import local_kind
from pipeline.storage.locations import PROTOCOLS as PROTOCOLS
from pipeline.storage.locations import contains as contains
from pipeline.storage.locations import is_local as is_local
from pipeline.storage.locations import is_relative as is_relative
from pipeline.storage.locations import join as join
from pipeline.storage.locations import local_uri as local_uri
from pipeline.storage.locations import split as split
from pipeline.storage.retry import Check as Check
from pipeline.storage.retry import transfer, with_retries
from pipeline.storage.temporary_folders import explain_full_disk, locked_folder
from schemas.errors import MisuseError

WHOLE_OBJECT_BYTES = 32 << 20
"""Remote objects up to this size are fetched with one request; larger ones are read by ranges."""
RANGE_BYTES = 1 << 20
"""Size of a range read of a larger object."""
_SCRATCH_PREFIX = "earmark-object-"


@cache
def filesystem(protocol: str) -> Any:
    """Return the fsspec filesystem of a protocol, one for each process.

    fsspec's own instance cache is bypassed for S3: a client must not be shared across a fork.

    Raises
    ------
    MisuseError
        If fsspec does not know the protocol or lacks the package for it.
    """
    import fsspec

    try:
        if protocol == "s3":
            from pipeline.storage.s3 import CheckedS3

            return CheckedS3(skip_instance_cache=True)
        return fsspec.filesystem(protocol)
    except (ValueError, TypeError, ImportError) as error:
        raise MisuseError(
            f"{protocol}:// locations are not supported ({error}); use a path or a store such as s3://"
        ) from error


def arrow_path(location: str) -> tuple[str, Any]:
    """Return the path and the filesystem with which Arrow opens a location; None for its own, of local disks.

    Raises
    ------
    MisuseError
        As `filesystem`.
    """
    protocol, path = split(location)
    return path, None if protocol == "file" else filesystem(protocol)


def exists(location: str) -> bool:
    """Whether the location is a file, a folder or, on an object store, a prefix with objects."""
    protocol, path = split(location)
    if protocol == "file":
        return local_kind(path) is not None
    with explain_errors(location, "look at"), about(location=location):
        return with_retries(lambda: bool(filesystem(protocol).exists(path)))


def is_folder(location: str) -> bool:
    """Whether the location is a folder or a prefix with objects, and not a file.

    Raises
    ------
    FileNotFoundError
        If an object store has nothing there.
    OSError
        If it does not answer.
    """
    protocol, path = split(location)
    if protocol == "file":
        return local_kind(path) == "folder"
    with about(location=location):
        return bool(with_retries(lambda: filesystem(protocol).info(path)["type"] == "directory"))


def read_bytes(location: str) -> bytes:
    """Return the whole object.

    Raises
    ------
    FileNotFoundError
        If it does not exist.
    OSError
        If it cannot be read.
    """
    protocol, path = split(location)
    if protocol == "file":
        return Path(path).read_bytes()
    return _fetch(protocol, path)


def write_bytes(location: str, data: bytes, *, check: Check | None = None) -> None:
    """Write the whole object or nothing: one PUT, or a temporary file that is synced and renamed.

    A link's target is written, not the link itself; a device or a pipe is written to, never replaced.

    Parameters
    ----------
    location : str
        Path or URI.
    data : bytes
        The object.
    check : callable, optional
        Called before each attempt, before a file is renamed into place, and after a PUT to S3 that took long;
        what it raises is raised, and an object that this PUT has made is removed.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    protocol, path = split(location)
    if protocol != "file":
        fs = filesystem(protocol)
        with transfer("write", location):
            if protocol == "s3" and check is not None:
                with_retries(lambda: put_under_lease(fs, path, data, check), check)
            else:
                with_retries(lambda: fs.pipe_file(path, data), check)
        return
    write_file(Path(path), (data,), check=check)


def write_or_explain(location: str, data: bytes, *, check: Check | None = None) -> None:
    """Write an object as `write_bytes` does, for callers that have nothing to add to its errors.

    Raises
    ------
    EarmarkError
        If it cannot be written; the message names the location and the reason.
    """
    with explain_errors(location, "write"):
        write_bytes(location, data, check=check)


def write_chunks(location: str, chunks: Iterable[bytes]) -> None:
    """Write an object that is too large for the memory as `write_bytes` does; by way of a temporary file.

    Parameters
    ----------
    location : str
        Path or URI.
    chunks : iterable of bytes
        The object. What the iterable raises is raised, and nothing is written.

    Raises
    ------
    OSError
        If it cannot be written.
    EarmarkError
        If the disk for temporary files is full.
    """
    protocol, path = split(location)
    if protocol == "file":
        write_file(Path(path), chunks)
        return
    with locked_folder(_SCRATCH_PREFIX) as scratch:
        copy = scratch / "object"
        with copy.open("wb") as file:
            for chunk in chunks:
                with explain_full_disk():
                    file.write(chunk)
                    file.flush()
        upload(copy, location)


def upload(file: Path, location: str, *, check: Check | None = None) -> None:
    """Copy a local file to an object of a store, whole or not at all.

    Parameters
    ----------
    file : Path
        The file.
    location : str
        The object's URI.
    check : callable, optional
        Called before each attempt.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    protocol, path = split(location)
    with transfer("write", location):
        with_retries(lambda: filesystem(protocol).put_file(str(file), path), check)


def create(location: str, data: bytes) -> bool:
    """Create the object; return True if this call created it, False if it existed.

    On S3 this is a PUT with ``If-None-Match: *``; a store that ignores the header overwrites. A PUT whose
    response was lost is refused when it is retried. The object then holds `data`, which is how this function
    recognizes its own write: `data` must be unique to the caller.
    """
    protocol, path = split(location)
    if protocol != "file":
        if put_if_absent(location, data):
            return True
        try:
            return read_bytes(location) == data
        except FileNotFoundError:  # removed in the meantime
            return False
    return create_file(Path(path), data)


def put_if_absent(location: str, data: bytes) -> bool:
    """Write an object to a store; return False if the store refuses because it exists."""
    protocol, path = split(location)
    fs = filesystem(protocol)
    if protocol == "s3":
        with transfer("write", location):
            return with_retries(lambda: bool(fs.put_if_absent(path, data)))
    try:
        with_retries(lambda: fs.pipe_file(path, data, mode="create"))
    except FileExistsError:
        return False
    return True


def delete(location: str, *, check: Check | None = None) -> None:
    """Remove the object, if it exists. `check` is called before each attempt."""
    protocol, path = split(location)
    if protocol == "file":
        if check is not None:
            check()
        Path(path).unlink(missing_ok=True)
        return
    fs = filesystem(protocol)
    remove = fs.remove_once if protocol == "s3" and check is not None else fs.rm_file
    with contextlib.suppress(FileNotFoundError), about(location=location):
        with_retries(lambda: remove(path), check)


def list_names(location: str) -> list[str]:
    """Return the names of the files directly in a folder, sorted; none if the folder does not exist."""
    protocol, path = split(location)
    try:
        if protocol == "file":
            return sorted(entry.name for entry in os.scandir(path) if entry.is_file())
        with about(location=location):
            listed = with_retries(lambda: filesystem(protocol).ls(path, detail=True))
    except FileNotFoundError:
        return []
    return sorted(info["name"].rsplit("/", 1)[-1] for info in listed if info["type"] == "file")


def open_binary(
    location: str, size: int, *, etag: str | None = None, whole_bytes: int = WHOLE_OBJECT_BYTES
) -> BinaryIO:
    """Open a seekable file object: small remote objects are fetched whole, larger ones read by ranges.

    Parameters
    ----------
    location : str
        Path or URI.
    size : int
        The listed size, bytes; it decides how a remote object is read.
    etag : str, optional
        For an object on S3, the version to read; a response of any other size than the listed one is
        rejected.
    whole_bytes : int
        Remote objects up to this size are fetched whole.

    Raises
    ------
    FileNotFoundError
        If it does not exist.
    VersionChangedError
        If the object is another version. For a large object, this and other errors may come from a read.
    StoreFailingError
        If every retry fails.
    """
    protocol, path = split(location)
    if protocol == "file":
        return Path(path).open("rb")
    if size <= whole_bytes:
        return io.BytesIO(_fetch(protocol, path, size=size, etag=etag))
    # Decoders jump between a container's index and its data: cache several blocks.
    ranges = {"block_size": RANGE_BYTES, "cache_type": "blockcache", "cache_options": {"maxblocks": 8}}
    if protocol == "s3" and etag is not None:
        return cast(BinaryIO, filesystem(protocol).open_version(path, size=size, etag=etag, **ranges))
    return cast(BinaryIO, with_retries(lambda: filesystem(protocol).open(path, "rb", **ranges)))


def _fetch(protocol: str, path: str, *, size: int | None = None, etag: str | None = None) -> bytes:
    fs = filesystem(protocol)
    if protocol == "s3":
        return cast(bytes, fs.fetch(path, size=size if etag is not None else None, etag=etag))
    return cast(bytes, with_retries(lambda: fs.cat_file(path)))
