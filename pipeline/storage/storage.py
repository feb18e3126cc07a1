"""Local disk and object stores behind a handful of functions: whole-object reads and writes, listing.

A location is a path or a URI (``s3://bucket/key``), used as it stands: no percent-decoding, no globbing. Only
local names that are no valid UTF-8 are spelled as percent-encoded ``file://`` URIs, since tables hold text.
"""

import contextlib
import io
import os
import uuid
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import quote_from_bytes, unquote_to_bytes

from pipeline.log import about
from pipeline.storage.errors import explained as explained
from pipeline.storage.errors import reason as reason
from pipeline.storage.retry import Check as Check
from pipeline.storage.retry import patiently, transfer
from schemas.errors import MisuseError

WHOLE_OBJECT_BYTES = 32 << 20
"""Remote objects up to this size are fetched with one request; larger ones are read by ranges."""
RANGE_BYTES = 1 << 20
"""Size of a range read of a larger object."""


_ALIASES = {"s3a": "s3", "s3n": "s3"}
"""What Hadoop calls S3."""


def split(location: str) -> tuple[str, str]:
    """``(protocol, path)`` of a location; the protocol of a plain path is ``file``.

    Raises
    ------
    MisuseError
        If a ``file://`` URI names another machine.
    """
    protocol, separator, path = location.partition("://")
    if not separator:
        if location[:6].lower() == "file:/":  # as Java writes it
            return split(f"file://{location[5:]}")
        return "file", str(Path(location).expanduser().absolute())
    protocol = protocol.lower()
    if protocol == "file":
        host, _, below = path.partition("/")
        if host not in {"", "localhost"}:
            raise MisuseError(
                f"{location} names a file of the machine {host}; a local file is file:///{path}"
            )
        return "file", os.fsdecode(unquote_to_bytes(f"/{below}"))
    return _ALIASES.get(protocol, protocol), path


def join(location: str, *parts: str) -> str:
    """The location `parts` below `location`."""
    return "/".join([location.rstrip("/"), *parts]) if parts else location


def local_uri(path: str) -> str:
    """A local path as tables hold it: as it is, or as a ``file://`` URI where it is no valid UTF-8."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "file://" + quote_from_bytes(os.fsencode(path))
    return path


def is_local(location: str) -> bool:
    """Whether the location is on this machine's disk."""
    return split(location)[0] == "file"


@cache
def filesystem(protocol: str) -> Any:
    """The fsspec filesystem of a protocol, one a process: clients of object stores must not survive a fork.

    Raises
    ------
    MisuseError
        If fsspec knows no such protocol or lacks the package for it.
    """
    import fsspec

    try:
        if protocol == "s3":
            from pipeline.storage.s3 import CheckedS3

            return CheckedS3(skip_instance_cache=True)
        return fsspec.filesystem(protocol)
    except (ValueError, TypeError, ImportError) as error:
        raise MisuseError(f"no storage is known for {protocol}:// ({error})") from error


def exists(location: str) -> bool:
    """Whether there is a file, a folder or, on an object store, anything below the location."""
    protocol, path = split(location)
    if protocol == "file":
        return Path(path).exists()
    with explained(location, "look at"), about(location=location):
        return patiently(lambda: bool(filesystem(protocol).exists(path)))


def read_bytes(location: str) -> bytes:
    """The whole object.

    Raises
    ------
    FileNotFoundError
        If there is none.
    OSError
        If it cannot be read.
    """
    protocol, path = split(location)
    if protocol == "file":
        return Path(path).read_bytes()
    return _fetch(protocol, path)


