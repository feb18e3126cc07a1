"""Grouping tracks by year, month of release, day first seen, artist, album, folder or a manifest column."""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.audio.tags.dates import parse_date
from pipeline.audio.tags.several_values import split_values
from pipeline.storage.track_paths import below

TIME_GROUPINGS = ("year", "month", "seen")
"""Groupings by time."""
COLUMNS = {
    "year": ("year", "carried"),
    "month": ("release_date", "carried"),
    "seen": (),
    "artist": ("artist", "carried"),
    "album": ("artist", "album", "carried"),
    "folder": ("uri",),
}
"""Columns of ``tracks/`` that each grouping reads; any other name is a column of the manifest.

Where a file has no such tag, the manifest's column of that name counts; for the year, also ``release_date``.
"""
_YEAR = r"^(?P<period>[1-9][0-9]{3})(?:-|$)"
_MONTH = r"^(?P<period>[1-9][0-9]{3}-(?:0[1-9]|1[0-2]))(?:-|$)"


@dataclass(frozen=True, slots=True)
class Groups:
    """Tracks divided into groups.

    Attributes
    ----------
    by : str
        The grouping.
    names : list of str
        Names of the groups: times in order (``1999``, ``1999-05``, ``2026-01-31``), others by size.
    """

    by: str
    names: list[str]

    @property
    def is_time(self) -> bool:
        """Whether the groups are periods of time."""
        return self.by in TIME_GROUPINGS

    @property
    def unit(self) -> str:
        """What one group stands for, in words."""
        return {"month": "month of release", "seen": "day first seen (UTC)"}.get(self.by, self.by)

    def midpoints(self) -> NDArray[np.float64]:
        """Return the midpoint of each period, in years; only for groupings by time."""
        return np.array([_to_year(name) for name in self.names])


def columns_to_group_by(by: str) -> tuple[str, ...]:
    """Return the columns of ``tracks/`` that a grouping reads."""
    return COLUMNS.get(by, ("carried",))


def read_values(by: str, tracks: pa.Table, root: str) -> pa.ChunkedArray:
    """Return the value that each track is grouped by, or null; for ``artist``, the list of its artists.

    Parameters
    ----------
    by : str
        ``year``, ``month``, ``seen``, ``artist``, ``album`` (of an artist), ``folder`` (the first below the
        root) or a column of the manifest.
    tracks : pyarrow.Table
        Tracks with the columns of `columns_to_group_by`, and ``first_seen``.
    root : str
        The folder that holds all tracks; see `pipeline.storage.track_paths.find_root`.
    """
    if by in ("year", "month"):
        names, pattern = (("year", "release_date"), _YEAR) if by == "year" else (("release_date",), _MONTH)
        listed = (_parse_dates(_carried(name, tracks)) for name in names)
        dates = pc.coalesce(tracks[names[0]].cast(pa.string()), *listed)
        # What other programs wrote there may be no time.
        return pc.struct_field(pc.extract_regex(dates, pattern), "period")
    if by == "seen":
        return tracks["first_seen"].cast(pa.timestamp("us")).cast(pa.date32()).cast(pa.string())
    if by == "artist":
        return _split(_or_carried("artist", tracks))
    if by == "album":
        artists = pc.fill_null(_or_carried("artist", tracks), "?")
        return pc.binary_join_element_wise(artists, _or_carried("album", tracks), " – ")
    if by == "folder":
        return _find_folders(tracks["uri"], root)
    return _carried(by, tracks)


def _or_carried(name: str, tracks: pa.Table) -> pa.ChunkedArray:
    """Return the tag of that name or, where a file has none, the manifest's column."""
    return pc.coalesce(_plain(tracks[name]), _carried(name, tracks))


def _carried(name: str, tracks: pa.Table) -> pa.ChunkedArray:
    """Return a column of the manifest."""
    return _plain(pc.map_lookup(tracks["carried"], pa.scalar(name), "first"))


def _plain(names: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return names such that those that look alike are the same; an empty one means no value."""
    composed = pc.utf8_trim_whitespace(pc.utf8_normalize(names, "NFC"))
    return pc.if_else(pc.equal(composed, ""), None, composed)


def _parse_dates(written: pa.ChunkedArray) -> pa.ChunkedArray:
    """Parse dates as in tags of files. pandas writes integers with gaps as floats: 1999.0."""
    coded = pc.replace_substring_regex(written, r"\.0+$", "").combine_chunks().dictionary_encode()
    parsed = [parse_date(text) for text in coded.dictionary.to_pylist()]
    return pa.chunked_array([pa.array(parsed, pa.string()).take(coded.indices)])


def _split(names: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the list of several names, null for none."""
    coded = names.combine_chunks().dictionary_encode()
    lists = [split_values(text) or None for text in coded.dictionary.to_pylist()]
    return pa.chunked_array([pa.array(lists, pa.list_(pa.string())).take(coded.indices)])


def _find_folders(uris: pa.ChunkedArray, root: str) -> pa.ChunkedArray:
    """Return the first folder below the root for each track; "." for tracks directly in it."""
    paths = below(uris, root)
    slash = pc.find_substring(paths, "/")
    first = pc.struct_field(pc.extract_regex(paths, r"^(?P<first>[^/]*)/"), "first")
    return pc.if_else(pc.less(slash, 0), pa.scalar("."), first)


def _to_year(name: str) -> float:
    if len(name) == 4:
        return float(name)
    first = date.fromisoformat(name if len(name) == 10 else f"{name}-01")
    middle = first if len(name) == 10 else first + timedelta(days=15)
    return middle.year + (middle.timetuple().tm_yday - 1) / 365.25
