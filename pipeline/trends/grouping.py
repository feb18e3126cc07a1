"""Grouping tracks by year, month of release, day first seen, artist, album, folder or a manifest column."""

from dataclasses import dataclass
from datetime import date, timedelta
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.errors import MisuseError

TIME_GROUPINGS = ("year", "month", "seen")
"""Groupings by time."""
COLUMNS = {
    "year": ("year",),
    "month": ("release_date",),
    "seen": (),
    "artist": ("artist",),
    "album": ("artist", "album"),
    "folder": ("uri",),
}
"""Columns of ``tracks/`` that each grouping reads; any other name is a column of the manifest."""
_FILE_SCHEME = "file://"


@dataclass(frozen=True, slots=True)
class Groups:
    """Tracks divided into groups.

    Attributes
    ----------
    by : str
        The grouping.
    codes : ndarray of int64, shape (n_tracks,)
        Index of each track's group; -1 if the track has no value to group by.
    names : list of str
        Names of the groups: times in order (``1999``, ``1999-05``, ``2026-01-31``), others by size.
    """

    by: str
    codes: NDArray[np.int64]
    names: list[str]

    @property
    def is_time(self) -> bool:
        """Whether the groups are periods of time."""
        return self.by in TIME_GROUPINGS

    @property
    def unit(self) -> str:
        """What one group stands for, in words."""
        return {"month": "month of release", "seen": "day first seen"}.get(self.by, self.by)

    def midpoints(self) -> NDArray[np.float64]:
        """Return the midpoint of each period, in years; only for groupings by time."""
        return np.array([_to_year(name) for name in self.names])

    def largest(self, n: int) -> "Groups":
        """Keep the `n` groups with the most tracks, in their order; other tracks are in no group."""
        sizes = np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))
        kept = np.sort(np.argsort(-sizes, kind="stable")[:n])
        renumber = np.full(len(self.names) + 1, -1)
        renumber[kept] = np.arange(len(kept))
        return Groups(self.by, renumber[self.codes], [self.names[code] for code in kept])


def columns_to_group_by(by: str) -> tuple[str, ...]:
    """Return the columns of ``tracks/`` that a grouping reads."""
    return COLUMNS.get(by, ("carried",))


def group_tracks(by: str, tracks: pa.Table, catalog: str) -> Groups:
    """Group tracks.

    Parameters
    ----------
    by : str
        ``year``, ``month``, ``seen``, ``artist``, ``album`` (of an artist), ``folder`` (the first below the
        catalog) or a column of the manifest.
    tracks : pyarrow.Table
        Tracks with the columns of `columns_to_group_by`, and ``first_seen``.
    catalog : str
        Location of the catalog.

    Raises
    ------
    MisuseError
        If no track has the manifest column.
    """
    values = _read_values(by, tracks, catalog).combine_chunks().dictionary_encode()
    codes = np.asarray(pc.fill_null(values.indices, -1), dtype=np.int64)
    names = values.dictionary.to_pylist()
    sizes = np.bincount(codes[codes >= 0], minlength=len(names))
    if by not in COLUMNS and not sizes.any():
        raise MisuseError(f"no track has a column '{by}'; {_describe_groupings(tracks)}")
    order = sorted(
        np.flatnonzero(sizes).tolist(),
        key=(lambda i: names[i]) if by in TIME_GROUPINGS else (lambda i: (-sizes[i], names[i])),
    )
    renumber = np.full(len(names) + 1, -1)
    renumber[order] = np.arange(len(order))
    return Groups(by, renumber[codes], [names[i] for i in order])


def _read_values(by: str, tracks: pa.Table, catalog: str) -> pa.ChunkedArray:
    """Return the value that each track is grouped by, or null."""
    if by == "year":
        return pc.utf8_lpad(tracks["year"].cast(pa.string()), 4, "0")
    if by == "month":
        dates = tracks["release_date"].cast(pa.string())
        return pc.if_else(
            pc.greater_equal(pc.utf8_length(dates), 7), pc.utf8_slice_codeunits(dates, 0, 7), None
        )
    if by == "seen":
        return tracks["first_seen"].cast(pa.timestamp("us")).cast(pa.date32()).cast(pa.string())
    if by == "artist":
        return tracks["artist"]
    if by == "album":
        artists = pc.fill_null(tracks["artist"].cast(pa.string()), "?")
        return pc.binary_join_element_wise(artists, tracks["album"].cast(pa.string()), " – ")
    if by == "folder":
        return _find_folders(tracks["uri"], catalog)
    values = pc.map_lookup(tracks["carried"], pa.scalar(by), "first")
    # An empty cell, as CSV writes it, means no value.
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(values), ""), None, values)


def _find_folders(uris: pa.ChunkedArray, catalog: str) -> pa.ChunkedArray:
    """Return the first folder below the catalog for each track; "." for tracks directly in the catalog."""
    root = f"{find_common_root(uris, catalog)}/"
    uris = _to_paths(uris)
    below = pc.utf8_slice_codeunits(uris, len(root))
    slash = pc.find_substring(below, "/")
    first = pc.struct_field(pc.extract_regex(below, r"^(?P<first>[^/]*)/"), "first")
    return pc.if_else(pc.less(slash, 0), pa.scalar("."), first)


def find_common_root(uris: pa.ChunkedArray, catalog: str) -> str:
    """Return the folder that holds all tracks: the catalog or, for a manifest, the deepest one in common."""
    uris = _to_paths(uris)
    catalog = _to_path(catalog).rstrip("/")
    if not len(uris) or pc.all(pc.starts_with(uris, f"{catalog}/")).as_py():
        return catalog
    ends = pc.min_max(uris).as_py()
    shared = 0
    for left, right in zip(ends["min"], ends["max"], strict=False):
        if left != right:
            break
        shared += 1
    return str(ends["min"][:shared].rpartition("/")[0])


def _to_paths(uris: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert ``file://`` URIs to paths: files whose names are not UTF-8 are listed as URIs among paths."""
    uris = uris.cast(pa.string())
    if not pc.any(pc.starts_with(uris, _FILE_SCHEME)).as_py():
        return uris
    return pa.chunked_array([[_to_path(uri) for uri in uris.to_pylist()]], pa.string())


def _to_path(uri: str) -> str:
    return unquote(uri.removeprefix(_FILE_SCHEME), errors="replace") if uri.startswith(_FILE_SCHEME) else uri


def _describe_groupings(tracks: pa.Table) -> str:
    """Describe the available groupings, for an error message."""
    carried = tracks["carried"].combine_chunks().keys.unique().to_pylist()
    manifest = f"columns of the manifest: {', '.join(sorted(carried))}" if carried else "no manifest columns"
    return f"tracks can be grouped by {', '.join(COLUMNS)} ({manifest})"


def _to_year(name: str) -> float:
    if len(name) == 4:
        return float(name)
    first = date.fromisoformat(name if len(name) == 10 else f"{name}-01")
    middle = first if len(name) == 10 else first + timedelta(days=15)
    return middle.year + (middle.timetuple().tm_yday - 1) / 365.25