def write_bytes(location: str, data: bytes, *, check: Check | None = None) -> None:
    """Write the whole object, or nothing: one PUT, or a temporary file that is synced and renamed.

    What a link points to is written, not the link; a device or a pipe is written to, never replaced.

    Parameters
    ----------
    location : str
        Path or URI.
    data : bytes
        The object.
    check : callable, optional
        Called before each try, and before a file takes its place.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    protocol, path = split(location)
    if protocol != "file":
        fs = filesystem(protocol)
        write = fs.put_once if protocol == "s3" and check is not None else fs.pipe_file
        with transfer("write", location):
            patiently(lambda: write(path, data), check)
        return
    if check is not None:
        check()
    target = Path(os.path.realpath(path))
    if target.exists() and not (target.is_file() or target.is_dir()):
        target.write_bytes(data)
        return
    temporary = _write_temporary(target, data)
    try:
        if check is not None:
            check()  # a disk that is mounted over a network may have hung meanwhile
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def create(location: str, data: bytes) -> bool:
    """Write the object if there is none: True if this call made it, False if it was there already.

    On S3 this is a PUT with ``If-None-Match: *``; a store that ignores the header overwrites. A PUT whose
    answer was lost is refused when it is tried again; the object then holds `data`, which therefore nobody
    else may write.
    """
    protocol, path = split(location)
    if protocol != "file":
        if put_if_absent(location, data):
            return True
        try:
            return read_bytes(location) == data
        except FileNotFoundError:  # removed since
            return False
    temporary = _write_temporary(Path(path), data)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:
        return _create_without_links(Path(path), data)
    finally:
        temporary.unlink()
    sync_folder(Path(path).parent)
    return True


def put_if_absent(location: str, data: bytes) -> bool:
    """Write an object of a store: False if the store refuses because there is one."""
    protocol, path = split(location)
    fs = filesystem(protocol)
    if protocol == "s3":
        with transfer("write", location):
            return patiently(lambda: bool(fs.put_if_absent(path, data)))
    try:
        patiently(lambda: fs.pipe_file(path, data, mode="create"))
    except FileExistsError:
        return False
    return True


def delete(location: str, *, check: Check | None = None) -> None:
    """Remove the object; it is no error if there is none. `check` is called before each try."""
    protocol, path = split(location)
    if protocol == "file":
        if check is not None:
            check()
        Path(path).unlink(missing_ok=True)
        return
    fs = filesystem(protocol)
    remove = fs.remove_once if protocol == "s3" and check is not None else fs.rm_file
    with contextlib.suppress(FileNotFoundError), about(location=location):
        patiently(lambda: remove(path), check)


def names(location: str) -> list[str]:
    """Names of the files right below a folder, sorted; none if there is no such folder."""
    protocol, path = split(location)
    try:
        if protocol == "file":
            return sorted(entry.name for entry in os.scandir(path) if entry.is_file())
        with about(location=location):
            listed = patiently(lambda: filesystem(protocol).ls(path, detail=True))
    except FileNotFoundError:
        return []
    return sorted(info["name"].rsplit("/", 1)[-1] for info in listed if info["type"] == "file")


def open_binary(
    location: str, size: int, *, etag: str | None = None, whole_bytes: int = WHOLE_OBJECT_BYTES
) -> BinaryIO:
    """A seekable file object: small remote objects are fetched whole, larger ones read by ranges.

    Parameters
    ----------
    location : str
        Path or URI.
    size : int
        The size as listed, bytes; it decides how a remote object is read.
    etag : str, optional
        The version to read, of an object on S3: what is read is then all of it, and has the size as listed.
    whole_bytes : int
        Remote objects up to this size are fetched whole.

    Raises
    ------
    FileNotFoundError
        If there is none.
    VersionChangedError
        If the object is another version. Like other failures it may come when a large object is read.
    StoreFailingError
        If the store does not hand it out, tried again and again.
    """
    protocol, path = split(location)
    if protocol == "file":
        return Path(path).open("rb")
    if size <= whole_bytes:
        return io.BytesIO(_fetch(protocol, path, size=size, etag=etag))
    # Decoders go back and forth between a container's index and its data: keep several blocks.
    ranges = {"block_size": RANGE_BYTES, "cache_type": "blockcache", "cache_options": {"maxblocks": 8}}
    if protocol == "s3" and etag is not None:
        return cast(BinaryIO, filesystem(protocol).open_version(path, size=size, etag=etag, **ranges))
    return cast(BinaryIO, patiently(lambda: filesystem(protocol).open(path, "rb", **ranges)))


def _fetch(protocol: str, path: str, *, size: int | None = None, etag: str | None = None) -> bytes:
    fs = filesystem(protocol)
    if protocol == "s3":
        return cast(bytes, fs.fetch(path, size=size if etag is not None else None, etag=etag))
    return cast(bytes, patiently(lambda: fs.cat_file(path)))


def _write_temporary(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # The leading dot hides a crash's leftovers from every reader of the tables.
    temporary = path.parent / f".tmp-{uuid.uuid4().hex}"
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _create_without_links(path: Path, data: bytes) -> bool:
    """Create a file on a disk without hard links (exFAT, SMB): only one writer makes it, in one write."""
    try:
        with path.open("xb", buffering=0) as file:
            file.write(data)
            os.fsync(file.fileno())
    except FileExistsError:
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Make the names in a local folder last, whatever happens to the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network disks cannot sync folders; their servers order names themselves.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
