"""Paths of tracks below the folder that holds them all."""

from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import TypeVar
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

_FILE_SCHEME = "file://"

Strings = TypeVar("Strings", pa.Array, pa.ChunkedArray)


def paths_below(uris: Sequence[str], catalog: str) -> list[str]:
    """Return the path of each track below the folder that holds them all; see `find_root`.

    Examples
    --------
    >>> paths_below(["/music/jazz/1.mp3", "/music/rock/1.mp3"], "/lists/music.csv")
    ['jazz/1.mp3', 'rock/1.mp3']
    """
    locations = pa.array(uris, pa.string())
    return [str(path) for path in below(locations, find_root([locations], catalog)).to_pylist()]


def below(uris: Strings, root: str) -> Strings:
    """Return the paths of tracks below their root; see `find_root`. That of several stores is empty."""
    paths, prefix = _to_paths(uris), f"{root}/"
    inside = pc.starts_with(paths, prefix)
    found: Strings = pc.if_else(inside, pc.utf8_slice_codeunits(paths, len(prefix)), paths)
    return found


def find_root(uris: Iterable[pa.Array], catalog: str) -> str:
    """Return the folder that holds all tracks: the catalog or, for a manifest, the deepest one in common.

    Parameters
    ----------
    uris : iterable of pyarrow.Array
        Locations of the tracks, in batches.
    catalog : str
        Location of the catalog.
    """
    catalog = _to_path(catalog).rstrip("/")
    ends: list[str] = []
    in_catalog = True
    for batch in uris:
        if len(batch):
            paths = _to_paths(batch)
            in_catalog = in_catalog and bool(pc.all(pc.starts_with(paths, f"{catalog}/")).as_py())
            ends += pc.min_max(paths).as_py().values()
            ends = [min(ends), max(ends)]
    if in_catalog:
        return catalog
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(*ends, strict=False)))
    return ends[0][:shared].rpartition("/")[0]


def _to_paths(uris: Strings) -> Strings:
    """Convert ``file://`` URIs to paths: files whose names are not UTF-8 are listed as URIs among paths."""
    uris = uris.cast(pa.string())
    if not pc.any(pc.starts_with(uris, _FILE_SCHEME)).as_py():
        return uris
    paths = pa.array([_to_path(uri) for uri in uris.to_pylist()], pa.string())
    return pa.chunked_array([paths]) if isinstance(uris, pa.ChunkedArray) else paths


def _to_path(uri: str) -> str:
    return unquote(uri.removeprefix(_FILE_SCHEME), errors="replace") if uri.startswith(_FILE_SCHEME) else uri
