"""Checks the column ``uri`` of a manifest and makes it absolute."""

from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.storage import storage
from schemas.errors import MisuseError

_UNTIDY = r"//|(^|/)\.(/|$)|/$|^(?i:file):/"
"""Matches paths that need normalizing: redundant slashes and dots, and Java's spelling of file URIs."""


def resolve_uris(written: pa.Array, location: str) -> pa.Array:
    """Return the absolute locations of a manifest's tracks.

    Parameters
    ----------
    written : pyarrow.Array of str
        As written in the manifest: URIs, absolute paths, or paths relative to the manifest's folder.
    location : str
        The manifest.

    Raises
    ------
    MisuseError
        If one is empty, is a web address or, in a remote manifest, is a path outside its folder.
    """
    if row := _first(pc.equal(written, "")):
        raise MisuseError(f"row {row} of the manifest {location} has no uri; fill it in or remove the row")
    is_uri = pc.match_substring(written, "://")
    is_path = pc.invert(is_uri)
    _refuse_protocols(written, is_uri, location)
    paths = written.filter(is_path)
    if storage.is_local(location):
        paths = _local_paths(paths, str(PurePosixPath(storage.split(location)[1]).parent))
    else:
        _refuse_other_folders(written, is_path, location)
        folder = storage.join(location.rpartition("/")[0])
        paths = pc.binary_join_element_wise(folder, _without_dots(paths), "/")
    return pc.replace_with_mask(written, is_path, paths)


def _first(rows: pa.Array) -> int:
    """Return the number, from 1, of the first row that is true; 0 if none is."""
    return int(pc.index(rows, True).as_py()) + 1


def _refuse_protocols(written: pa.Array, is_uri: pa.Array, location: str) -> None:
    schemes = pc.struct_field(pc.extract_regex(written, "(?s)^(?P<scheme>.*?)://"), "scheme")
    for scheme in pc.unique(schemes.filter(is_uri)).to_pylist():
        row = _first(pc.equal(schemes, scheme))
        uri = written[row - 1].as_py()
        protocol = storage.split(uri)[0]
        if protocol == "file" and not storage.is_local(location):
            raise MisuseError(
                f"row {row} of the remote manifest {location} names a local file ({uri}); list it in a local "
                "manifest"
            )
        if protocol not in storage.PROTOCOLS:
            raise MisuseError(
                f"row {row} of the manifest {location} names a {protocol}:// address, which is not a file or "
                "an object in a store; copy the track to a folder or a bucket first"
            )


def _refuse_other_folders(written: pa.Array, is_path: pa.Array, location: str) -> None:
    outside = pc.match_substring_regex(written, r"^/|(^|/)\.\.(/|$)|^(?i:file):/")
    if row := _first(pc.and_(is_path, outside)):
        raise MisuseError(
            f"row {row} of the manifest {location} has the path {written[row - 1]}, which is outside the "
            "manifest's folder; write it as a full URI"
        )


def _without_dots(paths: pa.Array) -> pa.Array:
    """Return relative paths without ``./``, which would be part of a key."""
    return pc.replace_substring_regex(paths, r"(^|/)(\./+)+", r"\1")


def _local_paths(written: pa.Array, folder: str) -> pa.Array:
    root = storage.local_uri(folder)
    if root != folder:  # not valid UTF-8, which Arrow cannot hold
        return pa.array([_local_path(path, folder) for path in written.to_pylist()], pa.string())
    absolute = pc.starts_with(written, "/")
    below = pc.binary_join_element_wise(root.rstrip("/"), written, "/")
    paths = pc.if_else(absolute, written, below)
    untidy = pc.match_substring_regex(written, _UNTIDY)
    tidied = [_local_path(path, folder) for path in written.filter(untidy).to_pylist()]
    return pc.replace_with_mask(paths, untidy, pa.array(tidied, pa.string()))


def _local_path(written: str, folder: str) -> str:
    if written[:6].lower() == "file:/":
        return storage.local_uri(storage.split(written)[1])
    return storage.local_uri(str(PurePosixPath(folder, written)))
