"""Playlists: one for each genre (``earmark labels --format m3u``), or of similar tracks."""

import os
import re
import sys
import unicodedata
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

from jobs.console.messages import say
from jobs.console.output import check_out, check_place
from pipeline.formatting import count_text
from pipeline.storage import storage
from pipeline.tables.current import current_tracks
from pipeline.tables.tables import Tables
from schemas.errors import MisuseError

TRACK_COLUMNS = ("artist", "title", "genre_tag", "duration_s")
"""Columns that `add_track_columns` adds to labels."""

_UNPLAYABLE = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]|^[\s#]|\s$")
"""Characters that break a line of a playlist, start a comment, or are stripped by players."""


def add_track_columns(tables: Tables, labels: pa.Table) -> pa.Table:
    """Add the tags and durations of the tracks to their labels.

    Parameters
    ----------
    tables : Tables
        The tables.
    labels : pyarrow.Table
        Current labels.
    """
    tracks = current_tracks(tables, TRACK_COLUMNS)
    row = pc.index_in(labels["track_id"], tracks["track_id"].combine_chunks())
    for name in TRACK_COLUMNS:
        labels = labels.append_column(name, tracks[name].take(row))
    return labels


def write_playlists(rows: pa.Table, folder: str, catalog: str) -> dict[str, int]:
    """Write a playlist (extended m3u, UTF-8) for each genre, the most confident tracks first.

    Tracks are listed as `render_playlist` and `relative_to_playlist` say; those without a genre are left out.

    Parameters
    ----------
    rows : pyarrow.Table
        Labels from `add_track_columns`.
    folder : str
        Folder or prefix for the files, named ``GENRE.m3u8``.
    catalog : str
        The catalog of the tracks.

    Returns
    -------
    dict
        Number of tracks by location of the playlist.

    Raises
    ------
    MisuseError
        If two genres would get the same file name, or the folder is in a table. Nothing is written then.
    """
    check_place(folder)
    rows = rows.filter(pc.is_valid(rows["genre"])).sort_by(
        [("confidence", "descending"), ("uri", "ascending")]
    )
    genre_of: dict[str, str] = {}
    for genre in sorted(rows["genre"].unique().to_pylist()):
        location = storage.join(folder, f"{_file_name(genre)}.m3u8")
        if location in genre_of:
            raise MisuseError(
                f"the playlists of {genre_of[location]} and {genre} would both be {location}; choose one of "
                "them with --genre"
            )
        genre_of[location] = genre
    rows = relative_to_playlist(rows, folder, catalog)
    written: dict[str, int] = {}
    for location, genre in genre_of.items():
        tracks = rows.filter(pc.equal(rows["genre"], genre)).to_pylist()
        storage.write_or_explain(location, render_playlist(genre, tracks).encode())
        written[location] = len(tracks)
    if older := _older_playlists(folder, written):
        say(
            f"{folder} has {len(older):,} other playlists, such as {older[0]}, which are left as they are: "
            "their tracks may be gone or have another genre"
        )
    return written


def _older_playlists(folder: str, written: Mapping[str, int]) -> list[str]:
    with storage.explain_errors(folder, "list"):
        names = storage.list_names(folder)
    return [name for name in names if is_playlist(name) and storage.join(folder, name) not in written]


def is_playlist(location: str | None) -> bool:
    """Return whether a file has the name of a playlist."""
    return location is not None and PurePosixPath(location).suffix.lower() in {".m3u", ".m3u8"}


def write_playlist(name: str, rows: pa.Table, out: str | None, catalog: str) -> None:
    """Write tracks as one playlist, in their order; see `write_playlists`.

    Parameters
    ----------
    name : str
        Title of the playlist.
    rows : pyarrow.Table
        With the columns of `render_playlist`.
    out : str or None
        File or URI; None for stdout.
    catalog : str
        The catalog of the tracks.
    """
    if out is not None:
        rows = relative_to_playlist(rows, out.rpartition("/")[0] or ".", catalog)
    text = render_playlist(name, rows.to_pylist()).encode()
    if out is None:
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
        return
    check_out(out)
    storage.write_or_explain(out, text)
    say(f"{count_text(rows.num_rows, 'track')} written to {out}")


def relative_to_playlist(rows: pa.Table, folder: str, catalog: str) -> pa.Table:
    """Make the paths of tracks relative if their playlist is in the catalog, on the same disk or share.

    So it goes on working where the disk has another name, or on another computer.

    Parameters
    ----------
    rows : pyarrow.Table
        With the column ``uri``.
    folder : str
        Folder of the playlist.
    catalog : str
        The catalog of the tracks.
    """
    if not storage.is_local(catalog) or not storage.contains(catalog, folder):
        return rows
    outer, inner = (os.path.realpath(storage.split(each)[1]) for each in (catalog, folder))
    prefix = f"{catalog.rstrip('/')}/"

    def relative(uri: str) -> str:
        path = os.path.relpath(f"{outer}/{uri.removeprefix(prefix)}", inner)
        return path if uri.startswith(prefix) and not _UNPLAYABLE.search(path) else uri

    column = rows.schema.get_field_index("uri")
    return rows.set_column(column, "uri", pa.array(map(relative, rows["uri"].to_pylist()), pa.string()))


def render_playlist(name: str, tracks: list[dict[str, Any]]) -> str:
    """Return the text of a playlist.

    Local tracks are listed by path, or as a ``file://`` URI if the path would break the line, and objects by
    URI.

    Parameters
    ----------
    name : str
        Title of the playlist.
    tracks : list of dict
        With ``uri``, ``artist``, ``title`` and ``duration_s``; all but ``uri`` may be None.
    """
    lines = ["#EXTM3U", f"#PLAYLIST:{_to_line(name)}"]
    for track in tracks:
        # In a playlist, a length of -1 means unknown.
        length = -1 if track["duration_s"] is None else round(track["duration_s"])
        lines += [f"#EXTINF:{length},{_caption(track)}", _entry(track["uri"])]
    return "\n".join(lines) + "\n"


def _caption(track: dict[str, Any]) -> str:
    title = track["title"] or PurePosixPath(track["uri"]).stem
    return _to_line(f"{track['artist']} - {title}" if track["artist"] else title)


def _to_line(text: str) -> str:
    """Return text on one line."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]", " ", text).split())


def _entry(uri: str) -> str:
    """Return the line from which players open a track."""
    if "://" not in uri:
        return f"file://{quote(uri)}" if _UNPLAYABLE.search(uri) else uri
    return re.sub(_UNPLAYABLE, lambda found: quote(found.group()), uri)


def _file_name(genre: str) -> str:
    return "".join(letter if _is_kept(letter) else "_" for letter in genre).strip() or "_"


def _is_kept(letter: str) -> bool:
    """Return whether file names keep a character: also marks, with which many scripts write vowels."""
    return letter.isalnum() or letter in "_ &+'()-" or unicodedata.category(letter).startswith("M")
