"""Local disk and object stores behind a handful of functions: whole-object reads and writes, listing.

A location is a path or a URI (``s3://bucket/key``), used as it stands: no percent-decoding, no globbing. Only
local names that are no valid UTF-8 are spelled as percent-encoded ``file://`` URIs, since tables hold text.
"""

import contextlib
import io
import os
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import quote_from_bytes, unquote_to_bytes

from schemas.errors import EarmarkError, MisuseError

WHOLE_OBJECT_BYTES = 32 << 20
"""Remote objects up to this size are fetched with one request; larger ones are read by ranges."""
RANGE_BYTES = 1 << 20
"""Size of a range read of a larger object."""


def split(location: str) -> tuple[str, str]:
    """``(protocol, path)`` of a location; the protocol of a plain path is ``file``.

    Raises
    ------
    MisuseError
        If no filesystem is known for the protocol.
    """
    protocol, separator, path = location.partition("://")
    if not separator:
        return "file", str(Path(location).expanduser().absolute())
    if protocol == "file":
        return "file", os.fsdecode(unquote_to_bytes(path))
    if protocol == "s3a":
        protocol = "s3"
    return protocol, path


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

    options: dict[str, Any] = {}
    if protocol == "s3":
        options = {"use_listings_cache": False, "config_kwargs": {"retries": {"max_attempts": 4}}}
    try:
        return fsspec.filesystem(protocol, **options)
    except (ValueError, TypeError, ImportError) as error:
        raise MisuseError(f"no storage is known for {protocol}:// ({error})") from error


@contextlib.contextmanager
def explained(location: str, doing: str) -> Iterator[None]:
    """Turn a store's errors into one sentence about `location`.

    Raises
    ------
    EarmarkError
        In place of OSError and botocore's errors.
    """
    try:
        yield
    except (PermissionError, FileNotFoundError, OSError) as error:
        raise EarmarkError(f"cannot {doing} {location}: {reason(error)}") from error
    except Exception as error:
        if type(error).__module__.startswith(("botocore", "aiobotocore", "aiohttp")):
            raise EarmarkError(f"cannot {doing} {location}: {reason(error)}") from error
        raise


def reason(error: Exception) -> str:
    """What a store's error means, in words."""
    # Some answers of object stores carry no text: s3fs then says "None".
    said = error.strerror if isinstance(error, OSError) and error.strerror != "None" else None
    said = said or _store_code(error) or (str(error) if str(error) != "None" else "")
    if isinstance(error, PermissionError):
        detail = f" ({said})" if said else ""
        return f"access is refused{detail}; check the permissions or the AWS credentials"
    if isinstance(error, FileNotFoundError):
        return "it does not exist"
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a file is in the way of a folder"
    if type(error).__name__ == "NoCredentialsError":
        return "no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a role"
    return said or type(error).__name__


def _store_code(error: Exception) -> str:
    """The code an object store answered with (``NoSuchBucket``, …); s3fs keeps it only in the cause."""
    response = getattr(error.__cause__, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def exists(location: str) -> bool:
    """Whether there is a file, a folder or, on an object store, anything below the location."""
    protocol, path = split(location)
    if protocol == "file":
        return Path(path).exists()
    with explained(location, "look at"):
        return bool(filesystem(protocol).exists(path))


def read_bytes(location: str) -> bytes:
    """The whole object.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    protocol, path = split(location)
    if protocol == "file":
        return Path(path).read_bytes()
    return cast(bytes, filesystem(protocol).cat_file(path))


def write_bytes(location: str, data: bytes) -> None:
    """Write the whole object, or nothing: one PUT, or a temporary file that is synced and renamed."""
    protocol, path = split(location)
    if protocol != "file":
        filesystem(protocol).pipe_file(path, data)
        return
    temporary = _write_temporary(Path(path), data)
    temporary.replace(path)
    _sync_folder(Path(path).parent)


def create(location: str, data: bytes) -> bool:
    """Write the object if there is none: True if this call made it, False if it was there already.

    On S3 this is a PUT with ``If-None-Match: *``; a store that ignores the header overwrites.
    """
    protocol, path = split(location)
    if protocol != "file":
        try:
            filesystem(protocol).pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            if _store_code(error) in {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}:
                return False
            raise
        return True
    temporary = _write_temporary(Path(path), data)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:
        return _create_without_links(Path(path), data)
    finally:
        temporary.unlink()
    _sync_folder(Path(path).parent)
    return True


def delete(location: str) -> None:
    """Remove the object; it is no error if there is none."""
    protocol, path = split(location)
    if protocol == "file":
        Path(path).unlink(missing_ok=True)
        return
    with contextlib.suppress(FileNotFoundError):
        filesystem(protocol).rm_file(path)


def names(location: str) -> list[str]:
    """Names of the files right below a folder, sorted; none if there is no such folder."""
    protocol, path = split(location)
    try:
        if protocol == "file":
            return sorted(entry.name for entry in os.scandir(path) if entry.is_file())
        listed = filesystem(protocol).ls(path, detail=True)
    except FileNotFoundError:
        return []
    return sorted(info["name"].rsplit("/", 1)[-1] for info in listed if info["type"] == "file")


def open_binary(location: str, size: int, *, whole_bytes: int = WHOLE_OBJECT_BYTES) -> BinaryIO:
    """A seekable file object: small remote objects are fetched whole, larger ones read by ranges.

    Parameters
    ----------
    location : str
        Path or URI.
    size : int
        The size as listed, bytes; it decides how a remote object is read.
    whole_bytes : int
        Remote objects up to this size are fetched whole.
    """
    protocol, path = split(location)
    if protocol == "file":
        return Path(path).open("rb")
    fs = filesystem(protocol)
    if size <= whole_bytes:
        return io.BytesIO(fs.cat_file(path))
    # Decoders go back and forth between a container's index and its data: keep several blocks.
    opened = fs.open(
        path, "rb", block_size=RANGE_BYTES, cache_type="blockcache", cache_options={"maxblocks": 8}
    )
    return cast(BinaryIO, opened)


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


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network disks cannot sync folders; their servers order names themselves.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
