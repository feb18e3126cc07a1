"""Locations: paths and URIs, split into protocol and path.

A location is a path or a URI (``s3://bucket/key``), taken literally: no percent-decoding, no globbing. Only
local names that are not valid UTF-8 become percent-encoded ``file://`` URIs, since tables hold text.
"""

import os
import re
import sys
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from schemas.errors import MisuseError

PROTOCOLS = frozenset({"file", "s3", "gs", "gcs", "az", "abfs", "abfss", "oss", "hdfs"})
"""Protocols of catalogs, tables and the tracks of a manifest: disks and object stores, but no web addresses.
The author of a manifest must not be able to make workers send requests to hosts in their network."""
_ALIASES = {"s3a": "s3", "s3n": "s3"}
"""Hadoop's names for S3."""
_ONE_SLASH = tuple(f"{protocol}:/" for protocol in ("file", "s3", *_ALIASES))
"""How Java writes URIs of files, and what `pathlib` leaves of URIs."""
_NO_BUCKET = re.compile(r"[^/]*[:@]")
"""Matches keys before a bucket, as in Hadoop's ``s3n://KEY:SECRET@bucket``."""


def _expand_user(path: Path) -> Path:
    """Return a path with the home folder that it begins with, if it does and there is one."""
    try:
        return path.expanduser()
    except RuntimeError:  # "~" begins the name of a folder or a file
        return path


def split(location: str) -> tuple[str, str]:
    """Split a location into protocol and path; the protocol of a plain path is ``file``.

    Raises
    ------
    MisuseError
        If a ``file://`` URI names another machine, or a relative path a folder that was removed, or if there
        seem to be keys before a bucket; the message does not repeat them.
    """
    protocol, separator, path = location.partition("://")
    if not separator:
        if location.lower().startswith(_ONE_SLASH):
            scheme, _, rest = location.partition(":/")
            return split(f"{scheme}:///{rest}" if scheme.lower() == "file" else f"{scheme}://{rest}")
        try:
            return "file", str(_expand_user(Path(location)).absolute())
        except FileNotFoundError as error:
            raise MisuseError("the current directory no longer exists; change to another one") from error
    protocol = protocol.lower()
    if protocol == "file":
        host, _, below = path.partition("/")
        if host not in {"", "localhost"}:
            raise MisuseError(
                f"{location} names a file on the machine {host}; write a local file as file:///{path}"
            )
        return "file", os.fsdecode(unquote_to_bytes(f"/{below}"))
    protocol = _ALIASES.get(protocol, protocol)
    if protocol == "s3" and not path.startswith("arn:") and _NO_BUCKET.match(path):
        raise MisuseError(
            "an address of S3 takes no keys; write s3://BUCKET/PREFIX, and put the keys into "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return protocol, path


def join(location: str, *parts: str) -> str:
    """Append `parts` to a location, each after a slash."""
    return "/".join([location.rstrip("/"), *parts]) if parts else location


def local_uri(path: str) -> str:
    """Return a path as tables hold it: unchanged, or an absolute ``file://`` URI if it is not valid UTF-8.

    Raises
    ------
    MisuseError
        If Python does not decode names as UTF-8: the same file would have another name in other processes.
    """
    if not path.isascii() and (encoding := sys.getfilesystemencoding()) != "utf-8":
        raise MisuseError(
            f"this Python decodes file names as {encoding}, and {path!a} is not ASCII; set PYTHONUTF8=1 "
            "before Python starts"
        )
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "file://" + quote_from_bytes(os.fsencode(split(path)[1]))
    return path


def is_local(location: str) -> bool:
    """Whether the location is in this machine's file system."""
    return split(location)[0] == "file"


def contains(folder: str, location: str) -> bool:
    """Whether a location is a folder or inside of it; of local ones, by where links lead."""
    (protocol, outer), (other_protocol, inner) = (split(each) for each in (folder, location))
    if protocol != other_protocol:
        return False
    if protocol == "file":
        outer, inner = os.path.realpath(outer), os.path.realpath(inner)
    return f"{inner.rstrip('/')}/".startswith(f"{outer.rstrip('/')}/")


def is_relative(location: str) -> bool:
    """Whether a location is a local path that depends on the current folder, or on the user's home."""
    is_uri = "://" in location or location.lower().startswith(_ONE_SLASH)
    return not is_uri and not Path(location).is_absolute()
